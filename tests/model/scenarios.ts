/**
 * What is explored, and what must be true of it.
 *
 * @module
 */

import type { Scenario, Self, View } from "./machine.ts";
import type { Sources } from "./sources.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

/** Makes a scenario of some sources. */
export interface Maker {
  (sources: Sources): Promise<Scenario>;
  /** What it shows. */
  readonly title: string;
}

function entitled(
  title: string,
  make: (sources: Sources) => Promise<Scenario>,
): Maker {
  return Object.assign(make, { title });
}

function cells(length: number): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(4 * length));
}

function stuck(actors: readonly View[]): string[] {
  return actors
    .filter(({ status }) => status !== "done" && status !== "dead")
    .map(({ name }) => name);
}

// -- Event --------------------------------------------------------------------

type EventStep = "set" | "clear" | "wait" | "wait or time out" | "wait async";

/** Waits, by actor and number: whether a `set()` came after they began. */
type EventGhost = Record<string, boolean>;

/** Options of {@linkcode events}. */
interface EventOptions {
  mortal?: string;
  /** Runs when no other can move. */
  last?: string;
}

/**
 * Events: a `set()` releases every wait that began before it, whatever follows;
 * of one who dies in it, once another is called.
 */
export function events(
  name: string,
  programs: Record<string, EventStep[]>,
  options: EventOptions = {},
): Maker {
  return entitled(name, async (sources) => {
    await sources.load("event.ts");
    const { realm } = await sources.load("_internal/realm.ts");
    const revive = realm.revivers.get("event");
    const event = cells(1);
    const one = (self: Self, it: Any, step: EventStep) => {
      if (step === "set" || step === "clear") return it[step]();
      self.note("waits");
      // Of an async wait the promise of its doorbell is seen, which is one of
      // the model's; that of the async function is not.
      if (step === "wait async") it.wait().catch(() => {});
      else {
        const timeout = step === "wait" ? Infinity : 1000;
        self.note(it.waitSync({ timeout }));
      }
    };
    return {
      name,
      shared: { event },
      ghost: {},
      actors: Object.entries(programs).map(([name, steps]) => ({
        name,
        mortal: name === options.mortal,
        last: name === options.last,
        run(self: Self) {
          const it = revive({ kind: "event", id: 1, cells: event });
          for (const step of steps) one(self, it, step);
        },
      })),
      onOperation(ghost: EventGhost, { actor, kind, result, notes }) {
        const wait = `${actor} ${notes.filter((it) => it === "waits").length}`;
        const waits = programs[actor]!.some((step) => step.startsWith("wait"));
        if (waits) {
          // From its first look on, a set() counts for it.
          return kind === "load" && !(wait in ghost)
            ? { ...ghost, [wait]: false }
            : ghost;
        }
        const raises = kind === "compareExchange" && !((result as number) & 1);
        const raised = kind === "load" && ((result as number) & 1) === 1;
        return raises || raised
          ? Object.fromEntries(Object.keys(ghost).map((wait) => [wait, true]))
          : ghost;
      },
      atLast(actors, ghost: EventGhost) {
        for (const { name, notes } of actors) {
          const waits = programs[name]!.filter((it) => it.startsWith("wait"));
          for (let n = 1; n <= waits.length; n++) {
            const released = waits[n - 1] === "wait async"
              ? notes.some(({ promise }) => promise === n)
              : notes[2 * n - 1] !== undefined;
            if (ghost[`${name} ${n}`] && !released) {
              return `wait ${n} of ${name} sleeps although a set() came after ` +
                `it had begun`;
            }
          }
        }
        return undefined;
      },
    };
  });
}

// -- Barrier ------------------------------------------------------------------

type BarrierStep =
  | "wait"
  | "wait or time out"
  | "reset"
  | "abort"
  | "look";

/** Options of {@linkcode barriers}. */
interface BarrierOptions {
  parties: number;
  action?: string;
  mortal?: string;
  /** Runs when no other can move. */
  last?: string;
  stops?: number;
}

interface Arrived {
  generation: number;
  index: number;
  kind: string;
}

/**
 * Barriers: every index comes once a cycle, all parties of a cycle see it end
 * the same way, one that passes had all its parties, and nobody sleeps on when
 * a cycle has ended; while the one who ended it dies, until somebody comes by.
 */
export function barriers(
  name: string,
  options: BarrierOptions,
  programs: Record<string, BarrierStep[]>,
): Maker {
  return entitled(name, async (sources) => {
    await sources.load("barrier.ts");
    const { realm } = await sources.load("_internal/realm.ts");
    const { BarrierState } = await sources.load("_internal/barrier_state.ts");
    const revive = realm.revivers.get("barrier");
    const barrier = cells(2 + 4);
    const { parties } = options;
    const wire = {
      kind: "barrier",
      id: 1,
      cells: barrier,
      parties,
      timeout: Infinity,
      action: options.action &&
        { kind: "source", text: options.action, name: "action" },
    };
    let current: Self | undefined;
    const { arrive } = BarrierState.prototype;
    BarrierState.prototype.arrive = function (acts: boolean) {
      const arrival = arrive.call(this, acts);
      if (arrival.place) {
        const { index, generation, bad } = arrival.place;
        current?.note({ index, generation, bad, kind: arrival.kind });
      }
      return arrival;
    };
    const one = (self: Self, it: Any, step: BarrierStep) => {
      if (step === "reset" || step === "abort") return it[step]();
      if (step === "look") return void (it.broken || it.nWaiting);
      try {
        const timeout = step === "wait" ? Infinity : 1000;
        self.note(it.waitSync({ timeout }) >= 0 ? "passed" : "nothing");
      } catch (error) {
        self.note((error as Error).name);
      }
    };
    const ends = (view: View) => {
      const found: (Arrived & { bad: number; end?: string })[] = [];
      for (const note of view.notes) {
        if (typeof note === "object") found.push({ ...note });
        else {
          const last = found.at(-1);
          if (last && last.end === undefined) last.end = note;
        }
      }
      return found;
    };
    const always = (actors: readonly View[]) => {
      const cycles = new Map<number, ReturnType<typeof ends>>();
      for (const place of actors.flatMap(ends)) {
        const cycle = cycles.get(place.generation) ?? [];
        cycles.set(place.generation, cycle);
        if (cycle.some(({ index }) => index === place.index)) {
          return `index ${place.index} came twice in cycle ${place.generation}`;
        }
        cycle.push(place);
      }
      for (const [generation, cycle] of cycles) {
        const passed = cycle.filter(({ end }) => end === "passed").length;
        const failed = cycle.filter(({ end }) =>
          end !== undefined && end !== "passed"
        ).length;
        if (passed > 0 && failed > 0) {
          return `cycle ${generation} ended well for some and badly for others`;
        }
        if (
          cycle.length === parties &&
          cycle.some(({ end }) => end === "TimeoutError")
        ) return `a timeout ended cycle ${generation} after all had arrived`;
        if (passed > 0 && cycle.length !== parties) {
          return `cycle ${generation} passed with ${cycle.length} parties`;
        }
      }
      return undefined;
    };
    return {
      name,
      ...options.stops === undefined ? {} : { stops: options.stops },
      shared: { barrier },
      actors: Object.entries(programs).map(([name, steps]) => ({
        name,
        mortal: name === options.mortal,
        last: name === options.last,
        run(self: Self) {
          current = self;
          const it = revive(wire);
          for (const step of steps) one(self, it, step);
        },
      })),
      always,
      atLast(actors) {
        current = undefined;
        const state = new BarrierState(parties, barrier);
        for (const view of actors) {
          if (view.status === "done" || view.status === "dead") continue;
          if (view.status !== "blocked") return `${view.name} never ends`;
          const place = ends(view).at(-1);
          const inside = place !== undefined && place.end === undefined;
          const over = inside
            ? state.outcome(place) !== undefined
            : !state.acting;
          if (over) return `${view.name} sleeps although its cycle has ended`;
        }
        return undefined;
      },
    };
  });
}

// -- the claim ----------------------------------------------------------------

/**
 * The claim: each call that is sent is claimed or taken back and never both,
 * also where the worker dies.
 */
export function claims(
  name: string,
  sender: ("send" | "take back" | "take back the last")[],
  worker: number,
): Maker {
  return entitled(name, async (sources) => {
    const claim = await sources.load("_internal/claim.ts");
    const word = cells(1);
    // What lies in the ring: the number of the call at each position.
    const ring = cells(8);
    const count = (actors: readonly View[], done: boolean) => {
      const fates = new Map<number, string>();
      for (const { notes } of actors) {
        for (const [fate, call] of notes as [string, number][]) {
          if (fate === "sent") continue;
          const old = fates.get(call);
          if (old !== undefined) return `call ${call} was ${old} and ${fate}`;
          fates.set(call, fate);
        }
      }
      if (!done) return undefined;
      const left = claim.unclaimed(word, 0);
      const sent = actors[0]!.notes.filter(([fate]) => fate === "sent").length;
      return sent === fates.size + left
        ? undefined
        : `of ${sent} calls ${fates.size} have a fate and ${left} none`;
    };
    return {
      name,
      shared: { word, ring },
      actors: [
        {
          name: "pool",
          run(self) {
            const entries: number[] = [];
            let calls = 0;
            let at = 0;
            for (const step of sender) {
              if (step === "send") {
                Atomics.store(ring, at++ % ring.length, calls);
                entries.push(calls);
                claim.send(word, 0);
                self.note(["sent", calls++]);
              } else {
                const taken = step === "take back"
                  ? claim.takeBack(word, 0)
                  : Number(claim.takeBackLast(word, 0));
                for (const call of entries.splice(entries.length - taken)) {
                  self.note(["taken back", call]);
                }
                at -= taken;
              }
            }
          },
        },
        {
          name: "worker",
          mortal: true,
          run(self) {
            let read = 0;
            for (let i = 0; i < worker; i++) {
              if (!claim.claim(word, 0)) continue;
              const call = Atomics.load(ring, read++ % ring.length);
              self.note(["claimed", call]);
            }
          },
        },
      ],
      always: (actors) => count(actors, false),
      atLast(actors) {
        const dead = actors[1]!.status === "dead";
        // A call that the worker had claimed as it died has no note.
        return dead ? count(actors, false) : count(actors, true);
      },
    };
  });
}

// -- Consumer -----------------------------------------------------------------

/**
 * The consumer: whatever is announced is worked off, and a consumer that sleeps
 * through an announcement does not exist. It naps so often before it sleeps.
 */
export function consumers(
  name: string,
  producers: number[],
  naps = 0,
): Maker {
  return entitled(name, async (sources) => {
    const { Consumer, announce } = await sources.load(
      "_internal/consumer.ts",
    );
    // What there is to do, the word that changes, whether the consumer sleeps.
    const bell = cells(3);
    const all = producers.reduce((sum, count) => sum + count);
    return {
      name,
      shared: { bell },
      actors: [
        {
          name: "consumer",
          run(self) {
            let done = 0;
            let left = naps;
            const consumer = new Consumer({
              cells: bell,
              word: 1,
              asleep: 2,
              work: () => {
                const found = Atomics.exchange(bell, 0, 0);
                done += found;
                if (found > 0) self.note(done);
                return found > 0;
              },
              wanted: () => done < all,
              patient: () => false,
              backlog: () => left-- > 0 ? 1000 : 0,
            });
            consumer.start();
          },
        },
        ...producers.map((count, i) => ({
          name: `producer ${i + 1}`,
          run() {
            for (let n = 0; n < count; n++) {
              Atomics.add(bell, 0, 1);
              Atomics.add(bell, 1, 1);
              announce(bell, 1, 2);
            }
          },
        })),
      ],
      atLast(actors) {
        const done = actors[0]!.notes.at(-1) ?? 0;
        return done === all
          ? undefined
          : `${done} of ${all} were done and the consumer sleeps`;
      },
    };
  });
}

// -- the lane of a worker -----------------------------------------------------

/** What the pool does. */
type LaneStep = number | "withdraw" | "take back" | "send what came back";

/** Longer than any frame. */
const LONG = 100;

/** A string whose frame is as long as is said. */
function text(call: number, length: number): string {
  return String(call).padEnd(length, "abcdefghij"[call % 10]);
}

/**
 * A whole lane: the pool's channel and consumer, and the worker's server. Each
 * call comes to the worker whole and once, and its answer back, while the rings
 * wrap around and the pool takes calls back and sends them again.
 *
 * @param steps Each number is a call with a text of that length: it goes in a
 * frame, or as a message if that is too small. "withdraw" is a call with a text
 * that turns out not to be sendable when its frame is there.
 */
export function lanes(
  name: string,
  sizes: { calls: number; answers: number; definitions: number },
  steps: LaneStep[],
  stops = 2,
): Maker {
  return entitled(name, async (sources) => {
    const { SharedChannel } = await sources.load("_internal/shared_channel.ts");
    const { CallbackCall } = await sources.load("_internal/call.ts");
    const { Consumer } = await sources.load("_internal/consumer.ts");
    const { BELL_CELLS, BellCell, LANE_CELLS } = await sources.load(
      "_internal/protocol.ts",
    );
    const { Definitions } = await sources.load("_internal/definitions.ts");
    const { runServer } = await sources.load("_internal/worker/server.ts");
    const lane = cells(LANE_CELLS);
    const bell = cells(BELL_CELLS);
    const calls = new SharedArrayBuffer(sizes.calls);
    const answers = new SharedArrayBuffer(sizes.answers);
    const definitions = new SharedArrayBuffer(sizes.definitions);
    const memory = { cells: lane, bell, calls, answers, definitions };
    const count = steps.filter((step) =>
      typeof step === "number" || step === "withdraw"
    )
      .length;
    return {
      name,
      stops,
      shared: { lane, bell, defined: new Int32Array(definitions, 0, 1) },
      plain: [
        new Uint8Array(calls),
        new Uint8Array(answers),
        new Uint8Array(definitions, 8),
      ],
      actors: [
        {
          name: "pool",
          buffers: [definitions, lane.buffer, calls, answers],
          run(self) {
            let unsendable = false;
            const port: Any = {
              postMessage(message: Any) {
                if (unsendable && message.kind === "payload") {
                  throw new TypeError("unsendable");
                }
                self.post("worker", message);
              },
              onmessage: null,
              close() {},
            };
            let answered = 0;
            const withdrawn = new Set<unknown>();
            const channel = new SharedChannel(
              {
                onAnswer: (call: Any, outcome: Any) => {
                  answered++;
                  const [, expected] = call.request.payload;
                  const isRight = withdrawn.has(call)
                    ? outcome.dropped
                    : outcome.ok && outcome.value === expected;
                  self.note([
                    call.request.payload[0],
                    isRight
                      ? "answered"
                      : `answered with ${
                        JSON.stringify(outcome.value ?? String(outcome.error))
                      }`,
                  ]);
                },
                onHeard: () => {
                  channel.drain();
                  consumer.rouse();
                },
                onReady: () => {},
                onBroken: () => {},
              },
              { bell, definitions: new Definitions(sizes.definitions) },
              sizes,
            );
            channel.open(port);
            self.onMessage = (message) => port.onmessage({ data: message });
            const consumer = new Consumer({
              cells: bell,
              word: BellCell.Answers,
              asleep: BellCell.PoolAsleep,
              work: () => channel.drain(),
              wanted: () => answered < count,
              patient: () => false,
            });
            const todo = [...steps];
            let back: Any[] = [];
            let made = 0;
            const send = (call: Any): boolean => {
              if (!channel.hasRoom) return false;
              channel.send(call);
              return true;
            };
            const go = () => {
              while (todo.length > 0) {
                const step = todo[0]!;
                if (step === "take back") back.push(...channel.takeBack());
                else if (step === "send what came back") {
                  while (back.length > 0 && send(back[0])) back.shift();
                  if (back.length > 0) return;
                } else {
                  unsendable = step === "withdraw";
                  const value = text(made, unsendable ? LONG : step as number);
                  const call = new CallbackCall(
                    { kind: "apply", fn: second, payload: [made, value] },
                    () => {},
                  );
                  if (unsendable) withdrawn.add(call);
                  try {
                    if (!send(call)) return;
                  } catch (error) {
                    if (!unsendable) throw error;
                    if (!(error as Any).withdrawn) {
                      answered++;
                      self.note([made, "answered"]);
                    }
                  }
                  unsendable = false;
                  made++;
                }
                todo.shift();
              }
              back = [];
            };
            const { onAnswer } = channel.events;
            channel.events.onAnswer = (call: Any, outcome: Any) => {
              onAnswer(call, outcome);
              go();
            };
            go();
            consumer.start();
          },
        },
        {
          name: "worker",
          run(self) {
            const port: Any = {
              postMessage: (message: unknown) => self.post("pool", message),
              onmessage: null,
            };
            const job = {
              kind: "server",
              initializer: undefined,
              lane: memory,
            };
            runServer(job, port).catch(() => {});
            self.onMessage = (message) => port.onmessage({ data: message });
          },
        },
      ],
      always(actors) {
        const seen = new Set<number>();
        for (const [call, fate] of actors[0]!.notes) {
          if (fate !== "answered") return `call ${call} was ${fate}`;
          if (seen.has(call)) return `call ${call} has two answers`;
          seen.add(call);
        }
        return undefined;
      },
      atLast(actors) {
        const done = actors[0]!.notes.length;
        return done === count
          ? undefined
          : `${done} of ${count} calls have an answer; ${
            stuck(actors).join(" and ")
          } sleep`;
      },
    };
  });
}

/** What the worker runs; its text goes over. */
const second = (_: number, value: string) => value;
