/**
 * What `map` and `starmap` ask of an executor: chunks, order, progress.
 *
 * @module
 */

import {
  type Call,
  callBack,
  CallbackCall,
  type Host,
  type ItemsOptions,
  type Outcome,
} from "./call.ts";
import { type AnyFunction, nameOf } from "./callable.ts";
import {
  chunkSizeFor,
  END,
  isArray,
  isAsync,
  type Items,
  knownLength,
  Source,
} from "./chunks.ts";
import { timeoutError } from "./errors.ts";
import { deadlineOf, reachedAtOnce, watchLimits } from "./limits.ts";
import { shown } from "./check.ts";
import { ignoreExpected, ignoreRejections, isThenable } from "./promises.ts";
import { hold, now, release } from "./runtime/loop.ts";
import { afterTurn, isTurnOverdue } from "./turn.ts";
import { later } from "./wait.ts";

/** What is to be mapped, and how. */
export interface MapRequest extends ItemsOptions {
  kind: "map" | "starmap";
  fn: AnyFunction;
  items: Items;
}

/**
 * How long the first failure may be on its way once another one is here: a task
 * may have broken what brings it.
 */
const FIRST_MS = 1000;

/** How a chunk failed. */
type Failure = Outcome & { ok: false };

/**
 * Maps a function over all items.
 *
 * @param host The pool.
 * @param request What to map.
 * @returns The results in the order of the input.
 */
export function mapAll(
  { executor, processes, register }: Host,
  request: MapRequest,
): Promise<unknown[]> {
  const { kind, fn, limits, transferResult } = request;
  const action = () => `${kind} ${nameOf(fn)}`;
  const mapped = new Promise<unknown[]>((resolve, reject) => {
    const items: Items = Object(request.items); // a string is iterable too
    const total = knownLength(items);
    const none = reachedAtOnce(limits, action, total === 0);
    if (none) {
      if (isArray(items)) ignoreRejections(items); // nobody will await them
      return reject(none.error);
    }

    const results: ArrayLike<unknown>[] = [];
    const open = new Set<Call>();
    let read = 0;
    let done = 0;
    let reading = true;
    let source: Source | undefined;
    let over = false;
    let second: Failure | undefined;
    const deadline = deadlineOf(limits);
    const group = executor.newGroup();

    const end = (error?: { error: unknown }, stop = false) => {
      if (over) return;
      over = true;
      unwatch();
      stopReading();
      if (open.size > 0) executor.giveUp(open, stop);
      if (!error) return resolve(joined(results));
      ignoreExpected(error.error, () => mapped);
      reject(error.error);
    };
    const stopReading = () => {
      if (!reading) return;
      reading = false;
      unregister();
      if (source === undefined) return;
      release();
      source.close(true); // if there is more of it, an error is why
    };
    // Before the input runs code of its own, which may close the pool.
    const unregister = register((error) => end({ error }));
    const unwatch = watchLimits(
      limits,
      action,
      (error) => end({ error }, true),
    );
    const fail = ({ late, error }: Failure) => {
      if (late) end({ error: timeoutError(action(), limits.timeout) }, true);
      else end({ error });
    };
    const submit = (payload: unknown[]) => {
      if (kind === "starmap") payload = listsOf(payload, read);
      if (over) return; // the lists may run code of their own, which has ended it
      read += payload.length;
      const at = results.push([]) - 1;
      const call = new CallbackCall(
        { kind, fn, group, payload, deadline, transferResult },
        (outcome: Outcome) => {
          open.delete(call);
          if (over) return;
          if (!outcome.ok) {
            if (!outcome.dropped && !outcome.second) return fail(outcome);
            // The answer of the one that failed first will come.
            if (outcome.second && !second) {
              second = outcome;
              later(FIRST_MS, () => fail(outcome)); // or never
            }
            if (open.size === 0 && second) fail(second);
            return;
          }
          results[at] = outcome.value as ArrayLike<unknown>;
          done += payload.length;
          callBack(request.onProgress, { done, total });
          if (!reading && open.size === 0) end();
        },
      );
      open.add(call);
      executor.submit(call);
    };
    /** Reads an iterable, which may take long, be endless, or end the call. */
    const readAll = (items: Iterable<unknown>): unknown[] => {
      const all: unknown[] = [];
      for (const item of items) {
        if (deadline !== undefined && now() > deadline) {
          end({ error: timeoutError(action(), limits.timeout) });
        }
        if (over) break;
        all.push(item);
      }
      return all;
    };
    const finishReading = () => {
      stopReading();
      if (open.size === 0) end();
    };
    const readSlowly = async (input: Source, size: number) => {
      if (over) return input.close(true);
      source = input;
      hold(); // a source that is waited for may hold nothing
      try {
        let chunk: unknown[] = [];
        let item: unknown;
        while (item !== END) {
          if (isTurnOverdue()) await new Promise<void>(afterTurn);
          if (!over) item = await input.next();
          if (over) return;
          if (item !== END && chunk.push(item) < size) continue;
          if (chunk.length > 0) submit(chunk);
          chunk = [];
        }
        finishReading();
      } catch (error) {
        end({ error });
      }
    };

    try {
      if (isAsync(items)) {
        return void readSlowly(new Source(items), request.chunkSize ?? 1);
      }
      const all = isArray(items) ? items : readAll(items);
      if (over) return;
      const size = request.chunkSize ?? chunkSizeFor(all.length, processes);
      if (all.some(isThenable)) return void readSlowly(new Source(all), size);
      for (let at = 0; at < all.length && !over; at += size) {
        submit(all.slice(at, at + size));
      }
      finishReading();
    } catch (error) {
      end({ error });
    }
  });
  return mapped;
}

/**
 * Reads lists of arguments, which may be any iterables, and of which the first is
 * the item of that number.
 */
function listsOf(items: readonly unknown[], first: number): unknown[] {
  return items.map((item, i) => {
    if (Array.isArray(item)) return item;
    if (Symbol.iterator in Object(item)) return [...item as Iterable<unknown>];
    throw new TypeError(
      `Cannot starmap function as each item must be a list of arguments, such ` +
        `as [1, 2]: received ${shown(item)} as item ${first + i}`,
    );
  });
}

/** All results in one array. */
function joined(chunks: readonly ArrayLike<unknown>[]): unknown[] {
  let length = 0;
  for (const chunk of chunks) length += chunk.length;
  const all = new Array(length);
  let at = 0;
  for (const chunk of chunks) {
    for (let i = 0; i < chunk.length; i++) all[at++] = chunk[i];
  }
  return all;
}
