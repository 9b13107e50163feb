/**
 * How a thread waits for shared memory to change, blocking or not. (Who does work
 * that others announce sleeps in consumer.ts.) ARCHITECTURE.md has the argument why
 * no wake-up is lost. Before a sleep it may pay to spin: see spin.ts.
 *
 * The rule for whoever uses it: change the word first, then ring. The rule
 * here: read the word, then ask `poll`, then sleep on the word that was read.
 * A change between the two makes the sleep return at once.
 *
 * @module
 */

import { type Limits, whenOver } from "./limits.ts";
import { hold, microtask, now, release, timers } from "./runtime/loop.ts";
import { leaveThread, stay } from "./runtime/this_thread.ts";
import {
  canShareMemory,
  cores,
  mayBlock,
  stopsBusyThreads,
} from "./runtime/which.ts";
import { afterwards } from "./promises.ts";
import { realm } from "./realm.ts";
import { Spin, SpinJudge } from "./spin.ts";

// Taken once, so that a task that replaces the globals harms only itself.
const { load, notify, waitAsync } = Atomics;
const sleep = Atomics.wait;

/** The longest spin of a wait, of which there may be more than cores. */
const BRIEF_MS = 0.05;
/** How long spins may be in vain, in all. */
const BRIEF_CREDIT_MS = 6.4;
/** How many microtasks a continuation may take before a spin begins. */
const HOPS = 8;
/** Where a terminated thread sleeps on, it looks this often whether it was terminated. */
const SLICE_MS = 50;

/**
 * Tells whether this thread's parent, or one further up, has terminated it.
 *
 * @returns Whether it has; the thread goes on where it could not be stopped.
 */
export function isTerminated(): boolean {
  for (const life of realm.lives) if (load(life, 0) !== 0) return true;
  return false;
}

let leaving = false;

/**
 * Ends this thread if its parent has terminated it but could not stop it.
 *
 * @throws {Error} Where the thread must get back to its event loop to end; when
 * that is caught and it comes here again, it sleeps for ever.
 */
export function leaveIfTerminated(): void {
  if (!isTerminated()) return;
  if (leaving) stay();
  leaving = true;
  leaveThread();
  throw new Error("Cannot go on as this process was terminated");
}

/**
 * Checks that this thread may block.
 *
 * @param action What the caller wants.
 * @throws {TypeError} If it may not.
 */
export function checkMayBlock(action: string): void {
  if (mayBlock) return;
  throw new TypeError(
    `Cannot ${action} with waitSync() as a page's main thread may not block: ` +
      `use wait(), or a worker`,
  );
}

/** One wait under way. */
interface Sleeper {
  poll: () => unknown;
  settle: (value: unknown) => void;
}

/** Options of {@linkcode Doorbell.wait}. */
export interface SleepOptions extends Limits {
  /** Called at the moment in which the time is up or the signal aborts. */
  onEnd?: () => void;
}

/**
 * Where threads sleep until a word of shared memory changes. All waits of a
 * thread on one doorbell share one `waitAsync`, as V8 cannot cancel one.
 */
export class Doorbell {
  readonly #cells: Int32Array;
  readonly #index: number;
  readonly #sleepers = new Set<Sleeper>();
  readonly #spin = new Spin(
    {
      longest: () => BRIEF_MS,
      // A change that ends a wait changes the word.
      look: () =>
        load(this.#cells, this.#index) !== this.#seen && this.#settleReady(),
      wanted: () => this.#sleepers.size > 0,
      spun: () => this.#sleep(true),
      done: () => this.#watching = false,
    },
    BRIEF_CREDIT_MS,
    HOPS,
  );
  readonly #syncJudge = new SpinJudge(BRIEF_CREDIT_MS);
  /** The word as it was when the sleepers were asked last. */
  #seen: number | undefined;
  /** Whether a spin or a `waitAsync` is on its way. */
  #watching = false;
  /** Whether the platform holds a place for us in its queue. */
  #armed = false;

  /**
   * @param cells Shared memory.
   * @param index The word to sleep on.
   */
  constructor(cells: Int32Array, index: number) {
    this.#cells = cells;
    this.#index = index;
  }

  /** Wakes everyone who sleeps here; to be called after the word was changed. */
  ring(): void {
    notify(this.#cells, this.#index);
  }

  /**
   * Sleeps until `poll` returns something, without blocking the thread.
   *
   * @param poll Looks at shared memory; returns `undefined` to sleep on.
   * @param options Timeout and signal.
   * @returns What `poll` returned, or `undefined` if the time ran out or the signal aborted.
   */
  wait<T>(
    poll: () => T | undefined,
    options: SleepOptions,
  ): Promise<T | undefined> {
    const value = poll();
    if (value !== undefined || options.timeout === 0) {
      return Promise.resolve(value);
    }
    return new Promise((resolve) => {
      const { onEnd } = options;
      const end = () => {
        const value = poll();
        if (value === undefined && this.#sleepers.has(sleeper)) onEnd?.();
        sleeper.settle(value);
        // Nobody is left: let the platform forget our place in its queue.
        if (this.#armed && this.#sleepers.size === 0) this.ring();
      };
      const sleeper: Sleeper = {
        poll,
        settle: (value) => {
          if (!this.#sleepers.delete(sleeper)) return;
          stop();
          resolve(value as T | undefined);
          release();
        },
      };
      const stop = whenOver(options, end);
      this.#sleepers.add(sleeper);
      hold();
      this.#watch();
    });
  }

  /**
   * Sleeps until `poll` returns something, and blocks the thread.
   *
   * @param poll Looks at shared memory; returns `undefined` to sleep on.
   * @param timeout Milliseconds, checked.
   * @returns What `poll` returned, or `undefined` if the time ran out.
   * @throws {TypeError} If this thread may not block.
   */
  waitSync<T>(poll: () => T | undefined, timeout: number): T | undefined {
    let value = poll();
    if (value !== undefined || timeout === 0) return value;
    const due = timeout === Infinity ? Infinity : now() + timeout;
    const attends = realm.whileBlocking.size > 0;
    let next = attends ? attend(false) : Infinity;
    const budget = this.#syncJudge.budget(BRIEF_MS);
    if (budget > 0) {
      value = this.#syncJudge.spin(poll, budget);
      if (value !== undefined) return value;
    }
    const slice = stopsBusyThreads || realm.lives.length === 0
      ? Infinity
      : SLICE_MS;
    // On some runtimes the clock costs a tenth of a wake-up on one core.
    const judging = budget === 0 && cores > 1;
    const began = judging ? now() : 0;
    for (;;) {
      const seen = load(this.#cells, this.#index);
      value = poll();
      if (value !== undefined) break;
      const left = due === Infinity ? Infinity : due - now();
      if (left <= 0) return undefined;
      const rest = attends ? Math.max(0, next - now()) : Infinity;
      sleep(this.#cells, this.#index, seen, Math.min(left, rest, slice));
      leaveIfTerminated();
      // By the clock: others may ring for what does not end this wait.
      if (!attends || now() < next) continue;
      next = attend(true);
    }
    if (judging) this.#syncJudge.slept(now() - began);
    return value;
  }

  /** Sees to it that the sleepers are woken: spins if that pays, then sleeps. */
  #watch(): void {
    if (this.#watching) return;
    const { budget } = this.#spin;
    if (budget === 0) return this.#sleep(false);
    this.#spin.begin(budget);
    this.#watching = true; // not before: a watchdog may strike at any line
  }

  #sleep(spun: boolean): void {
    for (;;) {
      const seen = load(this.#cells, this.#index);
      this.#settleReady();
      if (this.#sleepers.size === 0) {
        this.#watching = false;
        return;
      }
      const wake = waitAsync(this.#cells, this.#index, seen);
      if (!wake.async) continue;
      const began = now();
      this.#armed = true;
      afterwards(wake.value, () => {
        this.#armed = false;
        if (!spun) this.#spin.judge.slept(now() - began);
        this.#sleep(spun);
      });
      this.#watching = true; // as above
      return;
    }
  }

  /** Settles the sleepers whose wait is over; tells whether there were any. */
  #settleReady(): boolean {
    this.#seen = load(this.#cells, this.#index);
    let any = false;
    for (const sleeper of this.#sleepers) {
      const value = sleeper.poll();
      if (value === undefined) continue;
      any = true;
      sleeper.settle(value);
    }
    return any;
  }
}

/**
 * Sees to those who may need this thread, which blocks.
 *
 * @param again Whether it has done so since it blocks.
 * @returns When it is to be done again, by {@linkcode now}.
 */
function attend(again: boolean): number {
  let pause = Infinity;
  for (const see of realm.whileBlocking) pause = Math.min(pause, see(again));
  return now() + pause;
}

/**
 * Calls back once a word has changed; nothing is held meanwhile.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @param seen What it was.
 * @param callback Called once.
 */
export function onChange(
  cells: Int32Array,
  word: number,
  seen: number,
  callback: () => void,
): void {
  const wake = waitAsync(cells, word, seen);
  if (wake.async) afterwards(wake.value, callback);
  else microtask(callback);
}

/**
 * Calls back after a time, unless the program ends before: holds nothing, and
 * is no timer to those who look for timers that were left.
 *
 * @param milliseconds The time, more than `0`.
 * @param callback Called once.
 */
export function later(milliseconds: number, callback: () => void): void {
  if (!canShareMemory) {
    const timer = timers.setTimeout(callback, milliseconds) as unknown;
    (timer as { unref?(): void }).unref?.();
    return;
  }
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const end = waitAsync(cell, 0, 0, milliseconds);
  if (end.async) afterwards(end.value, callback);
}
