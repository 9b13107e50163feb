/**
 * The result of a call that is under way.
 *
 * @module
 */

import { timeoutOf } from "./_internal/check.ts";
import { timeoutError } from "./_internal/errors.ts";
import { showState } from "./_internal/inspect.ts";
import { Latch } from "./_internal/latch.ts";
import { realm } from "./_internal/realm.ts";

/** Options of {@linkcode AsyncResult.get} and {@linkcode AsyncResult.wait}. */
export interface AsyncResultWaitOptions {
  /**
   * Milliseconds after which the wait gives up; `0` polls once. The call goes
   * on.
   *
   * @default {Infinity}
   */
  timeout?: number | undefined;
}

/**
 * The result of a call that is under way, like Python's
 * `multiprocessing.pool.AsyncResult`. It can be awaited, and `get()` gives a
 * promise, with `catch` and `finally`. A failure that nobody looks at is no
 * unhandled rejection.
 *
 * @example Usage
 * ```ts
 * import { ThreadPool } from "@multi/processing";
 * import { assert, assertEquals } from "@std/assert";
 *
 * await using pool = new ThreadPool(1);
 * const result = pool.applyAsync((n: number) => n * 2, [21]);
 * assertEquals(await result, 42);
 * assert(result.successful());
 * ```
 *
 * @typeParam T The result's type.
 * @see {@link https://docs.python.org/3/library/multiprocessing.html#multiprocessing.pool.AsyncResult}
 */
export class AsyncResult<T> implements PromiseLike<T> {
  readonly #promise: Promise<T>;
  /** Whether it has succeeded, once it has ended. */
  readonly #success = new Latch<boolean>();

  static {
    showState(this, (it) => {
      if (!(#success in it)) return {};
      const successful = it.#success.content?.value;
      if (successful === undefined) return { ready: false };
      return { ready: true, successful };
    });
  }

  /**
   * Made by pools.
   *
   * @param promise What the call gives.
   */
  constructor(promise: Promise<T>) {
    this.#promise = promise;
    promise.then(
      () => this.#success.open(true),
      () => this.#success.open(false),
    );
    realm.unsendable.set(this, "an AsyncResult");
  }

  /**
   * Makes `await` work.
   *
   * @example Usage
   * ```ts
   * import { ThreadPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ThreadPool(1);
   * assertEquals(await pool.applyAsync(() => 1).then((n) => n + 1), 2);
   * ```
   *
   * @typeParam A What `onFulfilled` returns.
   * @typeParam B What `onRejected` returns.
   * @param onFulfilled Is given the value.
   * @param onRejected Is given the error.
   * @returns A promise of what they return.
   */
  then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#promise.then(onFulfilled, onRejected);
  }

  /**
   * Waits for the value.
   *
   * @example Usage
   * ```ts
   * import { ThreadPool } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new ThreadPool(1);
   * assertEquals(await pool.applyAsync(() => 1).get({ timeout: 1000 }), 1);
   * ```
   *
   * @param options How long to wait.
   * @returns The value.
   * @throws {DOMException} A `TimeoutError` if the time runs out.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`.
   * @throws {TypeError} If an option is not of its type.
   * @throws What the call failed with.
   */
  async get(options: AsyncResultWaitOptions = {}): Promise<T> {
    const timeout = timeoutOf(options, "get result");
    if (!await this.wait({ timeout })) {
      throw timeoutError("get result", timeout);
    }
    return await this.#promise;
  }

  /**
   * Waits until the call has ended, in whatever way.
   *
   * @example Usage
   * ```ts
   * import { ThreadPool } from "@multi/processing";
   * import { assert } from "@std/assert";
   *
   * await using pool = new ThreadPool(1);
   * assert(await pool.applyAsync(() => 1).wait());
   * ```
   *
   * @param options How long to wait.
   * @returns `true` once it has ended, `false` if the time ran out.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`.
   * @throws {TypeError} If an option is not of its type.
   */
  async wait(options: AsyncResultWaitOptions = {}): Promise<boolean> {
    const timeout = timeoutOf(options, "wait for result");
    return await this.#success.wait({ timeout }) !== undefined;
  }

  /**
   * Tells whether the call has ended.
   *
   * @example Usage
   * ```ts
   * import { ThreadPool } from "@multi/processing";
   * import { assertFalse } from "@std/assert";
   *
   * await using pool = new ThreadPool(1);
   * assertFalse(pool.applyAsync(() => 1).ready());
   * ```
   *
   * @returns Whether it has.
   */
  ready(): boolean {
    return this.#success.content !== undefined;
  }

  /**
   * Tells whether the call has succeeded.
   *
   * @example Usage
   * ```ts
   * import { ThreadPool } from "@multi/processing";
   * import { assert } from "@std/assert";
   *
   * await using pool = new ThreadPool(1);
   * const result = pool.applyAsync(() => 1);
   * await result.wait();
   * assert(result.successful());
   * ```
   *
   * @returns Whether it has.
   * @throws {Error} If the call has not ended.
   */
  successful(): boolean {
    const { content } = this.#success;
    if (content === undefined) {
      throw new Error(
        "Cannot tell whether the call was successful as it has not ended: " +
          "await wait() first",
      );
    }
    return content.value;
  }
}
