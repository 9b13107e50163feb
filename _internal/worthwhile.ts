/**
 * How many workers quick calls are worth.
 *
 * @module
 */

import { QUICK_US } from "./protocol.ts";

/**
 * About what this thread takes to send a call and to read its answer, in
 * microseconds: calls that take as long keep as many workers busy, and more of
 * them would only take its core.
 */
const CALL_US = 1;

/**
 * Where this thread and the busy workers have all the cores, another worker only
 * takes turns with them: calls that take less than this together are not worth it.
 */
const SHARE_US = 200;

/**
 * How many workers some calls are worth: one that gets to all of them sooner than
 * another could be woken, and else no more than there are cores for, or than this
 * thread can keep busy.
 *
 * @param pace How many microseconds a call takes.
 * @param calls How many there are.
 * @param cores How many cores.
 * @returns The number; `Infinity` for calls that are not quick.
 */
export function worthwhile(
  pace: number,
  calls: number,
  cores: number,
): number {
  if (pace >= QUICK_US) return Infinity;
  const together = pace * calls;
  if (together < QUICK_US) return 1;
  return Math.min(together < SHARE_US ? cores - 1 : cores, pace / CALL_US);
}
