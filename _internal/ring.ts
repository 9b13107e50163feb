/**
 * Frames in a circle of shared memory: one writer, one reader.
 *
 * A frame lies in one piece and begins with its length in bytes; -1 in its
 * place sends the reader to the beginning. There is always room for the largest
 * frame before one is begun, so what does not fit is too large, not too late.
 *
 * @module
 */

import { type Memory, memoryOf } from "./frame.ts";

/** The length, and a word that the frame's owner may use. */
export const HEADER = 8;

/** What comes where in a ring. */
export interface Ring extends Memory {
  /** Bytes in all, a multiple of 8. */
  readonly size: number;
  /** The largest frame. */
  readonly largest: number;
}

/**
 * Looks at shared memory as a ring.
 *
 * @param buffer The memory.
 * @returns The ring.
 */
export function ringOf(buffer: SharedArrayBuffer): Ring {
  const size = buffer.byteLength;
  return { ...memoryOf(buffer), size, largest: (size >> 2) & ~7 };
}

/**
 * Finds room for the largest frame.
 *
 * @param ring The ring.
 * @param at Where the last frame ends.
 * @param oldest Where the oldest frame begins that is still needed, or -1 if
 * none is.
 * @returns Where the next frame may begin, or -1.
 */
export function roomAt(ring: Ring, at: number, oldest: number): number {
  const { largest, size } = ring;
  if (oldest < at) { // the free room is behind `at`, and before `oldest`
    if (at + largest <= size) return at;
    return oldest < 0 || largest < oldest ? 0 : -1;
  }
  return at + largest < oldest ? at : -1;
}

/**
 * Links the place where the last frame ends to that where the next one begins, for
 * {@linkcode follow}.
 *
 * @param ring The ring.
 * @param from Where the last frame ends.
 * @param at What {@linkcode roomAt} returned.
 */
export function link(ring: Ring, from: number, at: number): void {
  if (at !== from && from + HEADER <= ring.size) ring.words[from >> 2] = -1;
}

/**
 * Finds the next frame.
 *
 * @param ring The ring.
 * @param at Where the last frame ends.
 * @returns Where the next begins.
 * @throws {Error} If there is none.
 */
export function follow(ring: Ring, at: number): number {
  const start = at + HEADER > ring.size || ring.words[at >> 2] === -1 ? 0 : at;
  const length = ring.words[start >> 2]!;
  if (length < HEADER || length % 8 !== 0 || start + length > ring.size) {
    throw new Error(`Cannot read frame as its length is wrong: ${length}`);
  }
  return start;
}
