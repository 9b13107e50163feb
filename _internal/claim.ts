/**
 * The word that says which of the calls sent to a worker have begun.
 *
 * The worker claims calls in the order in which they were sent, so two counts
 * say everything: how many were claimed (low half) and how many were sent (high
 * half), both mod 2^16. Who changes it, always in one atomic step:
 *
 * | who | from | to |
 * | --- | --- | --- |
 * | the sender, to send | claimed, sent | claimed, sent + 1 |
 * | the worker, to claim | claimed < sent | claimed + 1, sent |
 * | the worker, to give back the last one, as it ends before that begins | claimed, sent | claimed - 1, sent |
 * | the sender, to take back all that was not claimed | claimed, sent | claimed, claimed |
 * | the sender, to take back the last one | claimed < sent | claimed, sent - 1 |
 *
 * So a call is claimed or taken back and never both, unless it was given back in
 * between, and after a worker's death the word tells which call it had begun.
 *
 * @module
 */

/** What counts are cut to. */
const MASK = 0xffff;

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
  Atomics.add(cells, word, MASK + 1);
}

/**
 * Claims the next call.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @returns Whether there was one.
 */
export function claim(cells: Int32Array, word: number): boolean {
  for (;;) {
    const seen = Atomics.load(cells, word);
    const claimed = seen & MASK;
    if (claimed === seen >>> 16) return false;
    const next = (seen & ~MASK) | ((claimed + 1) & MASK);
    if (Atomics.compareExchange(cells, word, seen, next) === seen) return true;
  }
}

/**
 * Gives back the call that was claimed last, as it will not begin here.
 *
 * @param cells Shared memory.
 * @param word Which word.
 */
export function giveBack(cells: Int32Array, word: number): void {
  for (;;) {
    const seen = Atomics.load(cells, word);
    const next = (seen & ~MASK) | ((seen - 1) & MASK);
    if (Atomics.compareExchange(cells, word, seen, next) === seen) return;
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
    const count = ((seen >>> 16) - claimed) & MASK;
    if (count === 0) return 0;
    const next = (claimed << 16) | claimed;
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
    const sent = seen >>> 16;
    if ((seen & MASK) === sent) return false;
    const next = ((sent - 1) << 16) | (seen & MASK);
    if (Atomics.compareExchange(cells, word, seen, next) === seen) return true;
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
  return ((seen >>> 16) - seen) & MASK;
}

/**
 * How many calls were claimed, in all.
 *
 * @param cells Shared memory.
 * @param word Which word.
 * @returns The number, mod 2^16.
 */
export function claimed(cells: Int32Array, word: number): number {
  return Atomics.load(cells, word) & MASK;
}

/**
 * How many calls were claimed between two looks.
 *
 * @param before What {@linkcode claimed} was.
 * @param now What it is.
 * @returns The number, mod 2^16.
 */
export function between(before: number, now: number): number {
  return (now - before) & MASK;
}
