/**
 * Does work that other threads announce: the two ends of a pool's way, who look,
 * spin and sleep by turns and never block. ARCHITECTURE.md has the argument why
 * no work is overlooked.
 *
 * @module
 */

import { afterwards } from "./promises.ts";
import { microtask, now } from "./runtime/loop.ts";
import { Spin } from "./spin.ts";
import { afterTurn, isTurnOverdue } from "./turn.ts";

// Taken once, so that a task that replaces the globals harms only itself.
const { load, notify, store, waitAsync } = Atomics;

/** The longest spin of one who may have no core to itself, and of one who has. */
const BRIEF_MS = 0.05;
const LONG_MS = 4;
/** How long spins may be in vain, in all. */
const CREDIT_MS = 16;
/** How long a nap lasts, and how much others must have to do for one. */
const NAP_MS = 1;
const NAPPING_MS = 4;

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
  /** Since when it sleeps, if no spin came before. */
  #began: number | undefined;
  /**
   * Whether a `waitAsync` of ours is under way, without a timeout or with one. Only a
   * ring ends it early, so the next sleep goes on with it: whoever rings wakes all
   * who wait.
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
      CREDIT_MS,
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
   * Ends the `waitAsync` that is under way, if any: it would keep this object and all
   * that it knows for ever. To be called when nothing more is wanted.
   */
  leave(): void {
    if (this.#armed) notify(this.#options.cells, this.#options.word);
  }

  /** Wakes it at once, as a message has told that there may be work. */
  rouse(): void {
    if (!this.#asleep) return; // it looks soon
    this.#asleep = this.#stirred = false;
    const { cells, asleep, work } = this.#options;
    store(cells, asleep, 0);
    if (this.#began !== undefined) {
      this.#spin.judge.slept(now() - this.#began);
    }
    work();
    this.#watch();
  }

  /** Goes on looking, if it does not already. */
  start(): void {
    this.#spin.putOff();
    if (this.#running) return;
    // Not at once: who has just asked for something has its promise first.
    microtask(() => this.#watch());
    this.#running = true; // last, as the stack may be at its end
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

  /** Notes that a `waitAsync` is under way, and looks for work when it is over. */
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
    this.#began = spun ? undefined : now();
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
      store(cells, asleep, 1);
      const seen = load(cells, word);
      this.#seen = seen;
      if (work()) {
        store(cells, asleep, 0);
        if (!wanted()) this.#running = false;
        else if (isTurnOverdue()) afterTurn(() => this.#watch());
        else microtask(() => this.#watch());
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
