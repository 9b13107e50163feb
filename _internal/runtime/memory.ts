/**
 * Memory that threads share, and text in it.
 *
 * @module
 */

import { canShareMemory, runtime } from "./which.ts";

/**
 * Tells whether a value is memory that threads share.
 *
 * @param value Any value.
 * @returns Whether it is.
 */
export function isSharedMemory(value: unknown): boolean {
  return typeof SharedArrayBuffer !== "undefined" &&
    value instanceof SharedArrayBuffer;
}

/**
 * Allocates zeroed 32-bit cells that every thread can see.
 *
 * @param length How many cells.
 * @param user Who asks; stands in the error.
 * @returns The cells.
 * @throws {Error} If the page is not cross-origin isolated.
 */
export function sharedCells(
  length: number,
  user: string,
): Int32Array<SharedArrayBuffer> {
  if (!canShareMemory) {
    throw new Error(
      `Cannot create ${user} as SharedArrayBuffer or Atomics.waitAsync is ` +
        `missing: serve the page ` +
        `with the headers "Cross-Origin-Opener-Policy: same-origin" and ` +
        `"Cross-Origin-Embedder-Policy: require-corp"`,
    );
  }
  return new Int32Array(new SharedArrayBuffer(length * 4));
}

const encoder = new TextEncoder();
let scratch = new Uint8Array(0);

/**
 * Encodes text into memory that may be shared, which a browser's own
 * `encodeInto` refuses.
 *
 * @param text The text.
 * @param bytes Where it goes.
 * @returns How much was read, and written.
 */
export function encodeInto(
  text: string,
  bytes: Uint8Array,
): TextEncoderEncodeIntoResult {
  if (runtime !== "browser") return encoder.encodeInto(text, bytes);
  const { length } = bytes;
  if (scratch.length < length) scratch = new Uint8Array(length);
  const result = encoder.encodeInto(text, scratch.subarray(0, length));
  bytes.set(scratch.subarray(0, result.written));
  return result;
}
