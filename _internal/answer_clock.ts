/**
 * The clock by which the answers of all workers of a pool are put in order.
 *
 * It is the count of the answers that were published (`BellCell.Answers`), read
 * by a worker when it knows its answer, before it publishes it. So of two answers
 * the later one has the larger time if the other was out when it became known;
 * of two that came about side by side either may be the first. As in Lamport's
 * "Time, Clocks, and the Ordering of Events in a Distributed System" (1978).
 *
 * A time is the count shifted to stand beside an answer's kind in one word, so it
 * is one mod 2^30; only the answers that are unread at once are compared.
 *
 * @module
 */

import { AnswerFrame, BellCell } from "./protocol.ts";

/**
 * Reads the clock.
 *
 * @param bell The words of `BellCell`.
 * @returns The time.
 */
export function timeOf(bell: Int32Array): number {
  return Atomics.load(bell, BellCell.Answers) << AnswerFrame.TimeShift;
}

/**
 * Compares two times.
 *
 * @param time The one.
 * @param other The other.
 * @returns Whether the one is later.
 */
export function isLater(time: number, other: number): boolean {
  return ((time - other) | 0) > 0;
}
