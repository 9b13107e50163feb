/**
 * The only sleeper: everything that waits for shared memory to change waits
 * here, but for a thread that is to stay where it is and is never woken
 * (`stay()` of this_thread.ts). ARCHITECTURE.md has the argument why no wake-up
 * is lost. Before a sleep it may pay to spin: see spin.ts.
 *
 * The rule for whoever uses it: change the word first, then ring. The rule
 * here: read the word, then ask `poll`, then sleep on the word that was read.
 * A change between the two makes the sleep return at once.
 *
 * @module
 */

import { hold, release, timers, whenOver } from "./runtime/loop.ts";
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
import { afterTurn, isTurnOverdue } from "./turn.ts";

// Taken once, so that a task that replaces the globals harms only itself.
const { load, notify, waitAsync } = Atomics;
const sleep = Atomics.wait;
const now: () => number = performance.now.bind(performance);

/** The longest spin of a wait, of which there may be more than cores. */
const BRIEF_MS = 0.05;
/** The longest spin of one that has a core to itself. */
const LONG_MS = 4;
/** How long brief and long spins may be in vain, in all. */
const BRIEF_CREDIT_MS = 6.4;
const LONG_CREDIT_MS = 16;
/** How long a nap lasts, and how much others must have to do for one. */
const NAP_MS = 1;
const NAPPING_MS = 4;
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

/**
 * What is to be done before this thread blocks in a wait, as what it waits for may
 * need it: nothing else of this thread goes on then.
 */
export const beforeBlocking: Set<() => void> = new Set();

/** One wait under way. */
interface Sleeper {
  poll: () => unknown;
  settle: (value: unknown) => void;
}

/** Options of {@linkcode Doorbell.wait}. */
export interface SleepOptions {
  /** Milliseconds, checked. */
  timeout: number;
  /** Ends the wait early. */
  signal?: AbortSignal | undefined;
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
    leaveIfTerminated();
    const due = timeout === Infinity ? Infinity : now() + timeout;
    if (beforeBlocking.size > 0) {
      for (const callback of beforeBlocking) callback();
    }
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
      sleep(this.#cells, this.#index, seen, Math.min(left, slice));
      leaveIfTerminated();
    }
    if (judging) this.#syncJudge.slept(now() - began);
    return value;
  }

  /** Sees to it that the sleepers are woken: spins if that pays, then sleeps. */
  #watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    const { budget } = this.#spin;
    if (budget === 0) this.#sleep(false);
    else this.#spin.begin(budget);
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
  else queueMicrotask(callback);
}

/** How a {@linkcode Consumer} looks for work. */
export interface ConsumerOptions {
  /** Shared memory. */
  cells: Int32Array;
  /** The word that changes whenever there is work. */
  word: number;
  /** The word that says whether the consumer is asleep: `1`, or `0`. */
  asleep: number;
  /** Microtasks to let pass before a spin. */
  hops?: number;
  /** Does all the work there is; tells whether there was any. */
  work: () => boolean;
  /** Whether there may be more to come. */
  wanted: () => boolean;
  /** Whether it has a core to itself, as far as anyone knows. */
  patient: () => boolean;
  /** Called before each sleep; returns how many milliseconds it may last. */
  rest?: () => number;
  /**
   * For how many milliseconds those who announce work have all cores busy without
   * it; `0` if a core may be spare.
   */
  backlog?: () => number;
}

/**
 * Does work that other threads announce, over and over: looks, spins if that
 * has paid lately, then sleeps, and never blocks. It holds nothing open.
 *
 * It announces its sleep before it looks for the last time, and who brings work
 * changes the word before looking for the announcement. So whichever comes
 * second sees what the other did, and a call that finds the consumer awake need
 * not pay for waking it. See {@linkcode announce}.
 *
 * While others want all cores it does not spin, which would take time from what
 * it waits for. If they have enough to do for long, it naps: it sleeps without
 * saying so, so that nobody spends time on waking it, and looks again by itself.
 */
export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #spin: Spin;
  #running = false;
  #asleep = false;
  /** Whether it will wake although nobody may have work for it. */
  #stirred = false;
  /** Since when it sleeps, and whether a spin came before. */
  #began = 0;
  #spun = false;
  /**
   * Whether the platform holds a place for us in its queue, or one for a time. It
   * cannot be given back without a ring: the next sleep has it, as whoever rings
   * wakes all who are there.
   */
  #armed = false;
  #armedForATime = false;
  #seen: number | undefined;

  /** @param options Where to look and what to do. */
  constructor(options: ConsumerOptions) {
    this.#options = options;
    this.#spin = new Spin(
      {
        longest: () => options.patient() ? LONG_MS : BRIEF_MS,
        look: () => this.#look(),
        wanted: options.wanted,
        spun: (hit) => hit ? this.#watch() : this.#sleep(true),
        done: () => this.#running = false,
      },
      LONG_CREDIT_MS,
      options.hops ?? 1,
    );
  }

  /** Sees to it that `rest` is called again, should it be asleep. */
  stir(): void {
    if (!this.#asleep || this.#stirred) return;
    this.#stirred = true;
    notify(this.#options.cells, this.#options.word);
  }

  /**
   * Gives its place in the platform's queue back, which would keep it and all that
   * it knows for ever; to be called when nothing more is wanted.
   */
  leave(): void {
    if (this.#armed) notify(this.#options.cells, this.#options.word);
  }

  /** Wakes it at once, as a message has told that there may be work. */
  rouse(): void {
    if (!this.#asleep) return; // it looks soon
    this.#asleep = this.#stirred = false;
    const { cells, asleep, work } = this.#options;
    Atomics.store(cells, asleep, 0);
    if (!this.#spun) this.#spin.judge.slept(now() - this.#began);
    work();
    this.#watch();
  }

  /** Goes on looking, if it does not already. */
  start(): void {
    this.#spin.putOff();
    if (this.#running) return;
    this.#running = true;
    // Not at once: who has just asked for something has its promise first.
    queueMicrotask(() => this.#watch());
  }

  #watch(): void {
    if (!this.#options.wanted()) {
      this.#running = false;
      return;
    }
    const backlog = this.#options.backlog?.() ?? 0;
    const { budget } = this.#spin;
    if (backlog >= NAPPING_MS) this.#nap();
    else if (backlog > 0 || budget === 0) this.#sleep(false);
    else this.#spin.begin(budget);
  }

  /** Has a place in the platform's queue until it is woken. */
  #arm(longest: number, wake: Promise<unknown>): void {
    const mark = (isArmed: boolean) => {
      if (longest === Infinity) this.#armed = isArmed;
      else this.#armedForATime = isArmed;
    };
    mark(true);
    afterwards(wake, () => {
      mark(false);
      this.rouse();
    });
  }

  /** Looks for work if the word has changed. */
  #look(): boolean {
    const { cells, word, work } = this.#options;
    const seen = load(cells, word);
    if (seen === this.#seen) return false;
    this.#seen = seen;
    return work();
  }

  /** Waits to be woken, unless the word has changed; tells whether it waits. */
  #lieDown(seen: number, longest: number, spun: boolean): boolean {
    const { cells, word } = this.#options;
    if (!(longest === Infinity ? this.#armed : this.#armedForATime)) {
      const wake = waitAsync(cells, word, seen, longest);
      if (!wake.async) return false;
      this.#arm(longest, wake.value);
    }
    this.#began = now();
    this.#spun = spun;
    return this.#asleep = true;
  }

  #nap(): void {
    const { cells, word } = this.#options;
    while (!this.#lieDown(load(cells, word), NAP_MS, true));
    this.#stirred = true; // it soon wakes by itself
  }

  #sleep(spun: boolean): void {
    const { cells, word, asleep, work, wanted, rest } = this.#options;
    for (;;) {
      Atomics.store(cells, asleep, 1);
      const seen = load(cells, word);
      this.#seen = seen;
      if (work()) {
        Atomics.store(cells, asleep, 0);
        if (!wanted()) this.#running = false;
        else if (isTurnOverdue()) afterTurn(() => this.#watch());
        else queueMicrotask(() => this.#watch());
        return;
      }
      if (this.#lieDown(seen, rest?.() ?? Infinity, spun)) return;
    }
  }
}

/**
 * Wakes a {@linkcode Consumer} if it is asleep; to be called after its word
 * was changed.
 *
 * @param cells Shared memory.
 * @param word The word that was changed.
 * @param asleep The word that says whether it is asleep.
 */
export function announce(
  cells: Int32Array,
  word: number,
  asleep: number,
): void {
  if (load(cells, asleep) === 1) notify(cells, word);
}

/**
 * Wakes a {@linkcode Consumer} even if it naps: who announces work cannot go on
 * before it has looked.
 *
 * @param cells Shared memory.
 * @param word The word that changes whenever there is work.
 */
export function interrupt(cells: Int32Array, word: number): void {
  notify(cells, word);
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
