/**
 * The calls that a pool's workers are given, from their submission to their end.
 *
 * Which workers there are is the crew's business, and which of them a call is given
 * to the scheduler's.
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
import { type AnyFunction, describeToRun } from "./callable.ts";
import { hasShared } from "./codec.ts";
import { Consumer } from "./consumer.ts";
import { Crew, type CrewOptions, type Worker } from "./crew.ts";
import { Definitions } from "./definitions.ts";
import { newGroup } from "./group.ts";
import { Latch } from "./latch.ts";
import { PlainChannel } from "./plain_channel.ts";
import { BELL_CELLS, BellCell } from "./protocol.ts";
import { realm } from "./realm.ts";
import { microtask, nextTurn } from "./runtime/loop.ts";
import { canShareMemory } from "./runtime/which.ts";
import { Scheduler } from "./scheduler.ts";
import {
  type LaneSizes,
  type SharedByWorkers,
  SharedChannel,
} from "./shared_channel.ts";

/**
 * How calls travel; only tests change it. Answers that take no more room than
 * their calls always find some in a ring that is twice as large, so a worker
 * seldom has to wait for a thread that has yet to read them.
 */
export const travel: { lane: "shared" | "plain"; sizes: LaneSizes } = {
  lane: canShareMemory ? "shared" : "plain",
  sizes: { calls: 1 << 16, answers: 1 << 17, definitions: 1 << 16 },
};

/** Microtasks between an answer and the spin, for whoever awaited the answer. */
const HOPS = 12;

/** The executor of a process pool. */
export class Dispatcher implements Executor {
  readonly #scheduler: Scheduler<Worker>;
  readonly #shared: SharedByWorkers | undefined;
  readonly #consumer: Consumer | undefined;
  readonly #crew: Crew;
  /** Calls whose answers are here, but modules that these need are not. */
  readonly #reviving = new Set<Call>();
  /** Whether calls are to be sent in the next turn, as some were given up. */
  #refilling = false;
  /** This thread may wait for what a call does, so all that can begin has to. */
  readonly #whileBlocking = (again: boolean): number => {
    if (this.#scheduler.maySend) this.#crew.recallWhileBlocking();
    const pause = this.#scheduler.attend(again);
    // One at a time, as a start takes longer than whoever blocks may want to wait.
    const isMade = this.#crew.spawnNeeded(1) ||
      this.#crew.replaceEarly();
    return isMade ? 0 : pause;
  };
  /** Number of the last group. */
  #group = 0;
  #failure: { error: unknown } | undefined;
  #isClosed = false;
  /** Opens when it was terminated, or was closed and no call is left. */
  readonly #over = new Latch<void>();
  #completed = 0;
  #failed = 0;

  /** @param options What workers to have. */
  constructor(options: CrewOptions) {
    const { lane, sizes } = travel;
    const bell = lane === "shared"
      ? new Int32Array(new SharedArrayBuffer(BELL_CELLS * 4))
      : undefined;
    this.#scheduler = new Scheduler({
      onUnsent: (call, outcome) => this.#tell(call, outcome),
      onDropped: (call) => this.#finish(call),
      onLost: (worker) => this.#crew.abandon(worker),
      onEmptied: (worker) => this.#crew.endReplaced(worker),
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
    this.#crew = new Crew(
      options,
      this.#scheduler,
      (events) =>
        this.#shared
          ? new SharedChannel(events, this.#shared, travel.sizes)
          : new PlainChannel(events),
      {
        onAnswer: (worker, call, outcome) =>
          this.#onAnswer(worker, call, outcome),
        onHeard: () => {
          this.#scheduler.drain();
          this.#consumer?.rouse();
        },
        onLost: (call, error) =>
          this.#settle(call, {
            ok: false,
            error: this.#failure?.error ?? error,
          }),
        onHopeless: (error) => this.#break(error),
      },
    );
    try {
      this.#crew.start();
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
    // In this order, as the stack may be at its end: who reads answers is there before
    // a call is, and what is in the queue counts.
    this.#consumer?.start();
    if (this.#isIdle) realm.whileBlocking.add(this.#whileBlocking);
    this.#scheduler.push(call);
    call.keep();
    this.#crew.spawnNeeded(); // this thread may block until it was run
    this.#scheduler.send();
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
      if (worker.channel.begun() === call) this.#crew.stop(worker, call);
    }
    if (this.#refilling) return;
    // Of thousands that are given up in one turn, each would have them all taken
    // back and sent again.
    nextTurn(() => {
      this.#refilling = false;
      scheduler.dispatch();
    });
    this.#refilling = true; // not before, as the stack may be at its end
    scheduler.dispatch();
  }

  close(): void {
    this.#isClosed = true;
    this.#crew.close();
    this.#endIfDone();
  }

  terminate(error: unknown): void {
    this.#break(error);
    this.#over.open();
  }

  async join(): Promise<void> {
    await this.#over.wait({ timeout: Infinity });
    await this.#crew.join();
  }

  stats(): ExecutorStats {
    let busy = 0;
    let { queued } = this.#scheduler;
    for (const { channel } of this.#scheduler.workers) {
      if (channel.begun() !== undefined) busy++;
      queued += channel.waiting;
    }
    return {
      busy,
      queued,
      completed: this.#completed,
      failed: this.#failed,
      respawned: this.#crew.respawned,
      abandoned: this.#crew.abandoned,
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
    scheduler.answered(worker);
    this.#crew.answered(worker, call);
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
    call.letGo(); // first, as the stack may be at its end
    if (!call.settled) {
      if (outcome.ok) this.#completed++;
      else if (!outcome.dropped) this.#failed++;
    }
    call.settle(outcome);
  }

  #finish(call: Call): void {
    call.letGo();
    call.forgetPayload();
    if (!this.#isIdle) return;
    realm.whileBlocking.delete(this.#whileBlocking);
    this.#endIfDone();
  }

  /**
   * Whether it has no call. Seen from where calls are, as a count of them would be
   * wrong for good once the stack ends between a call's end and its entry.
   */
  get #isIdle(): boolean {
    const { queued, isSending, workers } = this.#scheduler;
    // While one is sent, it is nowhere.
    if (queued > 0 || isSending || this.#reviving.size > 0) return false;
    for (const { channel } of workers) if (channel.inFlight > 0) return false;
    return true;
  }

  #endIfDone(): void {
    if (!this.#isClosed || !this.#isIdle) return;
    this.#crew.end();
    this.#consumer?.leave();
    this.#over.open();
  }

  /** Every call fails, now and later, and all workers end. */
  #break(error: unknown): void {
    this.#failure ??= { error };
    const calls = [
      ...this.#scheduler.clear(),
      ...this.#reviving,
      ...this.#crew.end(),
    ];
    this.#reviving.clear();
    for (const call of calls) this.#settle(call, { ok: false, error });
    this.#consumer?.leave();
  }
}
