/**
 * The only sleeper: everything that waits for shared memory to change waits
 * here, but for a thread that is to stay where it is and is never woken
 * (`stay()` of runtime.ts). ARCHITECTURE.md has the argument why no wake-up is
 * lost.
 *
 * The rule for whoever uses it: change the word first, then ring. The rule
 * here: read the word, then ask `poll`, then sleep on the word that was read.
 * A change between the two makes the sleep return at once.
 *
 * @module
 */

import {
  canShareMemory,
  cores,
  hold,
  leaveThread,
  mayBlock,
  nextTurn,
  pause,
  release,
  startTimer,
  stay,
  stopsBusyThreads,
  timers,
} from "./runtime.ts";
import { afterwards } from "./promises.ts";
import { realm } from "./realm.ts";

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
/** Half of the credit comes back at the next multiple of this. */
const PERIOD_MS = 500;
/** What a hit at once pays back: about what a call takes. */
const REFUND_MS = 0.002;
/** A spin holds the thread for this long, then the event loop has a turn. */
const HOLD_MS = 0.08;
/** What a sleep costs where a core must be woken. */
const WAKE_MS = 0.05;
/** A wait that ended within this was worth a spin. */
const SHORT_MS = 0.15;
/** Polls between two looks at the clock. */
const POLLS_PER_LOOK = 64;
/** About what they take. */
const LOOK_MS = 0.003;
/** From these odds on a spin is worth a try. */
const GOOD_ODDS = 0.7;
/** Without a turn of the event loop, hits may follow each other for this long. */
const BURST_MS = 4;
/** How many microtasks a continuation may take before the spin begins. */
const HOPS = 8;
/** How often continuations may put a spin off. */
const MAX_DELAYS = 32;
/** Where a terminated thread sleeps on, it looks this often whether it was terminated. */
const SLICE_MS = 50;

/**
 * Whether a spin is likely to pay, and for how long. Hits and short sleeps make
 * a hit more likely, misses and long sleeps less.
 *
 * Two threads that take turns should stay on two cores. Once one sleeps, the
 * system may wake it on the core of the other, where each spin only keeps the
 * other from running, until it sees at ticks of its clock that two threads want
 * that core; that takes milliseconds. So a spin may be long, in the hope that
 * neither thread ever sleeps. What such spins may take in vain is bounded by a
 * credit, which hits pay back at about the rate of the work that is done. Without
 * credit a spin takes no longer than a sleep did lately: while other threads
 * want the cores, a sleep is short, as no core has to be woken, and a spin takes
 * time from them. On one core none pays, as the thread that is waited for cannot
 * run.
 */
class SpinJudge {
  readonly #most: number;
  /** The odds of a hit, as of late. */
  #odds = 0;
  /** Milliseconds that may still be spun in vain. */
  #credit: number;
  /** When credit was given or used up. */
  #period = 0;
  /** What a hit saves: milliseconds of a short sleep, as of late. */
  #saved = WAKE_MS;

  /** @param credit How many milliseconds may be spun in vain. */
  constructor(credit: number) {
    this.#most = credit;
    this.#credit = credit;
  }

  /**
   * Tells how long to spin.
   *
   * @param longest The longest spin.
   * @returns Milliseconds; `0` for not at all.
   */
  budget(longest: number): number {
    if (cores === 1 || this.#odds <= GOOD_ODDS) return 0;
    if (this.#credit === 0 && period() !== this.#period) {
      this.#credit = this.#most / 2;
      this.#period = period();
    }
    return Math.max(this.#saved, Math.min(this.#credit, longest));
  }

  /**
   * Learns from a spin.
   *
   * @param hit Whether what was waited for came.
   * @param took Milliseconds; `0` for a hit at once.
   */
  spun(hit: boolean, took: number): void {
    if (hit && took < WAKE_MS) {
      this.#credit = Math.min(this.#credit + REFUND_MS, this.#most);
    } else this.#spend(took);
    if (hit && took < SHORT_MS) this.#odds += (1 - this.#odds) / 16;
    else if (this.#credit === 0) this.#odds *= 3 / 4;
  }

  #spend(milliseconds: number): void {
    if (this.#credit === 0) return;
    this.#credit = Math.max(0, this.#credit - milliseconds);
    if (this.#credit === 0) this.#period = period();
  }

  /**
   * Learns from a sleep that no spin came before.
   *
   * @param took Milliseconds.
   */
  slept(took: number): void {
    const short = took < SHORT_MS;
    this.#odds += ((short ? 1 : 0) - this.#odds) / 16;
    if (short) this.#saved += (Math.min(took, WAKE_MS) - this.#saved) / 16;
  }
}

/**
 * How long this thread has run microtasks without a turn of its event loop.
 * A spin that hits lets its caller go on in a microtask, and a chain of those
 * would starve timers and messages; after {@linkcode BURST_MS} the next one
 * waits until the loop has had its turn.
 */
const burst = {
  began: 0,
  marker: undefined as Int32Array | undefined,
  running: false,
  /** Whether the loop is owed a turn. */
  get overdue(): boolean {
    if (this.running) return now() - this.began > BURST_MS;
    this.running = true;
    this.began = now();
    // Settles in a later turn, without a timer or handle that could outlive us.
    this.marker ??= new Int32Array(new SharedArrayBuffer(4));
    const turn = waitAsync(this.marker, 0, 0);
    if (turn.async) afterwards(turn.value, () => this.running = false);
    notify(this.marker, 0);
    return false;
  },
  /** Gives the loop its turn, and goes on after it. */
  yieldTo(next: () => void): void {
    nextTurn(() => {
      this.running = false;
      next();
    });
  },
};

/**
 * Tells whether the event loop of this thread is owed a turn: who goes on in
 * microtasks for long asks now and then.
 *
 * @returns Whether it is.
 */
export function isTurnOverdue(): boolean {
  return burst.overdue;
}

/** Begins at the same moment in all threads: of two that take turns both must spin. */
function period(): number {
  return Math.floor(Date.now() / PERIOD_MS);
}

/** How long the last {@linkcode spin} took; `0` for a hit at once. */
let took = 0;

/** Polls for some time without a pause. */
function spin<T>(
  poll: () => T | undefined,
  milliseconds: number,
): T | undefined {
  let began: number | undefined;
  do {
    for (let i = 0; i < POLLS_PER_LOOK; i++) {
      const value = poll();
      if (value !== undefined) {
        took = began === undefined ? 0 : now() - began;
        return value;
      }
      pause();
    }
    const time = now();
    began ??= time - LOOK_MS;
    took = time - began;
  } while (took < milliseconds);
  return undefined;
}

/** For whom a {@linkcode Spin} is. */
interface Spinner {
  /** The longest spin, in milliseconds; asked again after each piece. */
  longest(): number;
  /** Does what can be done; tells whether there was anything. */
  look(): boolean;
  /** Whether there may be more to come. */
  wanted(): boolean;
  /** Is told whether the spin hit; called in the end if there may be more. */
  spun(hit: boolean): void;
  /** Called in the end if not. */
  done(): void;
}

/**
 * Spins without holding the thread for long: between one piece and the next the
 * event loop has a turn.
 *
 * It begins some microtasks after it was asked for, so that the continuations of
 * what came before run first, and later still while they keep calling
 * {@linkcode Spin.putOff}.
 */
class Spin {
  readonly judge: SpinJudge;
  readonly #spinner: Spinner;
  readonly #hops: number;
  #budget = 0;
  #spent = 0;
  #left = 0;
  #delays = 0;

  /**
   * @param spinner For whom it is.
   * @param credit How many milliseconds may be spun in vain.
   * @param hops How many microtasks it leaves to others.
   */
  constructor(spinner: Spinner, credit: number, hops: number) {
    this.#spinner = spinner;
    this.judge = new SpinJudge(credit);
    this.#hops = hops;
  }

  /** How many milliseconds a spin may take; `0` for none. */
  get budget(): number {
    return this.judge.budget(this.#spinner.longest());
  }

  /**
   * Begins.
   *
   * @param budget Milliseconds in all.
   */
  begin(budget: number): void {
    this.#budget = budget;
    this.#spent = 0;
    this.#left = this.#hops;
    this.#delays = MAX_DELAYS;
    if (burst.overdue) burst.yieldTo(this.#piece);
    else this.#hop();
  }

  /** Continuations are at work. */
  putOff(): void {
    if (this.#delays === 0) return;
    this.#delays--;
    this.#left = this.#hops;
  }

  readonly #hop = (): void => {
    if (this.#left-- > 0) queueMicrotask(this.#hop);
    else this.#piece();
  };

  readonly #piece = (): void => {
    const spinner = this.#spinner;
    if (!spinner.wanted()) return spinner.done();
    const longest = Math.min(this.#budget - this.#spent, HOLD_MS);
    const hit = spin(() => spinner.look() || undefined, longest) === true;
    this.#spent += took;
    if (!hit && this.#spent < Math.min(this.#budget, spinner.longest())) {
      return burst.yieldTo(this.#piece);
    }
    this.judge.spun(hit, this.#spent);
    spinner.spun(hit);
  };
}

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

/** What was put off till the event loop has its turn. */
const postponed = new Set<() => void>();

/**
 * Calls back in a later turn of the event loop, or before this thread blocks in a
 * wait, as what it waits for may need what was put off.
 *
 * @param callback Called once.
 */
export function soon(callback: () => void): void {
  const once = () => {
    if (postponed.delete(once)) callback();
  };
  postponed.add(once);
  nextTurn(once);
}

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
      const { timeout, signal, onEnd } = options;
      let stopTimer: (() => void) | undefined;
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
          stopTimer?.();
          signal?.removeEventListener("abort", end);
          resolve(value as T | undefined);
          release();
        },
      };
      if (timeout !== Infinity) stopTimer = startTimer(end, timeout);
      signal?.addEventListener("abort", end, { once: true });
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
    if (postponed.size > 0) {
      for (const callback of postponed) callback();
    }
    const budget = this.#syncJudge.budget(BRIEF_MS);
    if (budget > 0) {
      value = spin(poll, budget);
      this.#syncJudge.spun(value !== undefined, took);
      if (value !== undefined) return value;
    }
    const slice = stopsBusyThreads || realm.lives.length === 0
      ? Infinity
      : SLICE_MS;
    // On some runtimes the clock costs a tenth of a wake-up on one core.
    const judging = budget === 0 && cores > 1;
    const began = judging || timeout !== Infinity ? now() : 0;
    for (;;) {
      const seen = load(this.#cells, this.#index);
      value = poll();
      if (value !== undefined) break;
      const left = timeout === Infinity ? Infinity : timeout - (now() - began);
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
}

/**
 * Does work that other threads announce, over and over: looks, spins if that
 * has paid lately, then sleeps, and never blocks. It holds nothing open.
 *
 * It announces its sleep before it looks for the last time, and who brings work
 * changes the word before looking for the announcement. So whichever comes
 * second sees what the other did, and a call that finds the consumer awake need
 * not pay for waking it. See {@linkcode announce}.
 */
export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #spin: Spin;
  #running = false;
  #asleep = false;
  /** Whether it will be woken although there is no work. */
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
    const { budget } = this.#spin;
    if (!this.#options.wanted()) this.#running = false;
    else if (budget === 0) this.#sleep(false);
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

  #sleep(spun: boolean): void {
    const { cells, word, asleep, work, wanted, rest } = this.#options;
    for (;;) {
      Atomics.store(cells, asleep, 1);
      const seen = load(cells, word);
      this.#seen = seen;
      if (work()) {
        Atomics.store(cells, asleep, 0);
        if (!wanted()) this.#running = false;
        else if (burst.overdue) burst.yieldTo(() => this.#watch());
        else queueMicrotask(() => this.#watch());
        return;
      }
      const longest = rest?.() ?? Infinity;
      if (!(longest === Infinity ? this.#armed : this.#armedForATime)) {
        const wake = waitAsync(cells, word, seen, longest);
        if (!wake.async) continue;
        this.#arm(longest, wake.value);
      }
      this.#began = now();
      this.#spun = spun;
      this.#asleep = true;
      return;
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
 * Calls back after a time, unless the program ends before: holds nothing, and
 * is no timer to those who look for timers that were left.
 *
 * @param milliseconds The time.
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
