/**
 * The part of `@std/async` that the tests use, over `node:timers/promises`,
 * for where JSR cannot be reached.
 *
 * @module
 */

import { setTimeout } from "node:timers/promises";

export async function delay(milliseconds: number): Promise<void> {
  await setTimeout(milliseconds);
}

export async function deadline<T>(
  promise: Promise<T>,
  milliseconds: number,
): Promise<T> {
  const timer = new AbortController();
  const late = setTimeout(milliseconds, undefined, timer).then(() => {
    throw new DOMException("Signal timed out.", "TimeoutError");
  });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}
