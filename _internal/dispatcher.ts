/**
 * Which worker runs a call, and what happens when a worker dies.
 *
 * @module
 */

import {
  type Call,
  DROPPED,
  type Executor,
  type ExecutorStats,
  type Outcome,
  takesBuffers,
  UnsentError,
} from "./call.ts";
import {
  type AnyFunction,
  type CallableWire,
  describe,
  nameOf,
} from "./callable.ts";
import {
  type Channel,
  type LaneSizes,
  PlainChannel,
  type SharedByWorkers,
  SharedChannel,
} from "./channel.ts";
import { Child } from "./child.ts";
import * as claims from "./claim.ts";
import type { ValueWire } from "./codec.ts";
import { Definitions } from "./definitions.ts";
import { WorkerExitError } from "./errors.ts";
import { newGroup } from "./group.ts";
import { Latch } from "./latch.ts";
import { BELL_CELLS, BellCell, QUICK_US } from "./protocol.ts";
import { Queue } from "./queue.ts";
import {
  canShareMemory,
  cores,
  hold,
  nextTurn,
  release,
  stopsBusyThreads,
  wallClock,
} from "./runtime.ts";
import { beforeBlocking, Consumer, later, soon } from "./wait.ts";

/** What a dispatcher is made with. */
export interface DispatcherOptions {
  /** How many workers. */
  processes: number;
  /** What their names begin with. */
  name: string;
  /** What each worker runs first. */
  initializer: { fn: CallableWire; args: ValueWire } | undefined;
  /** After how many calls a worker is replaced. */
  maxTasksPerChild: number;
  /** What the workers may do (Deno). */
  permissions: unknown;
  /** The URL of the worker file, if they are not to be started from text. */
  workerUrl: string | undefined;
}

/**
 * How calls travel; only tests change it. Answers that take no more room than
 * their calls always find some in a ring that is twice as large, so a worker
 * seldom has to wait for a thread that has yet to read them.
 */
export const travel: { lane: "shared" | "plain"; sizes: LaneSizes } = {
  lane: canShareMemory ? "shared" : "plain",
  sizes: { calls: 1 << 16, answers: 1 << 17, definitions: 1 << 16 },
};

/**
 * About what this thread takes to send a call and to read its answer, in
 * microseconds: calls that take as long keep as many workers busy, and more of
 * them would only take its core.
 */
const CALL_US = 1;

/** How long a worker may take from its claim of a call to its watchdog. */
const CLAIM_GRACE_MS = 20;

/** A call that is given up so close to its deadline is left to the watchdog. */
const NEAR_DEADLINE_MS = 20;

/** How long a watchdog may be late before its worker counts as stuck. */
const WATCHDOG_GRACE_MS = 1000;

/** After so many answers of others, none of its own between, the hot worker gives way. */
const HOT = 4;

/** Quick calls that have not begun after this wait behind one that is not. */
const STUCK_MS = 5;

/** After so many calls that each of the others has begun since, a worker is passed. */
const PASSED = 4;

/** Since then no more than this are sent ahead to a worker, as they may have to come back. */
const AHEAD = 16;

/** After so many answers without it, twice as many. */
const CALM = 256;

/** How often answers are read between two looks for such workers. */
const READS_PER_LOOK = 1024;

/** After so many workers that ended before they answered anything, no more are made. */
const MAX_USELESS = 16;

/**
 * For so many turns the last message of a worker that ended may come, and so often
 * answers to earlier calls are waited for before a worker is stopped.
 */
const PATIENCE = 50;

/** Microtasks between an answer and the spin, for whoever awaited the answer. */
const HOPS = 12;

/** A worker. */
interface Worker {
  readonly name: string;
  readonly child: Child;
  readonly channel: Channel;
  /** Calls it may still be sent before it is replaced. */
  left: number;
  /**
   * How many predecessors in a row ended before they answered anything; `-1` once
   * it has answered itself.
   */
  useless: number;
  /** What it had claimed when that was last looked at, and since when. */
  claimed: number;
  since: number;
  /** How many calls had begun in all workers then. */
  before: number;
  /** It is at a call that others pass, and is sent no other until it has answered. */
  passed: boolean;
}

/** The executor of a process pool. */
export class Dispatcher implements Executor {
  readonly #options: DispatcherOptions;
  readonly #queue = new Queue<Call>();
  readonly #workers = new Set<Worker>();
  readonly #shared: SharedByWorkers | undefined;
  readonly #consumer: Consumer | undefined;
  /** Threads that were to end, and whether they had a call to run: some may run on. */
  readonly #ended = new Map<Child, boolean>();
  readonly #gone = new Latch<void>();
  /** Calls whose answers are here, but modules that these need are not. */
  readonly #reviving = new Set<Call>();
  /** Calls without an answer. */
  #unfinished = 0;
  /** Number of the next worker, and of the next call. */
  #number = 1;
  #calls = 0;
  /** How often answers were read. */
  #reads = 0;
  /** How many calls have begun, and how many workers are passed. */
  #begun = 0;
  #passed = 0;
  /** How many calls are sent ahead to a worker, and how many answers came since. */
  #ahead = Infinity;
  #calm = 0;
  /** Number of the last group. */
  #group = 0;
  /** The worker that answers most of the time: the most likely to be awake. */
  #hot: Worker | undefined;
  /** How many answers of others came since its last one. */
  #rival = 0;
  /**
   * Whether calls may be sent now: not while a channel sends one, which may run
   * getters of its arguments, and not while one is emptied. What comes meanwhile
   * waits in the queue, or in a microtask.
   */
  #sending = true;
  /** Whether a call may not be taken for quick. */
  #strict = false;
  /** Whether this thread is to block. */
  #blocking = false;
  #failure: { error: unknown } | undefined;
  #state: "open" | "closing" | "over" = "open";
  #completed = 0;
  #failed = 0;
  #respawned = 0;
  /** Of these, workers that have not been made yet. */
  #due = 0;

  /** @param options What workers to have. */
  constructor(options: DispatcherOptions) {
    this.#options = options;
    const { lane, sizes } = travel;
    if (lane === "shared") {
      const bell = new Int32Array(new SharedArrayBuffer(BELL_CELLS * 4));
      this.#shared = { bell, definitions: new Definitions(sizes.definitions) };
      this.#consumer = new Consumer({
        cells: bell,
        word: BellCell.Answers,
        asleep: BellCell.PoolAsleep,
        hops: HOPS,
        work: () => this.#drain(),
        wanted: () => this.#unfinished > 0,
        patient: () => true,
        rest: () => this.#balance() ? STUCK_MS : Infinity,
      });
    }
    for (let i = 0; i < options.processes; i++) this.#spawn();
  }

  newGroup(): number {
    return this.#group = newGroup(
      this.#shared?.bell,
      BellCell.Groups,
      this.#group,
    );
  }

  submit(call: Call): void {
    if (this.#failure) {
      this.#failed++;
      return call.settle({ ok: false, error: this.#failure.error });
    }
    if (this.#unfinished++ === 0) {
      hold();
      beforeBlocking.add(this.#sendAll);
    }
    call.number = this.#calls++;
    this.#queue.push(call);
    this.#renewDue(); // whoever submits it may block this thread until it has run
    this.#send();
    this.#consumer?.start();
  }

  check(fn: AnyFunction): void {
    describe(fn);
  }

  giveUp(calls: ReadonlySet<Call>, stop: boolean): void {
    const given = new Set(calls); // the caller's loses those that are settled
    if (stop) {
      // One whose answer has not been read yet counts as failed, and once.
      for (const call of given) {
        if (call.settled) continue;
        call.settled = true;
        this.#failed++;
      }
    }
    // In the midst of a call that is being sent or read it has to wait.
    if (this.#sending) this.#forget(given, stop);
    else queueMicrotask(() => this.#forget(given, stop));
  }

  /** Drops calls that have not begun, and may stop the others. */
  #forget(given: ReadonlySet<Call>, stop: boolean): void {
    const drop = (call: Call) => {
      call.settled = true;
      this.#finish();
    };
    for (const call of this.#queue.remove(given)) drop(call);
    for (const call of given) if (this.#reviving.delete(call)) drop(call);
    // What has not begun comes back from every worker before any is stopped, as
    // that sends calls again.
    const stuck: [Worker, Call][] = [];
    for (const worker of this.#workers) {
      const { channel } = worker;
      if (!channel.has(given)) continue;
      const back = this.#takeBack(worker);
      this.#requeue(back.filter((call) => !given.has(call)));
      for (const call of back) if (given.has(call)) drop(call);
      const begun = channel.begun();
      if (stop && begun && given.has(begun)) stuck.push([worker, begun]);
    }
    for (const [worker, call] of stuck) {
      if (worker.channel.begun() === call) this.#stop(worker, call);
    }
    this.#dispatch();
  }

  close(): void {
    this.#state = "closing";
    this.#endIfClosing();
  }

  terminate(error: unknown): void {
    this.#state = "over";
    this.#failure ??= { error };
    this.#rejectAll(error);
    this.#endAll();
  }

  async join(): Promise<void> {
    await this.#gone.wait({ timeout: Infinity });
    for (const child of this.#ended.keys()) {
      await child.gone.wait({ timeout: Infinity });
    }
  }

  stats(): ExecutorStats {
    let busy = 0;
    let queued = this.#queue.length;
    for (const { channel } of this.#workers) {
      if (channel.begun() !== undefined) busy++;
      queued += channel.waiting;
    }
    let abandoned = 0;
    for (const [child, busy] of this.#ended) {
      if (busy ? child.lingers : child.abandoned) abandoned++;
    }
    return {
      busy,
      queued,
      completed: this.#completed,
      failed: this.#failed,
      respawned: this.#respawned,
      abandoned,
    };
  }

  /** Sends what can be sent, and lets no worker be idle while calls wait. */
  #dispatch(): void {
    this.#send();
    if (this.#balance()) this.#consumer?.stir(); // to look again
  }

  /** Sends what can be sent. */
  #send(): void {
    if (!this.#sending) return;
    while (this.#queue.length > 0) {
      const worker = this.#choose(this.#queue.at(0)!);
      if (worker === undefined) return;
      const call = this.#queue.shift()!;
      if (call.settled) {
        this.#finish();
        continue;
      }
      if (takesBuffers(call) && worker.channel.inFlight > 0) {
        // Its buffers could not be taken back: it waits for an idle worker.
        this.#queue.unshift([call]);
        return;
      }
      let unsent: UnsentError | undefined;
      try {
        // A getter of an argument may come back here.
        this.#sending = false;
        worker.channel.send(call);
      } catch (error) {
        unsent = error instanceof UnsentError ? error : new UnsentError(error);
      } finally {
        this.#sending = true;
      }
      const isInFlight = unsent === undefined || unsent.withdrawn;
      if (isInFlight) worker.left--; // before anyone is told, who may send more
      if (unsent !== undefined) {
        const { reason: error, index } = unsent;
        this.#tell(call, { ok: false, error, unsent: index });
      }
      if (!isInFlight) {
        this.#finish();
        continue;
      }
      if (!this.#workers.has(worker)) { // it has ended the pool or this worker
        for (const lost of worker.channel.abandon()) {
          const error = this.#failure?.error ?? stoppedError(lost, worker);
          this.#settle(lost, { ok: false, error });
        }
        continue;
      }
    }
  }

  /**
   * The worker for the next call: an idle one, else the one with the fewest.
   *
   * Of a function whose calls are quick, the one that answered last, as long as
   * it gets to the call sooner than another could be woken, and after that no
   * more than there are cores, or than this thread can keep busy. That a call is
   * not quick after all is seen before the pool sleeps; see
   * {@linkcode Dispatcher.#balance}. One that may wait for others, as it has more
   * than simple values, has a worker of its own if there is one: this thread may
   * block in wait for it, and see nothing.
   */
  #choose(call: Call): Worker | undefined {
    const hot = this.#hot;
    let limit = Infinity;
    if (hot !== undefined && hot.left > 0 && !hot.passed) {
      const { channel } = hot;
      if (channel.inFlight === 0) return hot;
      const pace = channel.lastFunction === call.request.fn && !this.#strict
        ? channel.pace
        : Infinity;
      if (pace < QUICK_US && isSimple(call)) {
        this.#consumer!.stir();
        limit = Math.min(cores, pace / CALL_US);
        if ((channel.inFlight + 1) * pace < QUICK_US && channel.hasRoom) {
          return hot;
        }
        if (limit <= 1) return channel.hasRoom ? hot : undefined;
      }
    }
    let best: Worker | undefined;
    let last: Worker | undefined;
    let fewest = this.#blocking ? Infinity : this.#ahead;
    for (const worker of this.#workers) {
      if (worker.left <= 0) continue;
      if (worker.passed) {
        if (this.#blocking && worker.channel.hasRoom) last = worker;
        continue;
      }
      if (limit-- === 0) break;
      // One that is not ready comes after one that is.
      const load = worker.channel.inFlight + (worker.channel.ready ? 0 : 0.5);
      if (load < fewest && worker.channel.hasRoom) {
        best = worker;
        fewest = load;
      }
    }
    return best ?? last;
  }

  /**
   * Lets idle workers have what waits behind a call of another, or for one that
   * is not ready.
   *
   * @returns Whether to look again soon: calls that wait and seem to be quick
   * were left, or sent, to one worker.
   */
  #balance(): boolean {
    if (!this.#sending) return false;
    const left = new Set<Worker>();
    let again = false;
    this.#dealAnew();
    for (;;) {
      let idle = false;
      let fullest: Worker | undefined;
      let most = 0;
      for (const worker of this.#workers) {
        const { inFlight, ready } = worker.channel;
        if (inFlight === 0 && worker.left > 0 && ready) idle = true;
        if (inFlight <= most + (ready ? 1 : 0)) continue;
        if (left.has(worker)) continue;
        const { waiting } = worker.channel;
        if (waiting > most) {
          fullest = worker;
          most = waiting;
        }
      }
      if (!idle || fullest === undefined) return again;
      const hotIsIdle = this.#hot?.channel.inFlight === 0;
      const leave = !hotIsIdle && this.#isQuick(fullest, most);
      const calls = leave ? [] : this.#takeBack(fullest);
      if (leave || (hotIsIdle && calls.length > 0)) again = true;
      if (calls.length === 0) {
        left.add(fullest);
        continue;
      }
      this.#requeue(calls);
      this.#strict = !hotIsIdle;
      this.#send();
      this.#strict = false;
    }
  }

  /** Whether what waits there is likely to begin at once. */
  #isQuick({ channel: { pace }, since }: Worker, waiting: number): boolean {
    if (pace > CALL_US && (waiting + 1) * pace >= QUICK_US) return false;
    return performance.now() - since < STUCK_MS;
  }

  /**
   * If calls wait behind one that takes so much longer than others that these pass
   * them, which they would for as long as no worker is idle, deals out anew all
   * that has not begun.
   */
  #dealAnew(): void {
    this.#look();
    const before = this.#passed;
    for (const worker of this.#workers) {
      const others = this.#workers.size - this.#passed - 1;
      const { waiting, inFlight } = worker.channel;
      const isPassed = others > 0 && waiting > 0 && inFlight > waiting &&
        this.#begun - worker.before >= others * PASSED;
      if (isPassed) this.#markPassed(worker, true);
    }
    if (this.#passed === before) return;
    this.#ahead = AHEAD;
    this.#calm = 0;
    for (const worker of this.#workers) this.#requeue(this.#takeBack(worker));
    this.#send();
  }

  /** Looks how many calls have begun since the last look, and where. */
  #look(): void {
    const time = performance.now();
    const moved: Worker[] = [];
    for (const worker of this.#workers) {
      const { claimed } = worker.channel;
      const more = (claimed - worker.claimed) & claims.MASK;
      if (more === 0) continue;
      worker.claimed = claimed;
      worker.since = time;
      this.#begun += more;
      moved.push(worker);
    }
    for (const worker of moved) worker.before = this.#begun;
  }

  #markPassed(worker: Worker, passed: boolean): void {
    if (worker.passed === passed) return;
    worker.passed = passed;
    this.#passed += passed ? 1 : -1;
  }

  /**
   * Sends all that there is room for, as this thread is to block: it may wait for
   * what a call in the queue does.
   */
  readonly #sendAll = (): void => {
    this.#blocking = true;
    this.#send();
    this.#blocking = false;
  };

  #takeBack(worker: Worker): Call[] {
    const calls = worker.channel.takeBack();
    worker.left += calls.length;
    return calls;
  }

  /** Puts calls back where they came from: first come, first served. */
  #requeue(calls: Call[]): void {
    const queue = this.#queue;
    const newest = calls.reduce((most, it) => Math.max(most, it.number), -1);
    // What came back before may be older.
    while ((queue.at(0)?.number ?? Infinity) < newest) {
      calls.push(queue.shift()!);
    }
    queue.unshift(calls.sort((a, b) => a.number - b.number));
  }

  #drain(): boolean {
    if (++this.#reads % READS_PER_LOOK === 0 && this.#sending) this.#dealAnew();
    let any = false;
    for (const { channel } of this.#workers) {
      if (channel.inFlight > 0 && channel.drain()) any = true;
    }
    return any;
  }

  #onAnswer(
    worker: Worker,
    call: Call,
    outcome: Outcome | Promise<Outcome>,
  ): void {
    if (outcome instanceof Promise) {
      this.#reviving.add(call);
      outcome.then((outcome) => {
        if (this.#reviving.delete(call)) this.#settle(call, outcome);
      });
    } else this.#settle(call, outcome); // may call the user, who may end it all
    if (!this.#workers.has(worker)) return;
    if (outcome === DROPPED) worker.left++; // it has not begun
    this.#warm(worker);
    this.#markPassed(worker, false);
    if (this.#ahead !== Infinity && ++this.#calm === CALM) {
      this.#calm = 0;
      this.#ahead *= 2; // in the end the rings are the limit
    }
    worker.useless = -1;
    if (worker.left === 0 && worker.channel.inFlight === 0) {
      this.#end(worker);
      this.#renew();
    }
    if (this.#queue.length > 0) this.#send();
    if (worker.channel.inFlight === 0 && this.#unfinished > 0) this.#dispatch();
  }

  /** A worker has answered: if no other has for a while, it becomes the hot one. */
  #warm(worker: Worker): void {
    if (worker === this.#hot) {
      this.#rival = 0;
    } else if (this.#hot === undefined || ++this.#rival === HOT) {
      if (this.#hot !== undefined) this.#hot.channel.favour(false);
      this.#hot = worker;
      this.#rival = 0;
      worker.channel.favour(true);
    }
  }

  /** Ends a call that an executor has, unless it was given up. */
  #settle(call: Call, outcome: Outcome): void {
    this.#tell(call, outcome);
    this.#finish();
  }

  /** Tells whoever waits for a call how it ended, unless it was given up. */
  #tell(call: Call, outcome: Outcome): void {
    if (!call.settled) {
      if (outcome.ok) this.#completed++;
      else if (!outcome.dropped) this.#failed++;
    }
    call.settle(outcome);
  }

  #finish(): void {
    if (--this.#unfinished > 0) return;
    release();
    beforeBlocking.delete(this.#sendAll);
    this.#endIfClosing();
  }

  #endIfClosing(): void {
    if (this.#unfinished > 0 || this.#state !== "closing") return;
    this.#state = "over";
    this.#endAll();
  }

  /** Nothing is sent or made any more. */
  #endAll(): void {
    for (const worker of [...this.#workers]) this.#end(worker);
    this.#consumer?.leave();
    this.#gone.open();
  }

  /** @param useless As of {@linkcode Worker.useless}. */
  #spawn(useless = 0): void {
    const { initializer, name, permissions, maxTasksPerChild, workerUrl } =
      this.#options;
    const events = {
      onAnswer: (call: Call, outcome: Outcome | Promise<Outcome>) =>
        this.#onAnswer(worker, call, outcome),
      onHeard: () => this.#consumer?.rouse(),
      onReady: () => this.#dispatch(),
      onBroken: (error: unknown) => this.#break(error),
      onSpoilt: (error: unknown) => this.#discard(worker, error),
    };
    const shared = this.#shared &&
      new SharedChannel(events, this.#shared, travel.sizes);
    const channel = shared ?? new PlainChannel(events);
    const workerName = `${name}-${this.#number++}`;
    const child = new Child({
      name: workerName,
      job: { kind: "server", initializer, lane: shared?.memory },
      permissions,
      workerUrl,
      onExit: (code, error) => this.#onExit(worker, code, error),
      onGone: () => this.#ended.delete(child),
    });
    const worker: Worker = {
      name: workerName,
      child,
      channel,
      left: maxTasksPerChild,
      useless,
      claimed: 0,
      since: performance.now(),
      before: this.#begun,
      passed: false,
    };
    child.unref();
    channel.open(child.port);
    this.#workers.add(worker);
  }

  /** It is sent nothing more, and nothing is read from it. */
  #remove(worker: Worker): void {
    this.#workers.delete(worker);
    if (this.#hot === worker) this.#hot = undefined;
    this.#markPassed(worker, false);
  }

  /** Makes a worker in the place of one that died. */
  #respawn(useless = 0): void {
    if (this.#state !== "over") this.#respawned++;
    this.#renew(useless);
  }

  /**
   * Makes a worker in the place of one that was stopped: a start takes its time,
   * for which whoever stopped it need not wait.
   */
  #respawnSoon(): void {
    if (this.#state === "over") return;
    this.#respawned++;
    this.#due++;
    soon(() => {
      this.#renewDue();
      this.#send();
    });
  }

  /** Makes the workers that are to be made soon. */
  #renewDue(): void {
    for (; this.#due > 0; this.#due--) this.#renew();
  }

  /** Makes a worker in the place of another. */
  #renew(useless = 0): void {
    if (this.#state === "over" || this.#failure) return;
    try {
      this.#spawn(useless);
    } catch (error) {
      this.#break(error);
    }
  }

  /** The worker ended by itself. */
  async #onExit(worker: Worker, code: number, cause: unknown): Promise<void> {
    worker.left = -Infinity; // it takes no more
    await worker.channel.settled();
    if (!this.#workers.has(worker)) return;
    const exit = (call: Call) =>
      new WorkerExitError(
        `Cannot finish ${nameOf(call.request.fn)} as its worker ` +
          `"${worker.name}" ended with exit code ${code}`,
        code,
        cause === undefined ? {} : { cause },
      );
    // The message that its initializer has failed may come after its end.
    const { channel } = worker;
    for (let turns = PATIENCE; turns > 0 && !channel.ready; turns--) {
      await new Promise<void>(nextTurn);
    }
    const { ready } = channel;
    const isIdle = worker.channel.begun() === undefined;
    const useless = isIdle ? worker.useless + 1 : 0;
    if (isIdle && (!ready || useless > MAX_USELESS)) {
      // Another one would fare no better.
      return this.#break(
        new WorkerExitError(
          `Cannot start worker "${worker.name}" as it ended with exit code ` +
            `${code} before it was ${ready ? "of use" : "ready"}` +
            (cause instanceof Error ? `: ${cause.message}` : ""),
          code,
          cause === undefined ? {} : { cause },
        ),
      );
    }
    this.#remove(worker);
    this.#requeue(this.#takeBack(worker));
    // What is left had begun, or its buffers went down with the worker.
    const lost = worker.channel.abandon();
    this.#respawn(useless);
    for (const call of lost) {
      this.#settle(call, { ok: false, error: exit(call) });
    }
    this.#dispatch();
  }

  /** Stops a worker that runs a call which nobody waits for any more. */
  #stop(worker: Worker, call: Call): void {
    const { deadline = Infinity } = call.request;
    if (stopsBusyThreads || wallClock() < deadline - NEAR_DEADLINE_MS) {
      return this.#replace(worker, call);
    }
    // The watchdog in the worker ends it about now, unless it is past an
    // `await`. What has just been claimed gets a moment to come under watch.
    const { channel } = worker;
    const after = (milliseconds: number, then: () => void) =>
      later(milliseconds, () => {
        if (this.#workers.has(worker) && channel.begun() === call) then();
      });
    after(CLAIM_GRACE_MS, () => {
      if (!channel.guarded) this.#replace(worker, call);
      else after(WATCHDOG_GRACE_MS, () => this.#replace(worker, call));
    });
  }

  /** Ends a worker that runs a call, unless it has gone on to another. */
  #replace(worker: Worker, call: Call, patience = PATIENCE): void {
    if (!this.#workers.has(worker)) return;
    const { channel } = worker;
    this.#sending = false;
    this.#requeue(this.#takeBack(worker));
    // It can claim no more, so after what it has answered was read, only what
    // it runs is left.
    channel.drain();
    this.#sending = true;
    if (this.#workers.has(worker) && channel.begun() === call) {
      if (channel.inFlight > 1 && patience > 0) {
        // Messages with others' answers are on their way.
        void channel.settled().then(() =>
          this.#replace(worker, call, patience - 1)
        );
      } else {
        this.#end(worker);
        this.#respawnSoon();
      }
    }
    this.#dispatch();
  }

  /** Ends a worker in which a task has broken something. */
  #discard(worker: Worker, cause: unknown): void {
    if (!this.#workers.has(worker)) return;
    this.#requeue(this.#takeBack(worker));
    this.#end(worker, cause);
    this.#respawn();
    this.#dispatch();
  }

  /** Ends a worker; the calls that it has begun end with it. */
  #end(worker: Worker, cause?: unknown): void {
    this.#remove(worker);
    this.#ended.set(worker.child, worker.channel.begun() !== undefined);
    worker.child.terminate();
    for (const call of worker.channel.abandon()) {
      const error = stoppedError(call, worker, cause);
      this.#settle(call, { ok: false, error });
    }
  }

  /** No worker can be made: every call fails, now and later. */
  #break(error: unknown): void {
    this.#failure ??= { error };
    this.#rejectAll(error);
    for (const worker of [...this.#workers]) this.#end(worker);
  }

  #rejectAll(error: unknown): void {
    const calls = [...this.#queue.clear(), ...this.#reviving];
    this.#reviving.clear();
    for (const worker of this.#workers) calls.push(...worker.channel.abandon());
    for (const call of calls) this.#settle(call, { ok: false, error });
  }
}

function stoppedError(
  call: Call,
  worker: Worker,
  cause?: unknown,
): WorkerExitError {
  return new WorkerExitError(
    `Cannot finish ${nameOf(call.request.fn)} as its worker ` +
      `"${worker.name}" was stopped` +
      (cause === undefined
        ? ""
        : `: a task in it has changed what the worker relies on, or its ` +
          `memory (${(cause as Error).message})`),
    -15,
    cause === undefined ? {} : { cause },
  );
}

/** How many values of a call are looked at. */
const FEW_VALUES = 16;

/** Whether a call is given a few simple values and nothing else. */
function isSimple({ request: { payload, transfer } }: Call): boolean {
  if (transfer !== undefined || payload.length > FEW_VALUES) return false;
  for (let i = 0; i < payload.length; i++) {
    const value = payload[i];
    if (typeof value === "object" && value !== null) return false;
  }
  return true;
}
