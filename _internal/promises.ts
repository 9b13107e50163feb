/**
 * Promises, whatever a task has done to `Promise.prototype`.
 *
 * @module
 */

import { microtask } from "./runtime/loop.ts";

const { then } = Promise.prototype;
const { apply } = Reflect;

/**
 * Tells whether a value is a promise, or behaves as one.
 *
 * @param value The value.
 * @returns Whether it has a `then`.
 */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return value !== null &&
    (typeof value === "object" || typeof value === "function") &&
    typeof (value as { then?: unknown }).then === "function";
}

/**
 * Lets promises that are awaited one after the other reject before their turn: of
 * several that do, only the first is told of, as by `Promise.all`. Other objects with
 * a `then` are left alone: they raise no unhandled rejections, and to call it may
 * begin their work.
 *
 * @param items Promises and other items.
 */
export function ignoreRejections(items: readonly unknown[]): void {
  for (const it of items) {
    if (it instanceof Promise) afterwards(it, undefined, () => {});
  }
}

const expected = new WeakSet<object>();

/**
 * Marks an error as one that the program has asked for: a promise that rejects with
 * it, and that nobody awaits, is no unhandled rejection.
 *
 * @param error The error.
 */
export function expectError(error: object): void {
  expected.add(error);
}

/**
 * To be called when a promise is rejected: ignores that if the error is expected.
 *
 * @param error The error.
 * @param promise Gives the promise, a little later.
 */
export function ignoreExpected(
  error: unknown,
  promise: () => Promise<unknown>,
): void {
  if (!expected.has(error as object)) return;
  microtask(() => ignoreRejections([promise()]));
}

/**
 * Goes on when a promise is settled, as its `then` does at first.
 *
 * @param promise A promise of the platform's.
 * @param onValue Is given the value.
 * @param onError Is given the error.
 * @returns A promise of what they return.
 */
export function afterwards<T, R>(
  promise: Promise<T>,
  onValue?: (value: T) => R,
  onError?: (error: unknown) => R,
): Promise<Awaited<R>> {
  return apply(then, promise, [onValue, onError]) as Promise<Awaited<R>>;
}
