/**
 * The limits of a wait or a call: a time and a signal.
 *
 * @module
 */

import { timeoutError } from "./errors.ts";
import { now, startTimer, wallClock } from "./runtime/loop.ts";

/** A time and a signal, checked. */
export interface Limits {
  /** Milliseconds; `Infinity` for no time. */
  timeout: number;
  /** Ends the wait or the call early. */
  signal?: AbortSignal | undefined;
}

/** Whom to tell that a signal aborts. */
interface AbortWatch {
  callbacks: Set<() => void>;
  tell: () => void;
}

/**
 * One listener for all who watch a signal: platforms look through all listeners
 * to remove one, and Node warns of more than ten.
 */
const abortWatches = new WeakMap<AbortSignal, AbortWatch>();

/**
 * Calls back when a signal aborts.
 *
 * @param signal The signal, which has not aborted yet.
 * @param callback Called once, at most; does not throw.
 * @returns Stops it, and leaves nothing behind.
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  let watch = abortWatches.get(signal);
  if (watch === undefined) {
    const callbacks = new Set<() => void>();
    const tell = () => {
      for (const callback of callbacks) callback();
    };
    abortWatches.set(signal, watch = { callbacks, tell });
    signal.addEventListener("abort", tell);
  }
  const { callbacks, tell } = watch;
  callbacks.add(callback);
  return () => {
    if (!callbacks.delete(callback) || callbacks.size > 0) return;
    signal.removeEventListener("abort", tell);
    abortWatches.delete(signal);
  };
}

/**
 * Calls back when a time is up, and when a signal aborts.
 *
 * @param limits The limits; the signal has not aborted yet.
 * @param callback Called at each of the two until it is stopped.
 * @returns Stops it, and leaves nothing behind.
 */
export function whenOver(
  { timeout, signal }: Limits,
  callback: () => void,
): () => void {
  const stopTimer = timeout === Infinity
    ? undefined
    : startTimer(callback, timeout);
  const stopWatch = signal && onAbort(signal, callback);
  return () => {
    stopTimer?.();
    stopWatch?.();
  };
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
 * The deadline of a call for whoever runs it. It is rounded up, and a millisecond
 * later, so that it is never before the timer of the caller, who tells of it.
 *
 * @param limits The limits, which begin to count now.
 * @returns Milliseconds of {@linkcode now}, or `undefined` for never.
 */
export function deadlineOf({ timeout }: Limits): number | undefined {
  return timeout === Infinity ? undefined : now() + Math.ceil(timeout) + 1;
}

/**
 * A deadline as every thread counts it; only while it is on its way may the
 * system's clock not be set.
 *
 * @param deadline Milliseconds of {@linkcode now}, in this thread.
 * @returns Milliseconds of {@linkcode wallClock}; `0` for never.
 */
export function toWallClock(deadline: number | undefined): number {
  return deadline === undefined ? 0 : wallClock() + (deadline - now());
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
