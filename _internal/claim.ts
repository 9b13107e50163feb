/**
 * The word that says which of the calls sent to a worker have begun.
 *
 * The worker claims calls in the order in which they were sent, so two counts
 * say everything: how many were claimed (low half) and how many were sent (high
 * half), both mod 2^15. One bit more says that the worker has halted: it claims
 * nothing until that is taken down. Who changes the word, always in one atomic
 * step:
 *
 * | who | from | to |
 * | --- | --- | --- |
 * | the sender, to send | claimed, sent | claimed, sent + 1 |
 * | the worker, to claim | claimed < sent, not halted | claimed + 1, sent |
 * | the sender, to take back all that was not claimed | claimed, sent | claimed, claimed |
 * | the sender, to take back the last one | claimed < sent | claimed, sent - 1 |
 * | the worker, to halt | not halted | halted |
 * | either, to let the worker go on | halted | not halted |
 *
 * So a call is claimed or taken back and never both, and after a worker's death
 * the word tells which call it had begun.
 *
 * @module
 */

import { pause } from "./runtime/which.ts";

/** What counts are cut to. */
const MASK = 0x7fff;
/** The bit that says whether the worker has halted. */
const HALTED = 1 << 15;
/** How far the count of what was sent is shifted; one bit below it is not used. */
const SENT = 17;

/** How many calls may be on their way at once. */
export const MAX_SENT = 4096;

/**
 * Announces one more call, whose frame has been written.
 *
 * @param cells Shared memory.
 * @param word Which word.
 */
export function send(cells: Int32Array, word: number): void {
  // The high half is changed by this thread alone, so adding cannot go wrong.
  Atomics.add(cells, word, 1 << SENT);
}

/**
 * Claims the next call.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @returns Whether there was one, and the worker has not halted.
 */
export function claim(cells: Int32Array, word: number): boolean {
  for (;;) {
    const seen = Atomics.load(cells, word);
    const claimed = seen & MASK;
    if (claimed === seen >>> SENT || seen & HALTED) return false;
    const next = (seen & ~MASK) | ((claimed + 1) & MASK);
    if (Atomics.compareExchange(cells, word, seen, next) === seen) return true;
  }
}

/**
 * Takes back every call that was not claimed.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @returns How many.
 */
export function takeBack(cells: Int32Array, word: number): number {
  for (;;) {
    const seen = Atomics.load(cells, word);
    const claimed = seen & MASK;
    const count = ((seen >>> SENT) - claimed) & MASK;
    if (count === 0) return 0;
    const next = (claimed << SENT) | (seen & HALTED) | claimed;
    if (Atomics.compareExchange(cells, word, seen, next) === seen) return count;
  }
}

/**
 * Takes back the call that was sent last.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @returns Whether it was not claimed.
 */
export function takeBackLast(cells: Int32Array, word: number): boolean {
  for (;;) {
    const seen = Atomics.load(cells, word);
    if ((seen & MASK) === seen >>> SENT) return false;
    const next = (seen - (1 << SENT)) | 0;
    if (Atomics.compareExchange(cells, word, seen, next) === seen) return true;
  }
}

/**
 * Lets the worker claim nothing more.
 *
 * @param cells Shared memory.
 * @param word Which word.
 */
export function halt(cells: Int32Array, word: number): void {
  Atomics.or(cells, word, HALTED);
}

/**
 * Lets the worker claim again, and wakes it if it waits for that.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @returns Whether it had halted.
 */
export function goOn(cells: Int32Array, word: number): boolean {
  const had = (Atomics.and(cells, word, ~HALTED) & HALTED) !== 0;
  if (had) Atomics.notify(cells, word);
  return had;
}

/**
 * Tells whether the worker has halted.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @returns Whether it has.
 */
export function hasHalted(cells: Int32Array, word: number): boolean {
  return (Atomics.load(cells, word) & HALTED) !== 0;
}

/** So often a wait begins again that was ended by another change of the word. */
const MAX_WAITS = 4;

/**
 * Blocks as long as the worker has halted.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @param polls How often to look before.
 * @param timeout For how long, about, in milliseconds.
 * @returns Whether it may claim again.
 */
export function waitToGoOn(
  cells: Int32Array,
  word: number,
  polls: number,
  timeout: number,
): boolean {
  for (let i = 0; i < polls; i++) {
    if (!hasHalted(cells, word)) return true;
    pause();
  }
  for (let waits = 0;; waits++) {
    const seen = Atomics.load(cells, word);
    if ((seen & HALTED) === 0) return true;
    if (waits === MAX_WAITS) return false;
    if (Atomics.wait(cells, word, seen, timeout) === "timed-out") return false;
  }
}

/**
 * How many calls were sent and not claimed.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @returns The number.
 */
export function unclaimed(cells: Int32Array, word: number): number {
  const seen = Atomics.load(cells, word);
  return ((seen >>> SENT) - seen) & MASK;
}

/**
 * How many calls were claimed, in all.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @returns The number, mod 2^15.
 */
export function claimed(cells: Int32Array, word: number): number {
  return Atomics.load(cells, word) & MASK;
}

/**
 * How many calls were claimed between two looks.
 *
 * @param before What {@linkcode claimed} was.
 * @param now What it is.
 * @returns The number, mod 2^15.
 */
export function between(before: number, now: number): number {
  return (now - before) & MASK;
}
