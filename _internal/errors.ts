/**
 * The error classes of this module.
 *
 * @module
 */

import { brand } from "./brand.ts";

/**
 * The barrier was broken, aborted or reset while a party waited, or is broken.
 *
 * @example Usage
 * ```ts
 * import { Barrier, BrokenBarrierError } from "@multi/processing";
 * import { assertRejects } from "@std/assert";
 *
 * const barrier = new Barrier(2);
 * barrier.abort();
 * await assertRejects(() => barrier.wait(), BrokenBarrierError);
 * ```
 *
 * @see {@link https://docs.python.org/3/library/threading.html#threading.BrokenBarrierError}
 */
export class BrokenBarrierError extends Error {
  /** The name of the class. */
  override name = "BrokenBarrierError";
}

/**
 * The pool does not take calls any more, or was terminated before the call
 * ended.
 *
 * @example Usage
 * ```ts
 * import { PoolClosedError, ProcessPool } from "@multi/processing";
 * import { assertThrows } from "@std/assert";
 *
 * const pool = new ProcessPool(1);
 * pool.close();
 * assertThrows(() => pool.applyAsync(() => 1), PoolClosedError);
 * await pool.join();
 * ```
 */
export class PoolClosedError extends Error {
  /** The name of the class. */
  override name = "PoolClosedError";
}

/**
 * The worker that ran the call has ended before the call did. If an error outside the
 * call was why (thrown in a timer, say, or a rejection that nobody caught), that is
 * its `cause`, and was written to standard error, under the worker's name.
 *
 * @example Usage
 * ```ts
 * import { ProcessPool, WorkerExitError } from "@multi/processing";
 * import { assertRejects } from "@std/assert";
 *
 * await using pool = new ProcessPool(1);
 * await assertRejects(() => pool.apply(() => self.close()), WorkerExitError);
 * ```
 */
export class WorkerExitError extends Error {
  /** The name of the class. */
  override name = "WorkerExitError";
  /** The worker's exit code. */
  readonly exitCode: number;

  /**
   * Creates the error.
   *
   * @param message What happened.
   * @param exitCode The worker's exit code.
   * @param options The cause, if one is known.
   */
  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** The classes of this module, by what consoles and others call them. */
export const OWN_ERRORS = {
  BrokenBarrierError,
  PoolClosedError,
  WorkerExitError,
};

for (const [name, value] of Object.entries(OWN_ERRORS)) brand(value, name);

/**
 * The error of a wait that took too long.
 *
 * @param action What was tried.
 * @param timeout Milliseconds.
 * @returns A `DOMException` named `TimeoutError`.
 */
export function timeoutError(action: string, timeout: number): DOMException {
  return new DOMException(
    `Cannot ${action} within ${timeout} ms`,
    "TimeoutError",
  );
}
