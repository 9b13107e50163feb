/**
 * The limits of a call: a time and a signal.
 *
 * @module
 */

import { timeoutError } from "./check.ts";
import { type Limits, wallClock, whenOver } from "./runtime/loop.ts";
import { reportUncaught } from "./runtime/this_thread.ts";

/** How far a call over many items has come. */
export interface Progress {
  /** Items that are done. */
  done: number;
  /** Items in all; `undefined` when the input does not tell. */
  total: number | undefined;
}

/** Options of a call over many items, checked. */
export interface ItemsOptions {
  chunkSize: number | undefined;
  transferResult: boolean | undefined;
  limits: Limits;
  onProgress: ((progress: Progress) => unknown) | undefined;
}

/**
 * Watches limits.
 *
 * @param limits The limits.
 * @param action What is limited, as in `run function "f"`.
 * @param give Is given the error when one is reached.
 * @returns Stops watching, and leaves nothing behind.
 */
export function watchLimits(
  limits: Limits,
  action: () => string,
  give: (error: unknown) => void,
): () => void {
  const { timeout, signal } = limits;
  return whenOver(
    limits,
    () =>
      give(signal?.aborted ? signal.reason : timeoutError(action(), timeout)),
  );
}

/**
 * When a call is to be over, for its worker: no sooner than for its caller.
 *
 * @param limits The limits, which begin to count now.
 * @returns Milliseconds of {@linkcode wallClock}, or `undefined` for never.
 */
export function deadlineOf({ timeout }: Limits): number | undefined {
  return timeout === Infinity
    ? undefined
    : wallClock() + Math.ceil(timeout) + 1;
}

/**
 * Tells whether limits are reached before anything has begun.
 *
 * @param limits The limits.
 * @param action What is limited.
 * @param isDone Whether there is nothing to be done, for which no time is needed.
 * @returns The error in a box, or `undefined`.
 */
export function reachedAtOnce(
  limits: Limits,
  action: () => string,
  isDone = false,
): { error: unknown } | undefined {
  if (limits.signal?.aborted) return { error: limits.signal.reason };
  if (limits.timeout === 0 && !isDone) {
    return { error: timeoutError(action(), 0) };
  }
  return undefined;
}

/**
 * Calls a callback of the user's; what it throws is an uncaught error and
 * disturbs nobody here.
 *
 * @param callback The callback, if there is one.
 * @param argument What it is given.
 */
export function callBack<T>(
  callback: ((argument: T) => unknown) | undefined,
  argument: T,
): void {
  if (callback === undefined) return;
  try {
    callback(argument);
  } catch (error) {
    reportUncaught(error);
  }
}
