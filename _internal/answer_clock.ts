/**
 * In which order the answers of all workers of a pool were given, by a clock.
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

import type { Channel } from "./channel.ts";
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

/**
 * Reads the answers of several workers in the order in which they were given.
 *
 * Between the looks at two workers both may answer, and only the later answer be
 * seen. So what was given after the first look is left; whoever looks next finds
 * it, as the bell has changed.
 *
 * @param workers The workers; some may come or go meanwhile.
 * @param bell The words of `BellCell`.
 * @returns Whether there were any.
 */
export function readInOrder(
  workers: Iterable<{ readonly channel: Channel }>,
  bell: Int32Array,
): boolean {
  let only: Channel | undefined;
  let several = false;
  for (const { channel } of workers) {
    if (channel.inFlight === 0) continue;
    several = only !== undefined;
    only = channel;
  }
  if (!several) return only !== undefined && only.drain();
  const now = timeOf(bell);
  for (const { channel } of workers) {
    if (channel.inFlight > 0) channel.look();
  }
  for (let any = false;;) {
    let first: Channel | undefined;
    let time: number | undefined;
    let until: number | undefined;
    for (const { channel } of workers) {
      const { next } = channel;
      if (next === undefined || isLater(next, now)) continue;
      if (time === undefined || isLater(time, next)) {
        first = channel;
        until = time;
        time = next;
      } else if (until === undefined || isLater(until, next)) until = next;
    }
    if (first === undefined) return any;
    any = first.tell(until ?? now) || any;
    if (until === undefined) return any; // no other worker has any
  }
}
