/**
 * Calls of which none is to begin after one that failed: the chunks of a map.
 *
 * A group is a number. A pool's workers share some words; the worker in which a
 * call of a group fails writes the group's number into the word of that group,
 * and whoever claims a call looks there first. Of groups that share a word only the
 * last that failed is known, and that only until another of them is made. Of the
 * others calls go on to begin until the pool has read of the failure, and more than
 * one may be taken for the first that failed.
 *
 * Who changes a word:
 *
 * | who | from | to |
 * | --- | --- | --- |
 * | the pool, when it gives a number away | any | 0, as the number may have been used before |
 * | any worker, after a call failed | any | the number of its group |
 *
 * @module
 */

/** How many words there are; a power of two. */
export const GROUP_CELLS = 256;

/** The largest number of a group: what fits above `CallFrame.GroupShift`. */
export const MAX_GROUP: number = 2 ** 28 - 1;

/**
 * Gives away the number after another, starting from 1 again after the last.
 *
 * @param cells Shared memory, if there is any.
 * @param word Where the words begin.
 * @param last The number that was given away last, or 0.
 * @returns The number.
 */
export function newGroup(
  cells: Int32Array | undefined,
  word: number,
  last: number,
): number {
  const group = last % MAX_GROUP + 1;
  if (cells) Atomics.store(cells, word + group % GROUP_CELLS, 0);
  return group;
}

/**
 * Lets no further call of a group begin, as one has failed.
 *
 * @param cells Shared memory.
 * @param word Where the words begin.
 * @param group The number.
 * @returns Whether it was the first of them that failed.
 */
export function failGroup(
  cells: Int32Array,
  word: number,
  group: number,
): boolean {
  return Atomics.exchange(cells, word + group % GROUP_CELLS, group) !== group;
}

/**
 * Tells whether a call of a group has failed.
 *
 * @param cells Shared memory.
 * @param word Where the words begin.
 * @param group The number.
 * @returns Whether one has, as far as that is known.
 */
export function hasFailed(
  cells: Int32Array,
  word: number,
  group: number,
): boolean {
  return Atomics.load(cells, word + group % GROUP_CELLS) === group;
}
