/**
 * The life of the workers of a pool, and of the calls that they are given.
 *
 * Which worker a call is given to is the scheduler's business.
 *
 * @module
 */

import {
  type Call,
  DROPPED,
  type Executor,
  type ExecutorStats,
  type Outcome,
} from "./call.ts";
import {
  type AnyFunction,
  type CallableWire,
  describeToRun,
  nameOf,
} from "./callable.ts";
import { PlainChannel } from "./plain_channel.ts";
import {
  type LaneSizes,
  type SharedByWorkers,
  SharedChannel,
} from "./shared_channel.ts";
import { Child } from "./child.ts";
import { hasShared, isCloneError, type ValueWire } from "./codec.ts";
import { Consumer } from "./consumer.ts";
import { Definitions } from "./definitions.ts";
import { WorkerExitError } from "./errors.ts";
import { newGroup } from "./group.ts";
import { Latch } from "./latch.ts";
import { Refusals } from "./refusals.ts";
import { BELL_CELLS, BellCell } from "./protocol.ts";
import { microtask, nextTurn, now } from "./runtime/loop.ts";
import { realm } from "./realm.ts";
import { canShareMemory, stopsBusyThreads } from "./runtime/which.ts";
import { noHeadway, type Schedulable, Scheduler } from "./scheduler.ts";
import { later } from "./wait.ts";

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
 * For so long a pool's first worker starts alone, unless there are calls for others:
 * it would have to share the cores with them, and the first call begin later.
 */
const ALONE_MS = 50;

/** How long a worker may take from its claim of a call to its watchdog. */
const CLAIM_GRACE_MS = 20;

/** A call that is given up so close to its deadline is left to the watchdog. */
const NEAR_DEADLINE_MS = 20;

/** How long a watchdog may be late before its worker counts as stuck. */
const WATCHDOG_GRACE_MS = 1000;

/** After so many workers that ended before they answered anything, no more are made. */
const MAX_USELESS = 16;

/**
 * So many workers at most that have a successor may still run, as messages with
 * their answers have yet to be heard.
 */
const MAX_UNHEARD = 64;

/** So often answers to earlier calls are waited for before a worker is stopped. */
const MAX_WAITS = 50;

/** Microtasks between an answer and the spin, for whoever awaited the answer. */
const HOPS = 12;

/** A worker. */
interface Worker extends Schedulable {
  readonly name: string;
  readonly child: Child;
  /**
   * How many predecessors in a row ended before they answered anything; `-1` once
   * it has answered itself.
   */
  useless: number;
  /** Its successor is there: it takes no more calls, and ends once it has none. */
  replaced: boolean;
}

/** The executor of a process pool. */
export class Dispatcher implements Executor {
  readonly #options: DispatcherOptions;
  readonly #scheduler: Scheduler<Worker>;
  readonly #shared: SharedByWorkers | undefined;
  readonly #consumer: Consumer | undefined;
  /** Threads that are to end, and whether they had a call to run: some may run on. */
  readonly #ending = new Map<Child, boolean>();
  readonly #gone = new Latch<void>();
  /** Calls whose answers are here, but modules that these need are not. */
  readonly #reviving = new Set<Call>();
  /** Whether calls are to be sent in the next turn, as some were given up. */
  #refilling = false;
  /** This thread may wait for what a call does, so all that can begin has to. */
  readonly #whileBlocking = (again: boolean): number => {
    if (this.#scheduler.maySend) {
      this.#seeEnds();
      this.#seeOverdue();
    }
    const pause = this.#scheduler.attend(again);
    // One at a time, as a start takes longer than whoever blocks may want to wait.
    const isMade = this.#spawnDue(Math.min(1, this.#needed())) > 0 ||
      this.#replaceEarly();
    return isMade ? 0 : pause;
  };
  /** Number of the next worker. */
  #number = 1;
  /** Number of the last group. */
  #group = 0;
  #failure: { error: unknown } | undefined;
  #state: "open" | "closing" | "over" = "open";
  #completed = 0;
  #failed = 0;
  #abandoned = 0;
  #respawned = 0;
  /** Workers that are to be made soon, or once there are calls for them. */
  #due = 0;
  /** Whether any worker has ever answered. */
  #works = false;
  readonly #refusals = new Refusals();

  /** @param options What workers to have. */
  constructor(options: DispatcherOptions) {
    this.#options = options;
    const { lane, sizes } = travel;
    const bell = lane === "shared"
      ? new Int32Array(new SharedArrayBuffer(BELL_CELLS * 4))
      : undefined;
    this.#scheduler = new Scheduler({
      onUnsent: (call, outcome) => this.#tell(call, outcome),
      onDropped: (call) => this.#finish(call),
      onLost: (worker) => this.#abandon(worker),
      onEmptied: (worker) => {
        if (worker.replaced) this.#endReplaced(worker);
      },
      onDoubt: () => this.#consumer?.stir(),
    }, bell);
    this.#scheduler.mayWait = hasShared(options.initializer?.args);
    if (bell) {
      this.#shared = { bell, definitions: new Definitions(sizes.definitions) };
      this.#consumer = new Consumer({
        cells: bell,
        word: BellCell.Answers,
        asleep: BellCell.PoolAsleep,
        hops: HOPS,
        work: () => this.#scheduler.drain(),
        wanted: () => !this.#isIdle,
        patient: () => true,
        rest: () => this.#scheduler.rest(),
        backlog: () => this.#scheduler.backlog(),
      });
    }
    try {
      // Only an initializer can tell whether its worker is there.
      const first = options.initializer ? options.processes : 1;
      for (let i = 0; i < first; i++) this.#spawn();
      this.#due = options.processes - first;
      if (this.#due > 0) later(ALONE_MS, this.#spawnRest);
    } catch (error) {
      this.terminate(error); // nobody else could
      throw error;
    }
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
    // In this order, as the stack may be at its end: what is in the queue counts.
    if (this.#isIdle) realm.whileBlocking.add(this.#whileBlocking);
    this.#scheduler.push(call);
    call.keep();
    this.#spawnDue(this.#needed()); // this thread may block until they have run it
    this.#scheduler.send();
    this.#consumer?.start();
  }

  check(fn: AnyFunction): void {
    describeToRun(fn);
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
    if (this.#scheduler.maySend) this.#forget(given, stop);
    else microtask(() => this.#forget(given, stop));
  }

  /** Drops calls that have not begun, and may stop the others. */
  #forget(given: ReadonlySet<Call>, stop: boolean): void {
    const drop = (call: Call) => {
      call.settled = true;
      this.#finish(call);
    };
    const scheduler = this.#scheduler;
    for (const call of scheduler.drop(given)) drop(call);
    for (const call of given) if (this.#reviving.delete(call)) drop(call);
    // What has not begun comes back from every worker before any is stopped, as
    // that sends calls again.
    const stuck: [Worker, Call][] = [];
    for (const worker of scheduler.workers) {
      const { channel } = worker;
      if (!channel.has(given)) continue;
      const back = scheduler.takeBack(worker);
      scheduler.requeue(back.filter((call) => !given.has(call)));
      for (const call of back) if (given.has(call)) drop(call);
      const begun = channel.begun();
      if (stop && begun && given.has(begun)) stuck.push([worker, begun]);
    }
    for (const call of given) if (!call.settled) call.letGo();
    for (const [worker, call] of stuck) {
      if (worker.channel.begun() === call) this.#stop(worker, call);
    }
    if (this.#refilling) return;
    // Of thousands that are given up in one turn, each would have them all taken
    // back and sent again.
    this.#refilling = true;
    nextTurn(() => {
      this.#refilling = false;
      scheduler.dispatch();
    });
    scheduler.dispatch();
  }

  close(): void {
    this.#state = "closing";
    this.#endIfClosing();
  }

  terminate(error: unknown): void {
    this.#state = "over";
    this.#break(error);
    this.#openIfGone();
  }

  async join(): Promise<void> {
    await this.#gone.wait({ timeout: Infinity });
  }

  stats(): ExecutorStats {
    let busy = 0;
    let { queued } = this.#scheduler;
    for (const { channel } of this.#scheduler.workers) {
      if (channel.begun() !== undefined) busy++;
      queued += channel.waiting;
    }
    let abandoned = this.#abandoned;
    for (const [child, wasBusy] of this.#ending) {
      if (wasBusy && child.lingers) abandoned++;
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
    const scheduler = this.#scheduler;
    if (!scheduler.workers.has(worker)) return;
    if (outcome === DROPPED) worker.left++; // it has not begun
    if (worker.stopping === call) worker.stopping = undefined; // it went on
    scheduler.answered(worker);
    if (worker.useless >= 0) {
      worker.useless = -1;
      this.#works = true;
      this.#refusals.clear();
    }
    if (worker.channel.inFlight === 0) {
      if (worker.replaced) this.#endReplaced(worker);
      else if (worker.left === 0) {
        this.#end(worker);
        this.#spawnSuccessor();
      }
    }
    if (worker.channel.inFlight === 0 && !this.#isIdle) {
      scheduler.dispatch();
    } else scheduler.send();
  }

  /** Ends a call that an executor has, unless it was given up. */
  #settle(call: Call, outcome: Outcome): void {
    this.#tell(call, outcome);
    this.#finish(call);
  }

  /** Tells whoever waits for a call how it ended, unless it was given up. */
  #tell(call: Call, outcome: Outcome): void {
    if (!call.settled) {
      if (outcome.ok) this.#completed++;
      else if (!outcome.dropped) this.#failed++;
    }
    call.settle(outcome);
  }

  #finish(call: Call): void {
    call.letGo();
    call.spare();
    if (!this.#isIdle) return;
    realm.whileBlocking.delete(this.#whileBlocking);
    this.#endIfClosing();
  }

  /**
   * Whether it has no call. Seen from where calls are, as a count of them would be
   * wrong for good once the stack ends between a call's end and its entry.
   */
  get #isIdle(): boolean {
    const { queued, maySend, workers } = this.#scheduler;
    // While one is sent, it is nowhere.
    if (queued > 0 || !maySend || this.#reviving.size > 0) return false;
    for (const { channel } of workers) if (channel.inFlight > 0) return false;
    return true;
  }

  #endIfClosing(): void {
    if (this.#state !== "closing" || !this.#isIdle) return;
    this.#state = "over";
    this.#endWorkers();
    this.#openIfGone();
  }

  #endWorkers(): void {
    for (const worker of [...this.#scheduler.workers]) this.#end(worker);
    this.#consumer?.leave();
  }

  #openIfGone(): void {
    if (this.#state === "over" && this.#ending.size === 0) this.#gone.open();
  }

  /** @param useless As of {@linkcode Worker.useless}. */
  #spawn(useless = 0): void {
    const { initializer, name, permissions, maxTasksPerChild, workerUrl } =
      this.#options;
    const events = {
      onAnswer: (call: Call, outcome: Outcome | Promise<Outcome>) =>
        this.#onAnswer(worker, call, outcome),
      onHeard: () => {
        this.#scheduler.drain();
        this.#consumer?.rouse();
      },
      onReady: () => this.#scheduler.dispatch(),
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
      onGone: (abandoned) => {
        this.#ending.delete(child);
        // One that has not begun ends as soon as it does.
        if (abandoned && channel.started) this.#abandoned++;
        this.#openIfGone();
      },
    });
    const worker: Worker = {
      name: workerName,
      child,
      channel,
      left: maxTasksPerChild,
      headway: noHeadway(),
      useless,
      replaced: false,
    };
    child.unref();
    channel.open(child.port);
    this.#scheduler.add(worker);
  }

  /** Makes a worker in the place of one that died, if none is there. */
  #replaceDead({ replaced }: Worker, useless = 0): void {
    if (this.#state !== "over") this.#respawned++;
    if (!replaced) this.#spawnSuccessor(useless);
  }

  /**
   * Makes a worker in the place of one that was stopped, if none is there: a start
   * takes its time, for which whoever stopped it need not wait.
   */
  #replaceSoon({ replaced }: Worker): void {
    if (this.#state === "over") return;
    this.#respawned++;
    if (replaced) return;
    this.#due++;
    nextTurn(() => {
      this.#spawnDue(Infinity);
      this.#scheduler.send();
    });
  }

  /** Makes those that are to be made soon, no more than so many; tells how many. */
  #spawnDue(most: number): number {
    let made = 0;
    while (made < most && this.#due > 0 && this.#makeDue()) made++;
    return made;
  }

  /**
   * Makes those that are to be made soon one by one, as each takes its time; the
   * program may end before.
   */
  readonly #spawnRest = (): void => {
    if (this.#state !== "open" || this.#failure) return;
    if (this.#refusals.isPausing) return; // it goes on after that
    this.#spawnDue(1);
    if (this.#due > 0) later(1, this.#spawnRest);
  };

  /** How many there are calls for, beside those that there are. */
  #needed(): number {
    if (this.#due === 0 || this.#refusals.isPausing) return 0;
    let needed = this.#scheduler.queued;
    for (const { left, channel: { inFlight } } of this.#scheduler.workers) {
      if (left > 0 || inFlight > 0) needed += inFlight - 1;
    }
    return needed;
  }

  /** Takes back what those have who end, of which this thread hears nothing. */
  #seeEnds(): void {
    for (const worker of this.#scheduler.workers) {
      if (worker.channel.ending) this.#takeBack(worker);
    }
  }

  /**
   * Takes back what those have who are at a call whose time is up, and marks them to
   * be stopped: the timer of this thread that would do so has to wait.
   */
  #seeOverdue(): void {
    const time = now();
    for (const worker of this.#scheduler.workers) {
      const { channel, stopping } = worker;
      const call = channel.begun();
      const { deadline = Infinity } = call?.request ?? {};
      const grace = channel.guarded ? WATCHDOG_GRACE_MS : CLAIM_GRACE_MS;
      if (stopping || time < deadline + grace) continue;
      worker.stopping = call;
      this.#takeBack(worker);
    }
  }

  /** As of {@linkcode Worker.useless}, for the successor of one that has ended. */
  #uselessAfter({ channel, useless }: Worker): number {
    const { inFlight, unanswered } = channel;
    const isOfUse = inFlight > unanswered || channel.begun() !== undefined;
    return isOfUse ? 0 : useless + 1;
  }

  /**
   * Makes the successor of a worker that takes no more calls, before it has ended,
   * for the calls that wait: this thread blocks, and does not see that end.
   *
   * @returns Whether it made one.
   */
  #replaceEarly(): boolean {
    let spent: { worker: Worker; useless: number } | undefined;
    let unheard = 0;
    for (const worker of this.#scheduler.workers) {
      const { channel, left, stopping, replaced } = worker;
      const isFree = channel.unanswered === 0;
      const isEnded = left === -Infinity || channel.ending;
      if (replaced) {
        if (channel.ending) continue; // that is told once this thread goes on
        if (channel.isComplete) {
          if (channel.inFlight > 0) this.#stopThread(worker);
          else this.#end(worker);
        } else if (isFree) unheard++;
      } else if (isEnded || stopping || (left === 0 && isFree)) {
        const useless = isEnded ? this.#uselessAfter(worker) : 0;
        if (useless <= MAX_USELESS) spent ??= { worker, useless };
      }
    }
    if (spent === undefined) return false;
    if (unheard >= MAX_UNHEARD || this.#scheduler.queued === 0) return false;
    const { worker, useless } = spent;
    worker.replaced = true;
    worker.left = -Infinity;
    this.#spawnSuccessor(useless);
    return true;
  }

  /** Ends a worker that has a successor, and no more calls. */
  #endReplaced(worker: Worker): void {
    if (!this.#scheduler.workers.has(worker)) return;
    if (!worker.channel.ending) this.#end(worker); // else it ends by itself
  }

  /** Makes a worker in the place of another. */
  #spawnSuccessor(useless = 0): void {
    this.#due++; // first, as the stack may be at its end
    this.#makeDue(useless);
  }

  /** Makes a worker that is due; tells whether it could. */
  #makeDue(useless = 0): boolean {
    if (this.#state === "over" || this.#failure) return false;
    try {
      this.#spawn(useless);
      this.#due--;
      return true;
    } catch (error) {
      // One that cannot be told what to do never can.
      if (isCloneError(error)) this.#break(error);
      else this.#askLater(error);
      return false;
    }
  }

  /**
   * Asks the system later for a worker that is due and that it could not give. The
   * other workers go on; with none left the calls wait, but not for ever.
   *
   * @param error Says why.
   */
  #askLater(error: unknown): void {
    let others = 0;
    for (const { left } of this.#scheduler.workers) if (left > 0) others++;
    if (others === 0 && !this.#works) return this.#break(error);
    const pause = this.#refusals.add();
    if (others === 0 && this.#refusals.areTooMany) {
      this.#refusals.ask(); // for the next call at once
      for (const call of this.#scheduler.clear()) {
        this.#settle(call, { ok: false, error });
      }
      return;
    }
    const { count } = this.#refusals;
    later(pause, () => {
      if (this.#refusals.count !== count) return; // it was asked since
      this.#refusals.ask(); // by the clock it may be a little too early
      this.#spawnDue(Infinity);
      this.#scheduler.dispatch();
    });
  }

  /**
   * Whether one may still come where one ended before it was ready: nothing of the
   * user's runs before that, and others have come.
   */
  #mayComeYet(): boolean {
    if (this.#options.initializer !== undefined) return false;
    if (this.#works) return true;
    for (const { channel } of this.#scheduler.workers) {
      if (channel.ready) return true;
    }
    return false;
  }

  /** The worker ended by itself. */
  async #onExit(worker: Worker, code: number, cause: unknown): Promise<void> {
    worker.left = -Infinity; // it takes no more, and begins none
    this.#takeBack(worker);
    this.#scheduler.dispatch();
    await worker.channel.settled();
    if (!this.#scheduler.workers.has(worker)) return;
    const { ready } = worker.channel;
    const isIdle = worker.channel.begun() === undefined;
    const useless = this.#uselessAfter(worker);
    const endedEarly = () =>
      exitError(
        `Cannot start worker "${worker.name}" as it ended with exit code ` +
          `${code} before it was ${ready ? "of use" : "ready"}` +
          (cause instanceof Error ? `: ${cause.message}` : ""),
        code,
        cause,
      );
    const isRefused = isIdle && !ready;
    const isHopeless = isRefused ? !this.#mayComeYet() : useless > MAX_USELESS;
    // Another one would fare no better.
    if (isIdle && isHopeless) return this.#break(endedEarly());
    this.#scheduler.remove(worker);
    this.#takeBack(worker);
    // What is left had begun, or its buffers went down with the worker.
    const lost = worker.channel.abandon();
    if (isRefused && !worker.replaced) {
      this.#due++;
      this.#askLater(endedEarly());
    } else this.#replaceDead(worker, useless);
    for (const call of lost) {
      const error = exitError(
        `Cannot finish ${nameOf(call.request.fn)} as its worker ` +
          `"${worker.name}" ended with exit code ${code}`,
        code,
        cause,
      );
      this.#settle(call, { ok: false, error });
    }
    this.#scheduler.dispatch();
  }

  /** Stops a worker that runs a call which nobody waits for any more. */
  #stop(worker: Worker, call: Call): void {
    worker.stopping = call;
    const { deadline = Infinity } = call.request;
    if (stopsBusyThreads || now() < deadline - NEAR_DEADLINE_MS) {
      return this.#endStuck(worker, call);
    }
    // The watchdog in the worker ends it about now, unless it is past an
    // `await`. What has just been claimed gets a moment to come under watch.
    const { channel } = worker;
    const after = (milliseconds: number, then: () => void) =>
      later(milliseconds, () => {
        if (this.#scheduler.workers.has(worker) && channel.begun() === call) {
          then();
        }
      });
    after(CLAIM_GRACE_MS, () => {
      if (!channel.guarded) this.#endStuck(worker, call);
      else after(WATCHDOG_GRACE_MS, () => this.#endStuck(worker, call));
    });
  }

  /** Ends a worker that runs a call, unless it has gone on to another. */
  #endStuck(worker: Worker, call: Call, waits = MAX_WAITS): void {
    if (!this.#scheduler.workers.has(worker)) return;
    const { channel } = worker;
    this.#takeBack(worker);
    // It can claim no more, as it is sent nothing, so after what it has answered
    // was read, only what it runs is left.
    channel.drain();
    if (this.#scheduler.workers.has(worker) && channel.begun() === call) {
      if (channel.inFlight > 1 && waits > 0) {
        // Messages with others' answers are on their way.
        void channel.settled().then(() =>
          this.#endStuck(worker, call, waits - 1)
        );
      } else {
        this.#end(worker);
        this.#replaceSoon(worker);
      }
    }
    this.#scheduler.dispatch();
  }

  /** Ends a worker in which a task has broken something. */
  #discard(worker: Worker, cause: unknown): void {
    if (!this.#scheduler.workers.has(worker)) return;
    this.#takeBack(worker);
    this.#end(worker, cause);
    this.#replaceDead(worker);
    this.#scheduler.dispatch();
  }

  /** Ends a worker; the calls that it has begun end with it. */
  #end(worker: Worker, cause?: unknown): void {
    this.#scheduler.remove(worker);
    this.#stopThread(worker);
    this.#abandon(worker, cause);
  }

  #stopThread({ child, channel }: Worker): void {
    if (child.over) return;
    this.#ending.set(child, channel.begun() !== undefined);
    child.terminate();
  }

  /** Fails the calls of a worker that has been ended. */
  #abandon(worker: Worker, cause?: unknown): void {
    for (const call of worker.channel.abandon()) {
      const error = this.#failure?.error ?? stoppedError(call, worker, cause);
      this.#settle(call, { ok: false, error });
    }
  }

  /** Takes back what a worker has not begun, to be sent again. */
  #takeBack(worker: Worker): void {
    this.#scheduler.requeue(this.#scheduler.takeBack(worker));
  }

  /** Every call fails, now and later, and all workers end. */
  #break(error: unknown): void {
    this.#failure ??= { error };
    const calls = [...this.#scheduler.clear(), ...this.#reviving];
    this.#reviving.clear();
    for (const { channel } of this.#scheduler.workers) {
      calls.push(...channel.abandon());
    }
    for (const call of calls) this.#settle(call, { ok: false, error });
    this.#endWorkers();
  }
}

function stoppedError(
  call: Call,
  worker: Worker,
  cause?: unknown,
): WorkerExitError {
  return exitError(
    `Cannot finish ${nameOf(call.request.fn)} as its worker ` +
      `"${worker.name}" was stopped` +
      (cause === undefined
        ? ""
        : `: a task in it has changed what the worker relies on, or its ` +
          `memory (${(cause as Error).message})`),
    -15,
    cause,
  );
}

function exitError(
  message: string,
  code: number,
  cause: unknown,
): WorkerExitError {
  return new WorkerExitError(
    message,
    code,
    cause === undefined ? {} : { cause },
  );
}
