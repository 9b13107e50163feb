/**
 * Pools of workers and of places.
 *
 * @module
 */

import {
  AwaitedCall,
  callBack,
  CallbackCall,
  type CallRequest,
  type Executor,
  type Host,
  type ItemsOptions,
  type Progress,
} from "./_internal/call.ts";
import {
  type AnyFunction,
  describeToRun,
  nameOf,
} from "./_internal/callable.ts";
import {
  checkArray,
  checkCount,
  checkFlag,
  checkFunction,
  checkName,
  checkOptions,
  checkSignal,
  checkTimeout,
  checkTransfer,
  refuse,
} from "./_internal/check.ts";
import { encode, located } from "./_internal/codec.ts";
import type { CrewOptions } from "./_internal/crew.ts";
import { Dispatcher } from "./_internal/dispatcher.ts";
import {
  PoolClosedError,
  timeoutError,
  WorkerExitError,
} from "./_internal/errors.ts";
import {
  deadlineOf,
  type Limits,
  reachedAtOnce,
  watchLimits,
} from "./_internal/limits.ts";
import { showState } from "./_internal/inspect.ts";
import { LocalExecutor } from "./_internal/local.ts";
import { mapAll } from "./_internal/mapping.ts";
import { expectError, ignoreExpected } from "./_internal/promises.ts";
import { Counter, nextNumber, realm } from "./_internal/realm.ts";
import { inContext } from "./_internal/runtime/loop.ts";
import type { Transferable } from "./_internal/runtime/values.ts";
import { cores } from "./_internal/runtime/which.ts";
import { Stream } from "./_internal/streaming.ts";
import {
  checkPermissions,
  checkWorkerUrl,
  type ThreadPermissions,
} from "./_internal/thread_options.ts";
import { AsyncResult } from "./async_result.ts";

export {
  AsyncResult,
  PoolClosedError,
  type Progress,
  type Transferable,
  WorkerExitError,
};

/** What limits every kind of call. */
export interface CallLimits {
  /**
   * Milliseconds from the submission after which the call is given up; for
   * `imap` and `imapUnordered` from each `next()`. `0` gives it up at once, unless
   * there is nothing to do or an `imap` has a result already. A negative number or
   * `NaN` is a `RangeError`.
   *
   * @default {Infinity}
   */
  timeout?: number | undefined;
  /**
   * Gives the call up, which rejects with the signal's reason. As when the time
   * runs out, a `ProcessPool` stops the work, and a `ThreadPool` lets what has
   * begun run on. For a time use `timeout` rather than `AbortSignal.timeout()`: on
   * Deno it alone can end a busy loop.
   */
  signal?: AbortSignal | undefined;
}

/** Options of {@linkcode Pool.apply}. */
export interface ApplyOptions extends CallLimits {
  /**
   * Buffers, ports and streams that move to the worker instead of being copied,
   * and are of no use here afterwards. Such a call waits for an idle worker.
   *
   * @default {[]}
   */
  transfer?: readonly Transferable[] | undefined;
  /**
   * Whether buffers in the result move back instead of being copied. If one of them
   * cannot be moved (that of a WebAssembly memory, or of Node's small `Buffer`s),
   * all are copied.
   *
   * @default {false}
   */
  transferResult?: boolean | undefined;
}

/** Options of {@linkcode Pool.applyAsync}. */
export interface ApplyAsyncOptions<R> extends ApplyOptions {
  /** Is given the result, once. What it throws is an uncaught error. */
  callback?: ((result: R) => unknown) | undefined;
  /** Is given the error, once. What it throws is an uncaught error. */
  errorCallback?: ((error: unknown) => unknown) | undefined;
}

/**
 * Options of {@linkcode Pool.map}, {@linkcode Pool.starmap},
 * {@linkcode Pool.imap} and {@linkcode Pool.imapUnordered}.
 */
export interface MapOptions extends CallLimits {
  /**
   * Items that go to a worker together.
   *
   * @default About four chunks a process; 1 for `imap`, `imapUnordered` and an
   * async iterable.
   */
  chunkSize?: number | undefined;
  /**
   * Whether buffers in the results move back instead of being copied, as in
   * {@linkcode ApplyOptions}; each chunk for itself.
   *
   * @default {false}
   */
  transferResult?: boolean | undefined;
  /**
   * Is told after each chunk how far the call has come. What it throws is an
   * uncaught error.
   */
  onProgress?: ((progress: Progress) => unknown) | undefined;
}

/** Options of {@linkcode Pool.mapAsync} and {@linkcode Pool.starmapAsync}. */
export interface MapAsyncOptions<R> extends MapOptions {
  /** Is given the results, once. What it throws is an uncaught error. */
  callback?: ((results: R[]) => unknown) | undefined;
  /** Is given the error, once. What it throws is an uncaught error. */
  errorCallback?: ((error: unknown) => unknown) | undefined;
}

/**
 * Numbers about a pool. A task is an `apply` call or a chunk. One that a worker has
 * answered counts as completed or failed once this thread has read the answer.
 */
export interface PoolStats {
  /** How many tasks may run at once. */
  processes: number;
  /** Tasks that run. */
  busy: number;
  /** Tasks that wait. */
  queued: number;
  /** Tasks that succeeded. */
  completed: number;
  /** Tasks that failed, or were given up, begun or not. */
  failed: number;
  /** Workers that died, or had to be stopped, and were replaced. */
  respawned: number;
  /**
   * Threads that could not be stopped and may still run (Deno). One that ends within
   * a tenth of a second counts until it does; any other counts for ever.
   */
  abandoned: number;
}

/** Options of {@linkcode ThreadPool}. */
// deno-lint-ignore no-explicit-any
export interface ThreadPoolOptions<A extends unknown[] = any[]> {
  /**
   * Runs once before the first task; in a `ProcessPool` once in each worker, also
   * in those that replace others. When it throws, or ends its worker, every call
   * rejects with that error.
   */
  initializer?: ((...args: A) => unknown) | undefined;
  /**
   * The arguments of the initializer. The constructors do not check their types
   * against its parameters.
   *
   * @default {[]}
   */
  initargs?: A | undefined;
}

/** Options of {@linkcode ProcessPool}. */
// deno-lint-ignore no-explicit-any
export interface ProcessPoolOptions<A extends unknown[] = any[]>
  extends ThreadPoolOptions<A> {
  /**
   * After how many tasks a worker is replaced by a new one: a positive integer.
   *
   * @default No limit.
   */
  maxTasksPerChild?: number | undefined;
  /**
   * What the workers may do: on Deno, with `--unstable-worker-options`, without
   * which Deno ends the whole program.
   *
   * @default What this thread may do.
   */
  permissions?: ThreadPermissions | undefined;
  /**
   * The URL of a file that runs the worker's program, to start from instead of
   * text: for pages whose Content Security Policy forbids workers from `blob:`
   * URLs. `@multi/processing/worker` is such a file.
   *
   * @default The one that this thread was started from, if any.
   */
  workerUrl?: string | URL | undefined;
  /**
   * What the workers' names begin with: they are `name-1`, `name-2` and so on,
   * which code in them finds in `self.name`.
   *
   * @default `ProcessPool-N`
   */
  name?: string | undefined;
}

/** An input: its items, or promises of them. */
export type Input<T> =
  | readonly (T | PromiseLike<T>)[] // first, for errors that name the item
  | Iterable<T | PromiseLike<T>>
  | AsyncIterable<T | PromiseLike<T>>;

/** What {@linkcode ProcessPool} and {@linkcode ThreadPool} have in common. */
export abstract class Pool {
  readonly #processes: number;
  readonly #executor: Executor;
  #state: "open" | "closed" | "terminated" = "open";
  /** How to end each call that still reads its input; they outlive `close()`. */
  readonly #readers = new Set<(error: unknown) => void>();

  static {
    showState(
      this,
      (it) => #state in it ? { state: it.#state, ...it.stats() } : {},
    );
  }

  /**
   * Creates the pool.
   *
   * @param processes How many tasks may run at once.
   * @param executor Who runs them.
   */
  protected constructor(processes: number, executor: Executor) {
    this.#processes = processes;
    this.#executor = executor;
    realm.unsendable.set(this, "a pool");
  }

  /** How many tasks may run at once. */
  get processes(): number {
    return this.#processes;
  }

  /**
   * Calls a function.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ProcessPool(1);
   * assertEquals(await pool.apply((a: number, b: number) => a + b, [1, 2]), 3);
   * ```
   *
   * @typeParam F The function's type.
   * @param fn The function.
   * @param args Its arguments; none by default. The types check those that are
   * given, but do not require all of them.
   * @param options Timeout, cancellation, transfers.
   * @returns What the function returned, or its promise gave.
   * @throws {PoolClosedError} If the pool is closed, or terminated before the end.
   * @throws {WorkerExitError} If the worker ended before the call did.
   * @throws {TypeError} If `fn`, or the action of a barrier in `args`, is not a
   * function that can be sent, or `args` or an option is not of its type.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`.
   * @throws {DOMException} A `TimeoutError` if the time runs out; a
   * `DataCloneError` if an argument or the result cannot be sent.
   * @throws What the function threw, or the signal's reason.
   */
  apply<F extends AnyFunction>(
    fn: F,
    args?: Readonly<Parameters<F>>,
    options: ApplyOptions = {},
  ): Promise<Awaited<ReturnType<F>>> {
    try {
      return this.#apply(fn, args, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * As {@linkcode Pool.apply}, but returns an {@linkcode AsyncResult} at once.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ProcessPool(1);
   * const result = pool.applyAsync((n: number) => n + 1, [1]);
   * assertEquals(await result.get({ timeout: 5000 }), 2);
   * ```
   *
   * @typeParam F The function's type.
   * @param fn The function.
   * @param args Its arguments.
   * @param options As of `apply`, and callbacks.
   * @returns The result, under way.
   * @throws {PoolClosedError} If the pool is closed.
   * @throws {TypeError} If `fn` is not a function that can be sent, or `args` or
   * an option not of its type.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`.
   */
  applyAsync<F extends AnyFunction>(
    fn: F,
    args?: Readonly<Parameters<F>>,
    options: ApplyAsyncOptions<Awaited<ReturnType<F>>> = {},
  ): AsyncResult<Awaited<ReturnType<F>>> {
    checkCallbacks(options, "apply function");
    return asyncResultOf(this.#apply(fn, args, options, true), options);
  }

  /**
   * Calls a function on each item.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ProcessPool(2);
   * assertEquals(await pool.map((n: number) => n * n, [1, 2, 3]), [1, 4, 9]);
   * ```
   *
   * @typeParam T The items' type.
   * @typeParam R The function's result.
   * @param fn The function.
   * @param iterable The items.
   * @param options Chunks, timeout, cancellation, progress.
   * @returns The results in the order of the items.
   * @throws {PoolClosedError} If the pool is closed, or terminated before the end.
   * @throws {WorkerExitError} If a worker ended before its chunk did.
   * @throws {TypeError} If `fn`, or the action of a barrier in an item, is not a
   * function that can be sent, `iterable` is not iterable, or an option not of its
   * type.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`, or
   * `options.chunkSize` not a positive integer.
   * @throws {DOMException} A `TimeoutError` if the time runs out; a
   * `DataCloneError` if an item or a result cannot be sent.
   * @throws What the function threw first, or the signal's reason.
   */
  map<T, R>(
    fn: (item: T) => R,
    iterable: Input<T>,
    options: MapOptions = {},
  ): Promise<Awaited<R>[]> {
    try {
      return this.#map("map", fn, iterable, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * As {@linkcode Pool.map}, but returns an {@linkcode AsyncResult} at once.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ProcessPool(2);
   * assertEquals(await pool.mapAsync((n: number) => -n, [1, 2]), [-1, -2]);
   * ```
   *
   * @typeParam T The items' type.
   * @typeParam R The function's result.
   * @param fn The function.
   * @param iterable The items.
   * @param options As of `map`, and callbacks.
   * @returns The results, under way.
   * @throws {PoolClosedError} If the pool is closed.
   * @throws {TypeError} If `fn` is not a function that can be sent, `iterable` not
   * iterable, or an option not of its type.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`, or
   * `options.chunkSize` not a positive integer.
   */
  mapAsync<T, R>(
    fn: (item: T) => R,
    iterable: Input<T>,
    options: MapAsyncOptions<Awaited<R>> = {},
  ): AsyncResult<Awaited<R>[]> {
    checkCallbacks(options, "map function");
    return asyncResultOf(this.#map("map", fn, iterable, options), options);
  }

  /**
   * Calls a function on each list of arguments.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ProcessPool(2);
   * const power = (base: number, exponent: number) => base ** exponent;
   * assertEquals(await pool.starmap(power, [[2, 3], [3, 2]]), [8, 9]);
   * ```
   *
   * @typeParam A The function's parameters.
   * @typeParam R The function's result.
   * @param fn The function.
   * @param iterable The lists of arguments.
   * @param options As of `map`.
   * @returns The results in the order of the lists.
   * @throws As {@linkcode Pool.map} does.
   */
  starmap<A extends unknown[], R>(
    fn: (...args: A) => R,
    iterable: Input<Readonly<A>>,
    options: MapOptions = {},
  ): Promise<Awaited<R>[]> {
    try {
      return this.#map("starmap", fn, iterable, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * As {@linkcode Pool.starmap}, but returns an {@linkcode AsyncResult} at once.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ProcessPool(2);
   * const add = (a: number, b: number) => a + b;
   * assertEquals(await pool.starmapAsync(add, [[1, 2], [3, 4]]), [3, 7]);
   * ```
   *
   * @typeParam A The function's parameters.
   * @typeParam R The function's result.
   * @param fn The function.
   * @param iterable The lists of arguments.
   * @param options As of `mapAsync`.
   * @returns The results, under way.
   * @throws As {@linkcode Pool.mapAsync} does.
   */
  starmapAsync<A extends unknown[], R>(
    fn: (...args: A) => R,
    iterable: Input<Readonly<A>>,
    options: MapAsyncOptions<Awaited<R>> = {},
  ): AsyncResult<Awaited<R>[]> {
    checkCallbacks(options, "starmap function");
    return asyncResultOf(this.#map("starmap", fn, iterable, options), options);
  }

  /**
   * Calls a function on each item, and gives the results one by one in the
   * order of the items.
   *
   * It begins to read at the first `next()`, and never reads more than four
   * chunks a process ahead of the consumer. Leaving the loop stops the reading,
   * drops what has not begun, and closes the source without waiting for it. If the
   * source throws as it is closed, so does the loop, unless an error was why it
   * ended; if it rejects, that is an uncaught error. Without a loop, leave by
   * `return()`: until then the pool keeps the iteration.
   *
   * An iteration that has begun goes on after `close()`, and `join()` waits until it
   * has ended or was left. One that has not begun by then rejects at its first
   * `next()` with a {@linkcode PoolClosedError}.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ProcessPool(2);
   * function* naturals() {
   *   for (let n = 0;; n++) yield n;
   * }
   * for await (const square of pool.imap((n: number) => n * n, naturals())) {
   *   if (square > 50) {
   *     assertEquals(square, 64);
   *     break;
   *   }
   * }
   * ```
   *
   * @typeParam T The items' type.
   * @typeParam R The function's result.
   * @param fn The function.
   * @param iterable The items.
   * @param options As of `map`; the timeout counts from each `next()`.
   * @returns The results; `next()` rejects as {@linkcode Pool.map} does, also when
   * the time runs out, and that ends the iteration and its work.
   * @throws {PoolClosedError} If the pool is closed.
   * @throws {TypeError} If `fn` is not a function that can be sent, `iterable` not
   * iterable, or an option not of its type.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`, or
   * `options.chunkSize` not a positive integer.
   * @see {@link https://docs.python.org/3/library/multiprocessing.html#multiprocessing.pool.Pool.imap}
   */
  imap<T, R>(
    fn: (item: T) => R,
    iterable: Input<T>,
    options: MapOptions = {},
  ): AsyncIterableIterator<Awaited<R>> {
    return this.#stream(true, fn, iterable, options);
  }

  /**
   * As {@linkcode Pool.imap}, but in the order of completion. Of results that arrive
   * while this thread is busy, small plain values keep that order; all others (maps,
   * typed arrays, many objects in one) keep it only among those of the same worker.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ProcessPool(2);
   * const found: number[] = [];
   * for await (const n of pool.imapUnordered((n: number) => n * n, [1, 2, 3])) {
   *   found.push(n);
   * }
   * assertEquals(found.sort(), [1, 4, 9]);
   * ```
   *
   * @typeParam T The items' type.
   * @typeParam R The function's result.
   * @param fn The function.
   * @param iterable The items.
   * @param options As of `imap`.
   * @returns The results.
   * @throws As {@linkcode Pool.imap} does.
   */
  imapUnordered<T, R>(
    fn: (item: T) => R,
    iterable: Input<T>,
    options: MapOptions = {},
  ): AsyncIterableIterator<Awaited<R>> {
    return this.#stream(false, fn, iterable, options);
  }

  /**
   * Takes no further call; what was submitted finishes.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * const pool = new ProcessPool(1);
   * const results = pool.map((n: number) => n * n, [1, 2, 3]);
   * pool.close();
   * await pool.join();
   * assertEquals(await results, [1, 4, 9]);
   * ```
   */
  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closed";
    if (this.#readers.size === 0) this.#executor.close();
  }

  /**
   * Ends at once: every call that has not ended rejects with a
   * {@linkcode PoolClosedError}. That is no unhandled rejection if nobody awaits it,
   * as the program itself has asked for it.
   *
   * @example Usage
   * ```ts
   * import { PoolClosedError, ProcessPool } from "@multi/processing";
   * import { assertRejects } from "@std/assert";
   *
   * const pool = new ProcessPool(1);
   * const endless = pool.apply(() => new Promise(() => {}));
   * pool.terminate();
   * await assertRejects(() => endless, PoolClosedError);
   * ```
   */
  terminate(): void {
    if (this.#state === "terminated") return;
    this.#state = "terminated";
    const error = new PoolClosedError(
      "Cannot finish call as the pool was terminated before it ended: await " +
        "its result before, or end the pool by close() and join()",
    );
    expectError(error);
    for (const end of [...this.#readers]) end(error);
    this.#executor.terminate(error);
  }

  /**
   * Waits until all workers are gone; by then every result is ready. It also waits for
   * an iteration that has begun and has more to read than it reads ahead: take its
   * results, or leave it by `return()`.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assert } from "@std/assert";
   *
   * const pool = new ProcessPool(1);
   * const result = pool.applyAsync(() => 1);
   * pool.close();
   * await pool.join();
   * assert(result.ready());
   * ```
   *
   * @throws {Error} If the pool was neither closed nor terminated.
   */
  async join(): Promise<void> {
    if (this.#state === "open") {
      throw new Error(
        "Cannot join pool as it is open: call close() or terminate() first",
      );
    }
    await this.#executor.join();
  }

  /**
   * Counts what the pool has done, and what it does now.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ProcessPool(1);
   * await pool.apply(() => 1);
   * assertEquals(pool.stats().completed, 1);
   * ```
   *
   * @returns Numbers of this moment.
   */
  stats(): PoolStats {
    return { processes: this.#processes, ...this.#executor.stats() };
  }

  /**
   * Terminates the pool and waits until it is gone, as Python's `with` does. So write
   * `return await pool.apply(...)` in a block with `await using`: with `return` alone
   * the pool is terminated before the call has ended.
   *
   * @example Usage
   * ```ts
   * import { ProcessPool } from "@multi/processing";
   *
   * await using pool = new ProcessPool(1);
   * await pool.apply(() => 1);
   * ```
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.terminate();
    await this.join();
  }

  #apply<R>(
    fn: AnyFunction,
    args: readonly unknown[] = [],
    options: ApplyOptions,
    checksFirst = false,
  ): Promise<R> {
    if (this.#state !== "open") throw closedError();
    const action = "apply function";
    checkFunction(fn, "fn", action);
    if (checksFirst) this.#executor.check(fn); // else it rejects when it is sent
    checkArray(args, "args", action);
    checkOptions(options, action, "{ timeout: 1000 }");
    const { transfer, transferResult } = options;
    checkFlag(transferResult, "transferResult", action);
    if (transfer !== undefined) checkTransfer(transfer, action);
    const limits = checkLimits(options, action);
    const request: CallRequest = {
      kind: "apply",
      fn,
      payload: args,
      deadline: deadlineOf(limits),
      transfer: transfer && [...transfer], // it may be used again
      transferResult,
    };
    if (this.#state !== "open") throw closedError(); // by a getter of the options
    if (limits !== NO_LIMITS) {
      return this.#applyWithin(limits, request) as Promise<R>;
    }
    const call = new AwaitedCall(request);
    this.#executor.submit(call);
    return call.promise as Promise<R>;
  }

  #applyWithin(limits: Limits, request: CallRequest): Promise<unknown> {
    const applied = new Promise((resolve, reject) => {
      const action = () => `run ${nameOf(request.fn)}`;
      const none = reachedAtOnce(limits, action);
      if (none) return reject(none.error);
      const call = new CallbackCall(request, (outcome) => {
        unwatch();
        if (outcome.ok) resolve(outcome.value);
        else if (outcome.late) reject(timeoutError(action(), limits.timeout));
        else {
          ignoreExpected(outcome.error, () => applied);
          reject(outcome.error);
        }
      });
      const unwatch = watchLimits(limits, action, (error) => {
        unwatch();
        reject(error);
        this.#executor.giveUp(new Set([call]), true);
      });
      try {
        this.#executor.submit(call);
      } catch (error) { // the stack is at its end
        unwatch();
        throw error;
      }
    });
    return applied;
  }

  #map<R>(
    kind: "map" | "starmap",
    fn: AnyFunction,
    items: Input<unknown>,
    options: MapOptions,
  ): Promise<R[]> {
    if (this.#state !== "open") throw closedError();
    const checked = checkMapOptions(kind, fn, items, options);
    this.#executor.check(fn);
    return mapAll(this.#host(), { kind, fn, items, ...checked }) as Promise<
      R[]
    >;
  }

  #stream<R>(
    ordered: boolean,
    fn: AnyFunction,
    items: Input<unknown>,
    options: MapOptions,
  ): AsyncIterableIterator<R> {
    if (this.#state !== "open") throw closedError();
    const kind = ordered ? "imap" : "imapUnordered";
    const checked = checkMapOptions(kind, fn, items, options);
    this.#executor.check(fn);
    return new Stream(this.#host(), {
      ordered,
      fn,
      items,
      ...checked,
      chunkSize: checked.chunkSize ?? 1,
    }) as AsyncIterableIterator<R>;
  }

  /** What a call over many items sees of this pool. */
  #host(): Host {
    return {
      executor: this.#executor,
      processes: this.#processes,
      register: (end) => {
        if (this.#state !== "open") throw closedError();
        this.#readers.add(end);
        return () => {
          if (!this.#readers.delete(end)) return;
          if (this.#state === "closed" && this.#readers.size === 0) {
            this.#executor.close();
          }
        };
      },
    };
  }
}

/**
 * Runs functions in parallel, in workers, like Python's `multiprocessing.Pool`.
 *
 * The functions are self-contained, and sent as their source text, or marked
 * with `task`. Arguments and results travel by structured clone; events,
 * barriers and tasks may stand anywhere in them.
 *
 * - No call is ever lost or run twice. A worker that dies is replaced; the call
 *   that it had begun rejects with a {@linkcode WorkerExitError}, the others run
 *   elsewhere.
 * - A call that times out or is aborted is really stopped, and its worker
 *   replaced. Deno cannot stop a thread that is busy: there a call with a
 *   `timeout` runs under a watchdog in the worker up to its first `await`, and the
 *   worker lives on, unless it has children of its own; a loop after that, or one
 *   that a `signal` should stop, is abandoned.
 * - An error in a call arrives with its class (one of ECMAScript's, a
 *   `DOMException` or one of this module's, else `Error`), its name, message,
 *   cause, own properties and the worker's stack.
 * - Calls begin in the order of their submission, each as soon as a worker is free
 *   and this thread sees that; while it blocks in a `waitSync()` it looks at least
 *   every 10 ms. Some calls are sent ahead of that, and may begin before older ones:
 *   those of functions that are known to take less than 1.5 ms, by about as much, and
 *   any call while this thread keeps being late. None is sent ahead any more once the
 *   initializer or a call was given an event, a barrier or shared memory, as it may
 *   wait for another call then.
 * - If the system has no thread to spare for a worker, the pool goes on with those
 *   it has and asks again and again. With none left, calls fail with the system's
 *   error after some three seconds.
 * - A pool with nothing to do does not keep the program from ending; nor does what
 *   runs on after a `map` that failed, or an iteration that was left.
 * - A pool keeps each function that it was given until it ends, once for each source
 *   text: do not generate functions whose text differs each time.
 *
 * @example Usage
 * ```ts
 * import { ProcessPool } from "@multi/processing";
 * import { assertEquals } from "@std/assert";
 *
 * await using pool = new ProcessPool(2);
 * assertEquals(await pool.map((n: number) => n * n, [1, 2, 3]), [1, 4, 9]);
 * ```
 *
 * @see {@link https://docs.python.org/3/library/multiprocessing.html#module-multiprocessing.pool}
 */
export class ProcessPool extends Pool {
  /**
   * Creates a pool and starts its workers: with an initializer all of them, else one,
   * and the others as soon as there are calls for them, or after 50 ms.
   *
   * @param processes How many workers; the number of processors by default.
   * @param options Initializer, task limit, permissions, program and name of the
   * workers.
   * @throws {RangeError} If `processes` or `maxTasksPerChild` is not a positive
   * integer.
   * @throws {TypeError} If an option is not of its type, the initializer cannot
   * be sent, or `permissions` is given where the runtime cannot bound a thread.
   * @throws {DOMException} A `DataCloneError` if `initargs` cannot be sent.
   * @throws {Error} If the system has no thread to spare for the first worker, or for
   * one of those with an initializer.
   */
  constructor(
    processes: number = cores,
    // deno-lint-ignore no-explicit-any
    options: ProcessPoolOptions<any[]> = {},
  ) {
    const action = "create process pool";
    checkCount(processes, "processes", action);
    checkOptions(options, action, "{ initializer: setUp }");
    const { maxTasksPerChild, name } = options;
    if (maxTasksPerChild !== undefined) {
      checkCount(maxTasksPerChild, "maxTasksPerChild", action);
    }
    const permissions = checkPermissions(options.permissions, action);
    const workerUrl = checkWorkerUrl(options.workerUrl, action);
    checkName(name, action);
    const initializer = checkInitializer(options, action);
    super(
      processes,
      openDispatcher(initializer, {
        processes,
        name: name ?? `ProcessPool-${nextNumber(Counter.PoolName)}`,
        maxTasksPerChild: maxTasksPerChild ?? Infinity,
        permissions,
        workerUrl,
      }),
    );
  }
}

/**
 * The counterpart of Python's `multiprocessing.dummy.Pool`: the same interface
 * as {@linkcode ProcessPool}, run in the calling thread. It gives concurrency
 * for I/O and no parallelism, takes any closure, and passes everything by
 * reference.
 *
 * A call that timed out or was aborted keeps its place until it settles;
 * `terminate()` and `join()` do not wait for it. One that blocks this thread past
 * its timeout rejects when it returns. `transfer` and what only workers
 * can have are ignored here, so that one kind of pool can take the place of the
 * other.
 *
 * @example Usage
 * ```ts
 * import { ThreadPool } from "@multi/processing";
 * import { assertEquals } from "@std/assert";
 *
 * await using pool = new ThreadPool(4);
 * const factor = 2;
 * const doubled = await pool.map(async (n: number) => await n * factor, [1, 2]);
 * assertEquals(doubled, [2, 4]);
 * ```
 *
 * @see {@link https://docs.python.org/3/library/multiprocessing.html#module-multiprocessing.dummy}
 */
export class ThreadPool extends Pool {
  /**
   * Creates a pool.
   *
   * @param processes How many calls may run at once; the number of processors by
   * default.
   * @param options An initializer; the other options of a {@linkcode ProcessPool}
   * are ignored here.
   * @throws {RangeError} If `processes` is not a positive integer.
   * @throws {TypeError} If `initializer` is not a function, or
   * `initargs` is not an array.
   */
  constructor(
    processes: number = cores,
    // deno-lint-ignore no-explicit-any
    options: ThreadPoolOptions<any[]> | ProcessPoolOptions<any[]> = {},
  ) {
    const action = "create thread pool";
    checkCount(processes, "processes", action);
    checkOptions(options, action, "{ initializer: setUp }");
    const initializer = checkInitializer(options, action);
    super(processes, new LocalExecutor(processes, initializer));
  }
}

function closedError(): PoolClosedError {
  return new PoolClosedError(
    "Cannot submit call as the pool is closed: create another one",
  );
}

function checkInitializer(
  options: ThreadPoolOptions<unknown[]>,
  action: string,
): { fn: AnyFunction; args: unknown[] } | undefined {
  const { initializer, initargs = [] } = options;
  checkArray(initargs, "initargs", action);
  if (initializer === undefined) return undefined;
  checkFunction(initializer, "initializer", action);
  return { fn: initializer, args: initargs };
}

/** Of most calls. */
const NO_LIMITS: Limits = { timeout: Infinity };

function openDispatcher(
  initializer: { fn: AnyFunction; args: unknown[] } | undefined,
  options: Omit<CrewOptions, "initializer">,
): Dispatcher {
  if (initializer === undefined) {
    return new Dispatcher({ ...options, initializer });
  }
  const { fn, args } = initializer;
  const owner = nameOf(fn);
  try {
    const wire = {
      fn: describeToRun(fn),
      args: encode(args, "initargs", owner),
    };
    return new Dispatcher({ ...options, initializer: wire });
  } catch (error) {
    throw located(error, args, "initargs", owner);
  }
}

function checkLimits(options: CallLimits, action: string): Limits {
  const { signal, timeout } = options;
  if (signal === undefined && timeout === undefined) return NO_LIMITS;
  return {
    timeout: checkTimeout(timeout, action),
    signal: checkSignal(signal, action),
  };
}

function checkMapOptions(
  kind: string,
  fn: AnyFunction,
  items: unknown,
  options: MapOptions,
): ItemsOptions {
  const action = `${kind} function`;
  checkFunction(fn, "fn", action);
  if (
    items === null || items === undefined ||
    !(Symbol.iterator in Object(items) || Symbol.asyncIterator in Object(items))
  ) {
    const requirement = "an iterable or async iterable, such as an array";
    refuse(action, "its input", requirement, items);
  }
  checkOptions(options, action, "{ chunkSize: 100 }");
  const { chunkSize, transferResult, onProgress } = options;
  if (chunkSize !== undefined) checkCount(chunkSize, "chunkSize", action);
  checkFlag(transferResult, "transferResult", action);
  if (onProgress !== undefined) {
    checkFunction(onProgress, "onProgress", action);
  }
  const limits = checkLimits(options, action);
  return {
    chunkSize,
    transferResult,
    onProgress: onProgress && inContext(onProgress),
    limits,
  };
}

function checkCallbacks(
  options: { callback?: unknown; errorCallback?: unknown },
  action: string,
): void {
  checkOptions(options, action, "{ callback: console.log }");
  for (const name of ["callback", "errorCallback"] as const) {
    if (options[name] !== undefined) {
      checkFunction(options[name], name, action);
    }
  }
}

function asyncResultOf<T>(
  promise: Promise<T>,
  options: {
    callback?: ((value: T) => unknown) | undefined;
    errorCallback?: ((error: unknown) => unknown) | undefined;
  },
): AsyncResult<T> {
  const { callback, errorCallback } = options;
  const result = new AsyncResult(promise);
  promise.then(
    (value) => callBack(callback, value),
    (error) => callBack(errorCallback, error),
  );
  return result;
}
