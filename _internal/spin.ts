/**
 * Whether it pays to spin before a thread sleeps, and how to do so without
 * starving its event loop. Nothing depends on it but speed.
 *
 * @module
 */

import { microtask, now, wallClock } from "./runtime/loop.ts";
import { cores, pause } from "./runtime/which.ts";
import { afterTurn, isTurnOverdue } from "./turn.ts";

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
/** How often continuations may put a spin off. */
const MAX_DELAYS = 32;

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
export class SpinJudge {
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
   * Spins without a pause, and learns from it.
   *
   * @param poll Looks whether what is waited for has come.
   * @param milliseconds How long.
   * @returns What `poll` returned, or `undefined` if the time ran out.
   */
  spin<T>(poll: () => T | undefined, milliseconds: number): T | undefined {
    const value = spin(poll, milliseconds);
    this.spun(value !== undefined, took);
    return value;
  }

  /**
   * Learns from a spin.
   *
   * @param hit Whether what was waited for came.
   * @param took Milliseconds, with the work that a hit brought; `0` for a hit at
   * once.
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

/** Begins at the same moment in all threads: of two that take turns both must spin. */
function period(): number {
  return Math.floor(wallClock() / PERIOD_MS);
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
export interface Spinner {
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
export class Spin {
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
    if (isTurnOverdue()) afterTurn(this.#piece);
    else this.#hop();
  }

  /** Continuations are at work. */
  putOff(): void {
    if (this.#delays === 0) return;
    this.#delays--;
    this.#left = this.#hops;
  }

  readonly #hop = (): void => {
    if (this.#left-- > 0) microtask(this.#hop);
    else this.#piece();
  };

  readonly #piece = (): void => {
    const spinner = this.#spinner;
    if (!spinner.wanted()) return spinner.done();
    const longest = Math.min(this.#budget - this.#spent, HOLD_MS);
    const hit = spin(() => spinner.look() || undefined, longest) === true;
    this.#spent += took;
    if (!hit && this.#spent < Math.min(this.#budget, spinner.longest())) {
      return afterTurn(this.#piece);
    }
    this.judge.spun(hit, this.#spent);
    spinner.spun(hit);
  };
}
