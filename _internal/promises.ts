/**
 * Promises, whatever a task has done to `Promise.prototype`.
 *
 * @module
 */

const { then } = Promise.prototype;
const { apply } = Reflect;

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
  onValue: (value: T) => R,
  onError?: (error: unknown) => R,
): Promise<Awaited<R>> {
  return apply(then, promise, [onValue, onError]) as Promise<Awaited<R>>;
}
