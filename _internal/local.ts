/**
 * Runs calls in this thread, a few at a time.
 *
 * @module
 */

import {
  type Call,
  type Executor,
  type ExecutorStats,
  type Outcome,
  TOO_LATE,
} from "./call.ts";
import type { AnyFunction } from "./callable.ts";
import { CallQueue } from "./call_queue.ts";
import { Latch } from "./latch.ts";
import { realm } from "./realm.ts";
import { now } from "./runtime/loop.ts";
import { runCall } from "./run_call.ts";
import { afterTurn, isTurnOverdue } from "./turn.ts";

/** What runs once before all calls. */
export interface Initializer {
  /** The function. */
  fn: AnyFunction;
  /** Its arguments. */
  args: readonly unknown[];
}

/** The executor of a thread pool. */
export class LocalExecutor implements Executor {
  readonly #places: number;
  readonly #queue = new CallQueue();
  /** Begins a call that waits. */
  readonly #begins = new WeakMap<Call, () => void>();
  /** The number of the next call. */
  #number = 0;
  /** The calls that have a place, and whether each has begun. */
  readonly #running = new Map<Call, boolean>();
  /** Places that calls hold which were given up and still run. */
  #stuck = 0;
  readonly #gone = new Latch<void>();
  #failure: { error: unknown } | undefined;
  #ready: boolean;
  /** Whether the event loop has its turn before the next call begins. */
  #pausing = false;
  #closing = false;
  #completed = 0;
  #failed = 0;

  /**
   * @param places How many calls may run at once.
   * @param initializer What runs before the first.
   */
  constructor(places: number, initializer?: Initializer) {
    this.#places = places;
    this.#ready = initializer === undefined;
    if (initializer === undefined) return;
    Promise.resolve()
      .then(() => initializer.fn(...initializer.args))
      .catch((error) => {
        this.#failure = { error };
      }).then(() => {
        this.#ready = true;
        this.#next();
      });
  }

  /** What fails here is known before another call begins. */
  newGroup(): number {
    return 0;
  }

  check(): void {} // nothing is sent

  submit(call: Call): void {
    realm.localCalls++; // first, as a watchdog may strike at any line
    try {
      // A continuation runs in the context in which it was attached: so the call begins
      // in the `AsyncLocalStorage` of whoever submitted it, and not in that of the call
      // whose end makes room for it.
      const { promise, resolve } = Promise.withResolvers<void>();
      promise.then(() => this.#begin(call));
      this.#begins.set(call, resolve);
      call.number = this.#number++;
      this.#queue.push(call);
    } catch (error) { // the stack is at its end
      realm.localCalls--;
      throw error;
    }
    call.keep();
    this.#next();
  }

  giveUp(calls: ReadonlySet<Call>, stop: boolean): void {
    for (const call of this.#queue.remove(calls)) this.#ended(call);
    if (stop) this.#failed += calls.size;
    for (const call of calls) {
      const hasBegun = this.#running.get(call);
      if (hasBegun === undefined) continue;
      if (hasBegun && !stop) {
        call.letGo();
        continue;
      }
      this.#running.delete(call);
      if (hasBegun) this.#stuck++; // it cannot be stopped, and keeps its place
      this.#ended(call);
    }
  }

  close(): void {
    this.#closing = true;
    this.#openIfGone();
  }

  terminate(error: unknown): void {
    this.#closing = true;
    this.#failure ??= { error };
    for (const call of [...this.#running.keys(), ...this.#queue.clear()]) {
      if (this.#running.get(call)) this.#stuck++;
      this.#running.delete(call);
      this.#failed++;
      call.settle({ ok: false, error });
      this.#ended(call);
    }
    this.#gone.open();
  }

  async join(): Promise<void> {
    await this.#gone.wait({ timeout: Infinity });
  }

  stats(): ExecutorStats {
    return {
      busy: this.#running.size + this.#stuck,
      queued: this.#queue.length,
      completed: this.#completed,
      failed: this.#failed,
      respawned: 0,
      abandoned: 0,
    };
  }

  #next(): void {
    if (!this.#ready || this.#pausing) return;
    while (
      this.#queue.length > 0 &&
      this.#running.size + this.#stuck < this.#places
    ) {
      if (isTurnOverdue()) return this.#pause();
      const call = this.#queue.shift()!;
      if (this.#failure) {
        this.#failed++;
        call.settle({ ok: false, error: this.#failure.error });
        this.#ended(call);
        continue;
      }
      this.#running.set(call, false);
      // Later, as in a worker: never before submit() has returned.
      const begin = this.#begins.get(call)!;
      this.#begins.delete(call);
      begin();
    }
  }

  #begin(call: Call): void {
    if (!this.#running.has(call)) return this.#next(); // it was given up
    this.#running.set(call, true);
    const { kind, fn, payload } = call.request;
    const wanted = () => this.#running.has(call) && !isLate(call);
    const outcome = runCall(kind, fn, payload, wanted);
    if (outcome instanceof Promise) {
      outcome.then((outcome) => this.#answer(call, outcome));
    } else this.#answer(call, outcome);
  }

  /** Lets timers and messages have their turn: they may end what would come next. */
  #pause(): void {
    afterTurn(() => {
      this.#pausing = false;
      this.#next();
    });
    this.#pausing = true; // not before, as the stack may be at its end
  }

  #answer(call: Call, outcome: Outcome): void {
    if (this.#running.delete(call)) {
      if (isLate(call)) outcome = TOO_LATE;
      if (outcome.ok) this.#completed++;
      else this.#failed++;
      call.settle(outcome);
      this.#ended(call);
    } else {
      this.#stuck--; // given up before
    }
    this.#next();
  }

  #ended(call: Call): void {
    call.letGo();
    realm.localCalls--;
    this.#openIfGone();
  }

  #openIfGone(): void {
    if (this.#closing && this.#queue.length + this.#running.size === 0) {
      this.#gone.open();
    }
  }
}

/** Whether the time is up, which a timer cannot tell while this thread is busy. */
function isLate({ request: { deadline = Infinity } }: Call): boolean {
  return now() >= deadline;
}
