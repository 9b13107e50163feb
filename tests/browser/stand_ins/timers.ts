/**
 * The part of `node:timers/promises` that the tests use, for a browser.
 *
 * @module
 */

const start = globalThis.setTimeout.bind(globalThis);

/** Resolves after a time. */
export function setTimeout<T>(
  milliseconds: number,
  value?: T,
  { signal }: { signal?: AbortSignal } = {},
): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = start(() => resolve(value), milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
