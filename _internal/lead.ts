/**
 * How many calls workers may have ahead as their pool's thread is late at times.
 *
 * A call that takes long is sent to an idle worker alone. While the thread is busy
 * it sends nothing, and workers would be idle: if it lets answers wait again and
 * again, each worker may have as many calls ahead as it could have run meanwhile.
 *
 * @module
 */

import type { Lag } from "./channel.ts";

/**
 * A thread is late if an answer has waited for so many milliseconds, and for so
 * much of what its call took.
 */
const LATE_MS = 8;
const LATE_SHARE = 0.5;
/** It is busy if it is late twice within so many milliseconds. */
const LATE_AGAIN_MS = 1000;
/** Then workers have calls ahead, for so many times as long, of which no more counts. */
const LEAD_TIMES = 4;
const MAX_LATE_MS = 1000;

/** What a thread's lateness makes of its pool. */
export class Lead {
  /** How many calls, and until when. */
  #most = 0;
  #until = 0;
  /** When the thread was late for the last time, and whether soon after another. */
  #lateAt = -Infinity;
  #lateAgain = false;
  readonly #clock: () => number;

  /** @param clock Tells milliseconds that never go back. */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  /** How many calls a worker may have ahead now. */
  get calls(): number {
    const isOver = this.#most > 0 && this.#clock() >= this.#until;
    return isOver ? 0 : this.#most;
  }

  /**
   * Notes how late the thread was with an answer.
   *
   * @param lag How late.
   * @param hadCalls Whether there was anything to send.
   */
  note({ took, late }: Lag, hadCalls: boolean): void {
    if (late < Math.max(LATE_MS, LATE_SHARE * took)) return;
    // There was nothing to send, unless all went ahead.
    if (!hadCalls && this.calls === 0) return;
    const time = this.#clock();
    const since = time - late;
    if (since > this.#lateAt) { // else it was the same time, for another worker
      this.#lateAgain = since - this.#lateAt < LATE_AGAIN_MS;
      this.#lateAt = time;
    }
    if (!this.#lateAgain) return;
    const counted = Math.min(late, MAX_LATE_MS); // clocks may be set forward
    const missed = Math.ceil(counted / took);
    this.#most = Math.max(this.calls, missed); // the rings are the limit
    this.#until = Math.max(this.#until, time + counted * LEAD_TIMES);
  }

  /**
   * Tells, once, that it is over: what was sent ahead is to come back.
   *
   * @returns Whether it is.
   */
  end(): boolean {
    if (this.#most === 0 || this.calls > 0) return false;
    this.#most = 0;
    return true;
  }
}
