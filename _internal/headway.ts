/**
 * How far the workers of a pool have come: which of them go on, which one is at a
 * call that others pass, and which one is deaf. Nothing is sent or taken back here.
 *
 * @module
 */

import type { Channel } from "./channel.ts";
import { between, MAX_SENT } from "./claim.ts";

/** Quick calls that have not begun after this wait behind one that is not. */
export const STUCK_MS = 5;

/**
 * A worker that has not begun what it was sent while it was idle is deaf after this,
 * and gets twice as long the next time, up to a limit: something that an earlier call
 * has left keeps it busy, or it has ended without a word.
 */
export const DEAF_MS = 20;
const MAX_DEAF = 6;

/** After so many calls that each of the others has begun since, a worker is passed. */
const PASSING_CALLS = 4;

/** How far a worker has come. */
export interface Headway {
  /** What it had claimed when that was last looked at, and since when. */
  claimed: number;
  since: number;
  /** It was idle when it was sent what it has, and was not looked at since. */
  fresh: boolean;
  /** How many calls had begun in all workers then. */
  before: number;
  /** It is at a call that others pass, and is sent no other until it has answered. */
  passed: boolean;
  /** What it was sent last was known to be short, and may have been sent ahead. */
  short: boolean;
  /** How often in a row it was deaf: another comes first, and none goes behind. */
  deaf: number;
}

/** A worker, for whoever looks how far it has come. */
interface Observed {
  readonly channel: Channel;
  readonly headway: Headway;
}

/**
 * How far a worker has come that has yet to begin.
 *
 * @returns Its headway.
 */
export function noHeadway(): Headway {
  return {
    claimed: 0,
    since: 0,
    fresh: false,
    before: 0,
    passed: false,
    short: false,
    deaf: 0,
  };
}

/** Looks at the workers of a pool. */
export class Headways {
  readonly #workers: Iterable<Observed>;
  readonly #clock: () => number;
  #begun = 0;

  /**
   * @param workers The workers; they may come and go.
   * @param clock Tells milliseconds that never go back.
   */
  constructor(workers: Iterable<Observed>, clock: () => number) {
    this.#workers = workers;
    this.#clock = clock;
  }

  /** How many calls had begun, in all workers, at the last look. */
  get begun(): number {
    return this.#begun;
  }

  /**
   * Counts from now on how far a worker comes.
   *
   * @param headway The worker's.
   */
  begin(headway: Headway): void {
    headway.since = this.#clock();
    headway.before = this.#begun;
  }

  /** Looks how many calls have begun since the last look, and where. */
  look(): void {
    const time = this.#clock();
    const moved: Headway[] = [];
    for (const { channel: { claimed }, headway } of this.#workers) {
      if (headway.fresh) {
        headway.fresh = false;
        headway.since = time;
      }
      const more = between(headway.claimed, claimed);
      if (more === 0 || more > MAX_SENT) continue; // it may have given one back
      headway.claimed = claimed;
      headway.since = time;
      headway.deaf = 0;
      this.#begun += more;
      moved.push(headway);
    }
    for (const headway of moved) headway.before = this.#begun;
  }

  /**
   * Tells whether a worker has begun a call, or was sent its first ones, lately.
   *
   * @param headway The worker's.
   * @returns Whether it has.
   */
  goesOn({ since, fresh }: Headway): boolean {
    return fresh || this.#clock() - since < STUCK_MS;
  }

  /**
   * Tells whether a worker has begun none of what it was sent for too long.
   *
   * @param worker The worker, which was looked at.
   * @returns Whether it is deaf.
   */
  isDeaf({ channel, headway }: Observed): boolean {
    const patience = DEAF_MS * 2 ** Math.min(headway.deaf, MAX_DEAF);
    return this.#clock() - headway.since >= patience + channel.reading;
  }

  /**
   * Looks who is at a call that others pass.
   *
   * @returns Whether calls wait behind one.
   */
  lookForPassed(): boolean {
    this.look();
    const going: Observed[] = [];
    let any = false;
    for (const worker of this.#workers) {
      lookAt(worker);
      if (!worker.headway.passed) going.push(worker);
    }
    let others = going.length - 1;
    for (const { channel: { waiting, unanswered }, headway } of going) {
      const isPassed = others > 0 && unanswered > waiting &&
        this.#begun - headway.before >= others * PASSING_CALLS;
      if (!isPassed) continue;
      headway.passed = true;
      others--;
      if (waiting > 0) any = true;
    }
    return any;
  }
}

/**
 * Reads a worker's answers; of these nobody need be told, so that one may go on.
 *
 * @param worker The worker.
 */
export function lookAt({ channel, headway }: Observed): void {
  channel.look();
  if (channel.unanswered === 0) headway.passed = false;
}
