/**
 * Runs what a call asks for, in whatever thread.
 *
 * @module
 */

import { type CallKind, DROPPED, type Outcome } from "./call.ts";
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
 * @param wanted Whether anybody waits for it still: else no other item begins.
 * @returns How the call ended.
 */
export function runCall(
  kind: CallKind,
  fn: AnyFunction,
  payload: ArrayLike<unknown>,
  wanted?: () => boolean,
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
  return runItems(kind === "starmap", fn, payload, wanted);
}

function runItems(
  spread: boolean,
  fn: AnyFunction,
  items: ArrayLike<unknown>,
  wanted?: () => boolean,
): Outcome | Promise<Outcome> {
  const results: unknown[] = [];
  try {
    for (let i = 0; i < items.length; i++) {
      if (wanted?.() === false) return DROPPED;
      const value = spread ? fn(...items[i] as unknown[]) : fn(items[i]);
      if (isThenable(value)) {
        return goOn(spread, fn, items, results, value, wanted);
      }
      results[i] = value; // no method that a task could replace
    }
  } catch (error) {
    return failed(error, fn, results);
  }
  return { ok: true, value: results };
}

/**
 * Goes on from a result that has to be waited for. In a loop, as a promise of the
 * rest for each item would make a chain as long as the chunk.
 */
async function goOn(
  spread: boolean,
  fn: AnyFunction,
  items: ArrayLike<unknown>,
  results: unknown[],
  value: unknown,
  wanted?: () => boolean,
): Promise<Outcome> {
  try {
    let i = results.length;
    for (;;) {
      results[i++] = isThenable(value) ? await value : value;
      if (i === items.length) return { ok: true, value: results };
      if (wanted?.() === false) return DROPPED;
      value = spread ? fn(...items[i] as unknown[]) : fn(items[i]);
    }
  } catch (error) {
    return failed(error, fn, results);
  }
}

function failed(
  error: unknown,
  fn: AnyFunction,
  before: unknown[],
): Outcome {
  return { ok: false, error: explained(error, fn), before };
}
