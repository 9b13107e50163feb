/**
 * Runs real code under every interleaving.
 *
 * An actor is a function that runs the module's own code. It can be stopped at
 * each operation of `Atomics` on memory that is shared: the operation takes
 * effect when the explorer says so, and until then an exception unwinds the
 * actor. To go on, the actor is run again from its beginning, and is told what
 * its operations returned so far, so its code must depend on nothing else. What
 * it does to plain memory belongs to the operation before; of that memory too
 * it sees what was there then.
 *
 * A state is the shared memory and what each actor was told. States that were
 * seen before are not looked at again, and of those with an error the one with
 * the fewest steps is found.
 *
 * @module
 */

// deno-lint-ignore no-explicit-any
type Any = any;

/** One thing that an actor was told. */
interface Entry {
  /** An operation on shared memory, a message sent, or an event delivered. */
  readonly what: string;
  readonly result: unknown;
  /** Plain memory as it was then. */
  readonly plain: Uint8Array | undefined;
}

/** Where an actor stands. */
type Status = "ready" | "blocked" | "idle" | "done" | "dead";

/** Something that an idle actor may be woken by. */
interface Pending {
  readonly id: number;
  readonly kind: "wake" | "timer" | "message" | "turn";
  /** The cell of a wait, or the message. */
  readonly what: unknown;
  readonly isReady: boolean;
}

interface ActorState {
  readonly log: readonly Entry[];
  /** Stands for the log. */
  readonly key: number;
  readonly status: Status;
  /** What it is about to do, or sleeps on. */
  readonly next: string;
  readonly cell: string;
  readonly timed: boolean;
  readonly pending: readonly Pending[];
  readonly inbox: readonly unknown[];
  readonly notes: readonly unknown[];
}

interface State {
  readonly memory: Uint8Array;
  readonly actors: readonly ActorState[];
  readonly ghost: unknown;
  /** Who moved last, and how often one was stopped who could have gone on. */
  readonly last: number;
  readonly stops: number;
  readonly trace: Trace | undefined;
}

interface Trace {
  readonly before: Trace | undefined;
  readonly step: string;
}

/** What an actor's function is given. */
export interface Self {
  /** Writes something down, for the properties to look at. */
  note(value: unknown): void;
  /** Sends a message to another actor. */
  post(to: string, message: unknown): void;
  /** Is told each message that comes, once the function has returned. */
  onMessage: ((message: Any) => void) | undefined;
}

/** An actor. */
export interface Actor {
  name: string;
  run(self: Self): void;
  /** Whether it may end between any two steps; one actor does, at most. */
  mortal?: boolean;
  /** Whether it begins only when no other can move. */
  last?: boolean;
  /** Memory that `new SharedArrayBuffer()` gives it, in order. */
  buffers?: SharedArrayBuffer[];
}

/** How an actor stands, for the properties. */
export interface View {
  name: string;
  status: Status;
  notes: readonly Any[];
}

/** An operation that took effect. */
export interface Operation {
  actor: string;
  kind: string;
  cell: string;
  args: readonly number[];
  result: unknown;
  /** What the actor had written down. */
  notes: readonly unknown[];
}

/** What is explored. */
export interface Scenario {
  name: string;
  /** Memory that operations stop at. */
  shared: Record<string, Int32Array>;
  /** Memory that is read and written without `Atomics`. */
  plain?: Uint8Array[];
  actors: Actor[];
  /** What the properties remember; must be data. */
  ghost?: unknown;
  onOperation?(ghost: Any, operation: Operation): unknown;
  /**
   * How often an actor may be stopped for another although it could go on; a
   * long scenario is explored up to a few of these.
   *
   * @default {Infinity}
   */
  stops?: number;
  /** Must hold in each state: returns what does not. */
  always?(actors: readonly View[], ghost: Any): string | undefined;
  /** Must hold where no actor can move. */
  atLast(actors: readonly View[], ghost: Any): string | undefined;
}

/** What was found. */
export interface Result {
  states: number;
  /** The first error and the steps that lead to it. */
  error?: { message: string; steps: string[] };
}

// -- what the code sees instead of the platform -------------------------------

class Suspended extends Error {}

interface Run {
  scenario: Scenario;
  actor: Actor;
  log: readonly Entry[];
  added: Entry[];
  position: number;
  /** Whether one operation may take effect. */
  granted: boolean;
  /** Plain memory as it is now. */
  plain: Uint8Array | undefined;
  suspended: boolean;
  /** What it stands before. */
  next: { what: string; cell: string; timed: boolean } | undefined;
  blocked: boolean;
  time: number;
  notes: unknown[];
  pending: Map<number, { pending: Pending; callback: (() => void)[] }>;
  lastId: number;
  microtasks: (() => void)[];
  notified: Set<string>;
  posted: { to: string; message: unknown }[];
  operation: Operation | undefined;
  buffers: number;
  /** Whether messages may come. */
  listens: boolean;
  promises: number;
}

let run: Run | undefined;
const real = {
  load: Atomics.load,
  store: Atomics.store,
  add: Atomics.add,
  and: Atomics.and,
  or: Atomics.or,
  exchange: Atomics.exchange,
  compareExchange: Atomics.compareExchange,
  notify: Atomics.notify,
  wait: Atomics.wait,
  waitAsync: Atomics.waitAsync,
};

function cellOf(array: Int32Array, index: number): string | undefined {
  for (const [name, memory] of Object.entries(run!.scenario.shared)) {
    if (memory.buffer === array.buffer) return `${name}[${index}]`;
  }
  return undefined;
}

function plainOf(scenario: Scenario): Uint8Array | undefined {
  return scenario.plain && joined(scenario.plain);
}

/**
 * Does one step of an actor: what it was told the last time, or what takes
 * effect now, or the end of this run.
 */
function step<T>(
  what: string,
  next: { cell: string; timed: boolean },
  effect: () => T,
): T {
  const it = run!;
  if (it.suspended) throw new Suspended();
  const known = it.log[it.position];
  if (known !== undefined) {
    if (known.what !== what) {
      throw new Error(`Cannot replay "${known.what}" as "${what}" came`);
    }
    it.position++;
    if (known.plain) spread(known.plain, it.scenario.plain!);
    return known.result as T;
  }
  it.next = { what, ...next };
  if (!it.granted) {
    it.suspended = true;
    throw new Suspended();
  }
  it.granted = false;
  // Until here it saw what there was before.
  if (it.plain) spread(it.plain, it.scenario.plain!);
  const { plain } = it;
  const result = effect();
  if (it.blocked) {
    it.suspended = true;
    throw new Suspended();
  }
  it.added.push({ what, result, plain });
  it.next = undefined;
  return result;
}

function operation(
  kind: keyof typeof real,
  array: Int32Array,
  index: number,
  args: number[],
  effect: () => unknown,
): unknown {
  const perform = real[kind] as (...args: unknown[]) => unknown;
  const cell = run && cellOf(array, index);
  if (run === undefined || cell === undefined) {
    return perform.call(Atomics, array, index, ...args);
  }
  const it = run;
  const what = `${kind} ${[cell, ...args].join(", ")}`;
  const timed = kind === "wait" && args[1] !== undefined &&
    args[1] !== Infinity;
  const result = step(what, { cell, timed }, () => {
    const result = effect();
    const actor = it.actor.name;
    const notes = [...it.notes];
    it.operation = { actor, kind, cell, args, result, notes };
    return result;
  });
  if (result === "timed-out") it.time += args[1]!;
  return result;
}

const instead = {
  ...Object.fromEntries(
    ["load", "store", "add", "and", "or", "exchange", "compareExchange"]
      .map((kind) => [
        kind,
        (array: Int32Array, index: number, ...args: number[]) =>
          operation(
            kind as keyof typeof real,
            array,
            index,
            args,
            () => (real as Any)[kind](array, index, ...args),
          ),
      ]),
  ),
  notify(array: Int32Array, index: number, ...args: number[]) {
    return operation("notify", array, index, args, () => {
      run!.notified.add(cellOf(array, index)!);
      return 0;
    });
  },
  wait(array: Int32Array, index: number, ...args: number[]) {
    return operation("wait", array, index, args, () => {
      if (real.load(array, index) !== args[0]) return "not-equal";
      run!.blocked = true;
      return undefined;
    });
  },
  waitAsync(array: Int32Array, index: number, ...args: number[]) {
    const it = run;
    if (it === undefined || cellOf(array, index) === undefined) {
      return (real.waitAsync as Any)(array, index, ...args);
    }
    const cell = cellOf(array, index)!;
    const sleeps = operation(
      "waitAsync",
      array,
      index,
      args,
      () => real.load(array, index) === args[0],
    );
    if (!sleeps) return { async: false, value: "not-equal" };
    const mayTimeOut = (args[1] ?? Infinity) < Infinity;
    const id = expect("wake", cell, mayTimeOut);
    return {
      async: true,
      value: {
        then: (callback: (value: string) => void) =>
          it.pending.get(id)!.callback.push(() => callback("ok")),
      },
    };
  },
};

function expect(
  kind: Pending["kind"],
  what: unknown,
  isReady = kind === "timer" || kind === "turn",
): number {
  const it = run!;
  const id = ++it.lastId;
  it.pending.set(id, { pending: { id, kind, what, isReady }, callback: [] });
  return id;
}

/** A promise whose callbacks run within the actor's run. */
class Promised {
  #value: unknown;
  #done = false;
  #callbacks: ((value: unknown) => void)[] = [];

  constructor(executor: (resolve: (value: unknown) => void) => void) {
    const number = run ? ++run.promises : 0;
    executor((value) => {
      if (this.#done || run?.suspended) return;
      if (value !== undefined) run?.notes.push({ promise: number, value });
      this.#done = true;
      this.#value = value;
      for (const callback of this.#callbacks) callback(value);
    });
  }

  static resolve(value: unknown): Promised {
    return new Promised((resolve) => resolve(value));
  }

  then(callback: (value: unknown) => void): void {
    if (this.#done) enqueue(() => callback(this.#value));
    else this.#callbacks.push((value) => enqueue(() => callback(value)));
  }
}

function enqueue(callback: () => void): void {
  if (run) run.microtasks.push(callback);
  else queueMicrotask(callback);
}

const scope = globalThis as Any;
const platform = {
  Promise: scope.Promise,
  SharedArrayBuffer: scope.SharedArrayBuffer,
  queueMicrotask: scope.queueMicrotask,
  setTimeout: scope.setTimeout,
  clearTimeout: scope.clearTimeout,
  setInterval: scope.setInterval,
  setImmediate: scope.setImmediate,
  now: performance.now,
  dateNow: Date.now,
};

function SharedMemory(length: number): SharedArrayBuffer {
  const buffers = run!.actor.buffers ?? [];
  const buffer = buffers[run!.buffers++];
  if (buffer?.byteLength !== length) {
    throw new Error(`Cannot allocate ${length} bytes in a model`);
  }
  return buffer;
}
SharedMemory.prototype = SharedArrayBuffer.prototype;

/** Puts the explorer between the code that is imported from now on and the platform. */
export function interpose(): void {
  Object.assign(Atomics, instead);
  const passing = <K extends keyof typeof platform>(
    key: K,
    inside: (...args: Any[]) => unknown,
  ) => {
    const outside = platform[key];
    return function (this: unknown, ...args: unknown[]) {
      return run ? inside(...args) : outside.apply(this, args);
    };
  };
  const begin = (kind: "timer" | "turn") => (callback: () => void) => {
    const id = expect(kind, kind);
    run!.pending.get(id)!.callback.push(callback);
    return id;
  };
  scope.queueMicrotask = passing("queueMicrotask", enqueue);
  scope.setTimeout = passing("setTimeout", begin("timer"));
  scope.clearTimeout = passing(
    "clearTimeout",
    (id: number) => run!.pending.delete(id),
  );
  scope.setImmediate = passing("setImmediate", begin("turn"));
  // The module's own timer, which would hold the program after all the runs
  // that took hold of it and never let go.
  scope.setInterval = (callback: () => void, time: number) =>
    time === 0x7fffffff
      ? { ref() {}, unref() {} }
      : platform.setInterval.call(scope, callback, time);
  performance.now = passing("now", () => run!.time) as () => number;
  Date.now = passing("dateNow", () => run!.time) as () => number;
}

/** Undoes {@linkcode interpose}. */
export function restore(): void {
  Object.assign(Atomics, real);
  for (
    const key of [
      "queueMicrotask",
      "setTimeout",
      "clearTimeout",
      "setInterval",
      "setImmediate",
    ] as const
  ) scope[key] = platform[key];
  delete (performance as Any).now;
  if (performance.now !== platform.now) performance.now = platform.now;
  Date.now = platform.dateNow;
}

// -- the explorer -------------------------------------------------------------

function joined(parts: readonly ArrayBufferView[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.byteLength;
  const all = new Uint8Array(size);
  let at = 0;
  for (const { buffer, byteOffset, byteLength } of parts) {
    all.set(new Uint8Array(buffer, byteOffset, byteLength), at);
    at += byteLength;
  }
  return all;
}

function spread(all: Uint8Array, parts: readonly ArrayBufferView[]): void {
  let at = 0;
  for (const { buffer, byteOffset, byteLength } of parts) {
    new Uint8Array(buffer, byteOffset, byteLength)
      .set(all.subarray(at, at + byteLength));
    at += byteLength;
  }
}

const interned = new Map<string, number>();

function intern(text: string): number {
  let id = interned.get(text);
  if (id === undefined) interned.set(text, id = interned.size + 1);
  return id;
}

function bytesKey(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

/** Runs an actor from its beginning to where it must stop. */
function drive(
  scenario: Scenario,
  actor: Actor,
  state: ActorState,
  granted: boolean,
): Run {
  const it: Run = run = {
    scenario,
    actor,
    log: state.log,
    added: [],
    position: 0,
    granted,
    plain: plainOf(scenario),
    suspended: false,
    next: undefined,
    blocked: false,
    time: 0,
    notes: [],
    pending: new Map(),
    lastId: 0,
    microtasks: [],
    notified: new Set(),
    posted: [],
    operation: undefined,
    buffers: 0,
    listens: false,
    promises: 0,
  };
  scope.Promise = Promised;
  scope.SharedArrayBuffer = SharedMemory;
  try {
    const self: Self = {
      note: (value) => {
        if (!it.suspended) it.notes.push(value);
      },
      post: (to, message) =>
        step(`post to ${to}`, { cell: "", timed: false }, () => {
          it.posted.push({ to, message });
        }),
      onMessage: undefined,
    };
    step("begin", { cell: "", timed: false }, () => {});
    actor.run(self);
    for (;;) {
      for (let task; (task = it.microtasks.shift()) !== undefined;) task();
      it.listens = self.onMessage !== undefined;
      if (it.suspended) break;
      // Only events are left to go on with.
      const known = it.log[it.position];
      if (known === undefined) break;
      it.position++;
      if (known.plain) spread(known.plain, scenario.plain!);
      const event = known.result as { id: number; message?: unknown };
      if (event.id === 0) self.onMessage!(event.message);
      else {
        const { callback, pending } = it.pending.get(event.id)!;
        it.pending.delete(event.id);
        if (pending.kind === "timer") it.time += 1000;
        for (const call of callback) call();
      }
    }
  } catch (error) {
    if (!(error instanceof Suspended)) throw error;
  } finally {
    run = undefined;
    scope.Promise = platform.Promise;
    scope.SharedArrayBuffer = platform.SharedArrayBuffer;
  }
  return it;
}

/** Options of {@linkcode explore}. */
export interface ExploreOptions {
  /** More states than this are an error. */
  limit?: number;
}

/**
 * Explores every interleaving of a scenario's actors.
 *
 * @param scenario The actors and what must be true of them.
 * @param options How far to go.
 * @returns How many states there are, and the first error.
 */
export async function explore(
  scenario: Scenario,
  options: ExploreOptions = {},
): Promise<Result> {
  const { limit = 200_000 } = options;
  const parts = [...Object.values(scenario.shared), ...scenario.plain ?? []];
  const begin: ActorState = {
    log: [],
    key: 0,
    status: "ready",
    next: "begin",
    cell: "",
    timed: false,
    pending: [],
    inbox: [],
    notes: [],
  };
  const initial: State = {
    memory: joined(parts),
    actors: scenario.actors.map(() => begin),
    ghost: scenario.ghost ?? null,
    last: -1,
    stops: 0,
    trace: undefined,
  };
  const bound = scenario.stops ?? Infinity;
  const seen = new Set<string>();
  let frontier: State[] = [];
  let coming: State[] = [];
  let states = 0;
  const failed = (message: string, trace: Trace | undefined): Result => {
    const steps: string[] = [];
    for (let it = trace; it; it = it.before) steps.unshift(it.step);
    return { states, error: { message, steps } };
  };
  const add = (state: State): void => {
    const key = bytesKey(state.memory) + JSON.stringify(state.ghost) +
      (bound === Infinity ? "" : `${state.last} ${state.stops} `) +
      state.actors.map((it) =>
        `${it.key},${it.status},${it.inbox.length},` +
        it.pending.filter((one) => one.isReady).map((one) => one.id).join(".")
      ).join(";");
    if (seen.has(key)) return;
    seen.add(key);
    states++;
    coming.push(state);
  };
  const viewsOf = (state: State): View[] =>
    state.actors.map(({ status, notes }, i) => ({
      name: scenario.actors[i]!.name,
      status,
      notes,
    }));

  add(initial);
  while (coming.length > 0) {
    [frontier, coming] = [coming, []];
    for (const state of frontier) {
      // Lets go of what async functions left behind.
      if (states % 512 === 0) await new Promise((r) => platform.setTimeout(r));
      if (states > limit) {
        return failed(`more than ${limit} states`, state.trace);
      }
      const wrong = () => {
        spread(state.memory, parts);
        return scenario.always?.(viewsOf(state), state.ghost);
      };
      const message = wrong();
      if (message !== undefined) return failed(message, state.trace);
      let moves = 0;
      const someoneDied = state.actors.some((it) => it.status === "dead");

      const move = (
        index: number,
        label: string,
        told: ActorState,
        granted: boolean,
      ): Result | undefined => {
        moves++;
        const stops = state.stops +
          Number(
            index !== state.last &&
              state.actors[state.last]?.status === "ready",
          );
        if (stops > bound) return undefined;
        const actor = scenario.actors[index]!;
        spread(state.memory, parts);
        const trace = { before: state.trace, step: `${actor.name}: ${label}` };
        let it: Run;
        try {
          it = drive(scenario, actor, told, granted);
        } catch (error) {
          return failed(
            `${actor.name} threw ${(error as Error).stack ?? error}`,
            trace,
          );
        }
        const log = it.added.length === 0
          ? told.log
          : [...told.log, ...it.added];
        let { key } = told;
        for (const { what, result, plain } of it.added) {
          key = intern(
            `${key}|${what}|${typeof result === "object" ? "" : result}|` +
              (plain ? intern(bytesKey(plain)) : ""),
          );
        }
        // A wake-up that came while the actor went on is not lost.
        const ready = new Set(
          told.pending.filter((one) => one.isReady).map((one) => one.id),
        );
        const pending = [...it.pending.values()].map(({ pending }) =>
          ready.has(pending.id) ? { ...pending, isReady: true } : pending
        );
        const status: Status = it.blocked
          ? "blocked"
          : it.suspended
          ? "ready"
          : pending.length > 0 || it.listens
          ? "idle"
          : "done";
        const actors = [...state.actors];
        actors[index] = {
          log,
          key,
          status,
          next: it.next?.what ?? "",
          cell: it.next?.cell ?? "",
          timed: it.next?.timed ?? false,
          pending,
          inbox: told.inbox,
          notes: it.notes,
        };
        for (const cell of it.notified) {
          for (let i = 0; i < actors.length; i++) {
            const other = actors[i]!;
            if (other.status === "dead") continue;
            actors[i] = notified(other, cell, plainOf(scenario));
          }
        }
        for (const { to, message } of it.posted) {
          const i = scenario.actors.findIndex(({ name }) => name === to);
          actors[i] = { ...actors[i]!, inbox: [...actors[i]!.inbox, message] };
        }
        const done = it.added[0]?.what ?? label;
        add({
          memory: joined(parts),
          actors,
          ghost: it.operation && scenario.onOperation
            ? scenario.onOperation(state.ghost, it.operation) ?? state.ghost
            : state.ghost,
          last: index,
          stops,
          trace: it.operation
            ? {
              before: state.trace,
              step: `${actor.name}: ${done} = ${it.operation.result}`,
            }
            : trace,
        });
        return undefined;
      };

      const order = scenario.actors.map((_, i) => i);
      for (const late of [false, true]) {
        if (late && moves > 0) break;
        for (const i of order) {
          const actor = scenario.actors[i]!;
          if ((actor.last ?? false) !== late) continue;
          const it = state.actors[i]!;
          const tell = (what: string, result: unknown): ActorState => ({
            ...it,
            log: [...it.log, { what, result, plain: plainOf(scenario) }],
            key: intern(`${it.key}|${what}|${JSON.stringify(result) ?? ""}`),
          });
          let result: Result | undefined;
          if (it.status === "ready") result = move(i, it.next, it, true);
          else if (it.status === "blocked" && it.timed) {
            spread(state.memory, parts);
            result = move(
              i,
              `${it.next} times out`,
              tell(it.next, "timed-out"),
              false,
            );
          } else if (it.status === "idle") {
            for (const one of it.pending) {
              if (!one.isReady) continue;
              spread(state.memory, parts);
              const label = `${one.kind} ${one.what}`;
              result ??= move(
                i,
                label,
                {
                  ...tell(label, { id: one.id }),
                  pending: it.pending.filter((other) => other !== one),
                },
                false,
              );
            }
            if (it.inbox.length > 0) {
              const [message, ...inbox] = it.inbox;
              spread(state.memory, parts);
              result ??= move(i, "gets a message", {
                ...tell("message", { id: 0, message }),
                key: intern(`${it.key}|message`),
                inbox,
              }, false);
            }
          }
          if (result) return result;
          if (
            actor.mortal && !someoneDied && it.log.length > 0 &&
            it.status !== "done"
          ) {
            const actors = [...state.actors];
            actors[i] = { ...it, status: "dead", pending: [] };
            add({
              ...state,
              actors,
              trace: { before: state.trace, step: `${actor.name}: dies` },
            });
          }
        }
      }
      if (moves === 0) {
        spread(state.memory, parts);
        const message = scenario.atLast(viewsOf(state), state.ghost);
        if (message !== undefined) return failed(message, state.trace);
      }
    }
  }
  return { states };
}

/** What a notification does to an actor. */
function notified(
  it: ActorState,
  cell: string,
  plain: Uint8Array | undefined,
): ActorState {
  if (it.status === "blocked" && it.cell === cell) {
    return {
      ...it,
      status: "ready",
      next: "wakes",
      cell: "",
      log: [...it.log, { what: it.next, result: "ok", plain }],
      key: intern(`${it.key}|${it.next}|ok`),
    };
  }
  if (!it.pending.some((one) => one.kind === "wake" && one.what === cell)) {
    return it;
  }
  return {
    ...it,
    pending: it.pending.map((one) =>
      one.kind === "wake" && one.what === cell ? { ...one, isReady: true } : one
    ),
  };
}
