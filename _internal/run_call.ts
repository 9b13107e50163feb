/**
 * Runs what a call asks for, in whatever thread.
 *
 * @module
 */

import type { CallKind, Outcome } from "./call.ts";
import { type AnyFunction, explained } from "./callable.ts";
import { afterwards, isThenable } from "./promises.ts";

/**
 * Runs a function once, or on each item in order.
 *
 * A function that returns no promise costs none: the outcome is a promise only
 * if there was something to wait for.
 *
 * @param kind How the function is used.
 * @param fn The function.
 * @param payload Its arguments, the items, or the argument lists.
 * @returns How the call ended.
 */
export function runCall(
  kind: CallKind,
  fn: AnyFunction,
  payload: ArrayLike<unknown>,
): Outcome | Promise<Outcome> {
  if (kind === "apply") {
    try {
      const value = fn(...payload as unknown[]);
      if (!isThenable(value)) return { ok: true, value };
      return afterwards<unknown, Outcome>(
        Promise.resolve(value),
        (value) => ({ ok: true, value }),
        (error) => ({ ok: false, error: explained(error, fn) }),
      );
    } catch (error) {
      return { ok: false, error: explained(error, fn) };
    }
  }
  return runItems(kind === "starmap", fn, payload, [], 0);
}

function runItems(
  spread: boolean,
  fn: AnyFunction,
  items: ArrayLike<unknown>,
  results: unknown[],
  from: number,
): Outcome | Promise<Outcome> {
  const fail = (error: unknown): Outcome => ({
    ok: false,
    error: explained(error, fn),
    before: results,
  });
  try {
    for (let i = from; i < items.length; i++) {
      const value = spread ? fn(...items[i] as unknown[]) : fn(items[i]);
      if (isThenable(value)) {
        return afterwards<unknown, Outcome | Promise<Outcome>>(
          Promise.resolve(value),
          (value) => {
            results[results.length] = value; // no method that a task could replace
            return runItems(spread, fn, items, results, i + 1);
          },
          fail,
        );
      }
      results[results.length] = value;
    }
  } catch (error) {
    return fail(error);
  }
  return { ok: true, value: results };
}
