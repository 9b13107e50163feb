/**
 * Which workers a pool has: their start, their end, and who comes after them.
 *
 * It knows nothing of what is asked: of a call only that it ended with its worker.
 *
 * @module
 */

import type { Call, Outcome } from "./call.ts";
import { type CallableWire, nameOf } from "./callable.ts";
import type { Channel, ChannelEvents } from "./channel.ts";
import { Child } from "./child.ts";
import { isCloneError, type ValueWire } from "./codec.ts";
import { WorkerExitError } from "./errors.ts";
import { noHeadway } from "./headway.ts";
import { Latch } from "./latch.ts";
import { Refusals } from "./refusals.ts";
import { nextTurn, now } from "./runtime/loop.ts";
import { stopsBusyThreads } from "./runtime/which.ts";
import type { Schedulable, Scheduler } from "./scheduler.ts";
import { later } from "./wait.ts";

/** What a crew is made with. */
export interface CrewOptions {
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

/** Who is told what comes of the workers, and of calls with them. */
export interface CrewEvents {
  /** As of {@linkcode ChannelEvents}. */
  onAnswer(
    worker: Worker,
    call: Call,
    outcome: Outcome | Promise<Outcome>,
  ): void;
  /** As of {@linkcode ChannelEvents}. */
  onHeard(): void;
  /** A call has ended with its worker, or there is no worker for it. */
  onLost(call: Call, error: unknown): void;
  /** There will be no worker any more, for any call. */
  onHopeless(error: unknown): void;
}

/**
 * For so long a pool's first worker starts alone, unless there are calls for others:
 * starts at the same time share the cores, and the first call would begin later.
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
 * At most so many workers that have a successor may be kept for messages with their
 * answers, which this thread hears only when it blocks no more.
 */
const MAX_UNHEARD = 64;

/** So often answers to earlier calls are waited for before a worker is stopped. */
const MAX_WAITS = 50;

/** A worker. */
export interface Worker extends Schedulable {
  readonly name: string;
  readonly child: Child;
  /**
   * How many predecessors in a row ended before they answered anything; `-1` once
   * it has answered itself.
   */
  useless: number;
  /** Its successor is there: it takes no more calls, and ends once it has none. */
  replaced: boolean;
  /** How many refusals there had been, in all, when it was made. */
  readonly refusals: number;
}

/** The workers of a pool; those that may be sent calls are the scheduler's. */
export class Crew {
  readonly #options: CrewOptions;
  readonly #scheduler: Scheduler<Worker>;
  readonly #newChannel: (events: ChannelEvents) => Channel;
  readonly #events: CrewEvents;
  /** Threads that are to end, and whether they had a call to run: some may run on. */
  readonly #ending = new Map<Child, boolean>();
  readonly #gone = new Latch<void>();
  /** `closed`: none is made but for calls that there are; `over`: none at all. */
  #state: "open" | "closed" | "over" = "open";
  /** Number of the next worker. */
  #number = 1;
  /** Workers that are to be made soon, or once there are calls for them. */
  #due = 0;
  /** Whether any worker has ever been ready. */
  #works = false;
  readonly #refusals = new Refusals();
  #respawned = 0;
  #abandoned = 0;

  /**
   * @param options What workers to have.
   * @param scheduler Gives them calls.
   * @param newChannel Makes the pool's end of the way to one.
   * @param events Who is told.
   */
  constructor(
    options: CrewOptions,
    scheduler: Scheduler<Worker>,
    newChannel: (events: ChannelEvents) => Channel,
    events: CrewEvents,
  ) {
    this.#options = options;
    this.#scheduler = scheduler;
    this.#newChannel = newChannel;
    this.#events = events;
  }

  /** Workers that were replaced, as they died or had to be stopped. */
  get respawned(): number {
    return this.#respawned;
  }

  /** Threads that were to end, had a call, and are not known to have ended. */
  get abandoned(): number {
    let abandoned = this.#abandoned;
    for (const [child, wasBusy] of this.#ending) {
      if (wasBusy && child.lingers) abandoned++;
    }
    return abandoned;
  }

  /**
   * Makes the first workers, and sees to it that the others come.
   *
   * @throws What the system says if it has none to give.
   */
  start(): void {
    const { initializer, processes } = this.#options;
    // Only an initializer can tell whether its worker is there.
    const first = initializer ? processes : 1;
    for (let i = 0; i < first; i++) this.#spawn();
    this.#due = processes - first;
    if (this.#due > 0) later(ALONE_MS, this.#spawnRest);
  }

  /**
   * Makes workers that are due if there are calls for them.
   *
   * @param most No more than so many are made.
   * @returns Whether any was.
   */
  spawnNeeded(most = Infinity): boolean {
    return this.#spawnDue(Math.min(most, this.#needed())) > 0;
  }

  /** From now on workers are made only for calls that there are. */
  close(): void {
    if (this.#state === "open") this.#state = "closed";
  }

  /**
   * Ends all workers, for ever.
   *
   * @returns The calls that they had.
   */
  end(): Call[] {
    this.#state = "over";
    const workers = [...this.#scheduler.workers];
    const calls = workers.flatMap(({ channel }) => channel.abandon());
    for (const worker of workers) this.#end(worker);
    this.#openIfGone();
    return calls;
  }

  /** Resolves when it was ended and all threads are gone. */
  async join(): Promise<void> {
    await this.#gone.wait({ timeout: Infinity });
  }

  /**
   * Notes that a worker has answered, and ends it if it takes no more calls.
   *
   * @param worker The worker.
   * @param call The call.
   */
  answered(worker: Worker, call: Call): void {
    if (worker.stopping === call) worker.stopping = undefined; // it went on
    if (worker.useless >= 0) {
      worker.useless = -1;
      this.#works = true;
      this.#refusals.clear();
    }
    if (worker.channel.inFlight > 0) return;
    if (worker.replaced) this.endReplaced(worker);
    else if (worker.left === 0) {
      this.#end(worker);
      this.#spawnSuccessor();
    }
  }

  /**
   * Stops a worker that runs a call which nobody waits for any more.
   *
   * @param worker The worker.
   * @param call The call.
   */
  stop(worker: Worker, call: Call): void {
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

  /**
   * Ends a worker that has a successor, and no more calls.
   *
   * @param worker The worker, if it has a successor.
   */
  endReplaced(worker: Worker): void {
    if (!worker.replaced || !this.#scheduler.workers.has(worker)) return;
    if (!worker.channel.ending) this.#end(worker); // else it ends by itself
  }

  /**
   * Fails the calls of a worker that has been ended.
   *
   * @param worker The worker.
   * @param cause Why, if a task is to blame.
   */
  abandon(worker: Worker, cause?: unknown): void {
    for (const call of worker.channel.abandon()) {
      this.#events.onLost(call, stoppedError(call, worker, cause));
    }
  }

  /**
   * Takes back calls from workers of whose end this thread, which blocks, does not
   * hear, and from those at a call whose time is up: it has no timers either.
   */
  recallWhileBlocking(): void {
    this.#seeEnds();
    this.#seeOverdue();
  }

  /**
   * Makes the successor of a worker that takes no more calls, before it has ended,
   * for the calls that wait: this thread blocks, and does not see that end.
   *
   * @returns Whether it made one.
   */
  replaceEarly(): boolean {
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

  /** @param useless As of {@linkcode Worker.useless}. */
  #spawn(useless = 0): void {
    const { initializer, name, permissions, maxTasksPerChild, workerUrl } =
      this.#options;
    const channel = this.#newChannel({
      onAnswer: (call, outcome) => this.#events.onAnswer(worker, call, outcome),
      onHeard: () => this.#events.onHeard(),
      onReady: () => this.#scheduler.dispatch(),
      onBroken: (error) => this.#events.onHopeless(error),
      onSpoilt: (error) => this.#discard(worker, error),
    });
    const workerName = `${name}-${this.#number++}`;
    const child = new Child({
      name: workerName,
      job: { kind: "server", initializer, lane: channel.memory },
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
      refusals: this.#refusals.count,
    };
    child.unref();
    channel.open(child.port);
    this.#scheduler.add(worker);
  }

  /** Makes a worker in the place of one that died, if none is there. */
  #replaceDead({ replaced }: Worker, useless = 0): void {
    if (this.#state === "over") return;
    this.#respawned++;
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
    if (this.#state !== "open") return;
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

  #seeEnds(): void {
    for (const worker of this.#scheduler.workers) {
      if (worker.channel.ending) this.#takeBack(worker);
    }
  }

  /** Also marks them to be stopped, as their timers would, which have to wait. */
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

  /** Makes a worker in the place of another. */
  #spawnSuccessor(useless = 0): void {
    this.#due++; // first, as the stack may be at its end
    this.#makeDue(useless);
  }

  /** Makes a worker that is due; tells whether it could. */
  #makeDue(useless = 0): boolean {
    if (this.#state === "over") return false;
    try {
      this.#spawn(useless);
      this.#due--;
      return true;
    } catch (error) {
      // One that cannot be told what to do never can.
      if (isCloneError(error)) this.#events.onHopeless(error);
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
    let mayWork = false;
    for (const worker of this.#scheduler.workers) {
      if (worker.left > 0) others++;
      // One that is still to come may have its last calls already.
      if (worker.left > -Infinity && !worker.channel.ending) mayWork = true;
      this.#noteReady(worker); // nobody hears of its answer while this thread blocks
    }
    if (!mayWork && !this.#works) return this.#events.onHopeless(error);
    // Of many that are due at once each is refused, which counts as one refusal: all
    // are asked for after the pause.
    if (this.#refusals.isPausing) return;
    const pause = this.#refusals.add();
    if (others === 0 && this.#refusals.areTooMany) {
      this.#refusals.ask(); // for the next call at once
      for (const call of this.#scheduler.clear()) {
        this.#events.onLost(call, error);
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

  /** Notes if a worker has come: the system gives some, or does so again. */
  #noteReady({ channel, refusals }: Worker): void {
    if (!channel.ready) return;
    this.#works = true;
    if (refusals === this.#refusals.count) this.#refusals.clear();
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
  async #onExit(worker: Worker, code: number, reason: unknown): Promise<void> {
    worker.left = -Infinity; // it takes no more, and begins none
    this.#takeBack(worker);
    this.#scheduler.dispatch();
    await worker.channel.settled();
    if (!this.#scheduler.workers.has(worker)) return;
    this.#noteReady(worker);
    const { channel } = worker;
    const { ready, failure } = channel;
    const cause = failure ? failure.error : reason;
    const isIdle = channel.begun() === undefined;
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
    if (isIdle && isHopeless) return this.#events.onHopeless(endedEarly());
    this.#scheduler.remove(worker);
    this.#takeBack(worker);
    // What is left had begun, or its buffers went down with the worker.
    const lost = channel.abandon();
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
      this.#events.onLost(call, error);
    }
    this.#scheduler.dispatch();
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
    this.#noteReady(worker);
    this.#scheduler.remove(worker);
    this.#stopThread(worker);
    this.abandon(worker, cause);
  }

  #stopThread({ child, channel }: Worker): void {
    if (child.over) return;
    this.#ending.set(child, channel.begun() !== undefined);
    child.terminate();
  }

  /** Takes back what a worker has not begun, to be sent again. */
  #takeBack(worker: Worker): void {
    this.#scheduler.requeue(this.#scheduler.takeBack(worker));
  }

  #openIfGone(): void {
    if (this.#state === "over" && this.#ending.size === 0) this.#gone.open();
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
