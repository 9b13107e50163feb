/**
 * A point that threads pass together.
 *
 * @module
 */

import {
  type Arrival,
  BarrierState,
  type Place,
  WORD,
} from "./_internal/barrier_state.ts";
import { brand } from "./_internal/brand.ts";
import {
  checkCount,
  checkFunction,
  checkOptions,
  checkSignal,
  checkTimeout,
  timeoutOf,
} from "./_internal/check.ts";
import {
  adopt,
  type BarrierWire,
  newSharedId,
  register,
  shareable,
} from "./_internal/shared.ts";
import {
  type CallableWire,
  describe,
  reviveSync,
} from "./_internal/callable.ts";
import { BrokenBarrierError, timeoutError } from "./_internal/errors.ts";
import { showState } from "./_internal/inspect.ts";
import { isThenable } from "./_internal/promises.ts";
import { now } from "./_internal/runtime/loop.ts";
import {
  checkMayBlock,
  Doorbell,
  leaveIfTerminated,
} from "./_internal/wait.ts";

export { BrokenBarrierError };

/** Options of {@linkcode Barrier}. */
export interface BarrierOptions {
  /**
   * Runs once a cycle, in the thread of the party that arrives last, before anyone
   * is released; it may be async, and gets no arguments. In the thread that made the
   * barrier it may be any closure. To other threads it is sent like every function:
   * if it needs anything there, mark it with `task`.
   */
  action?: (() => unknown) | undefined;
  /**
   * The timeout, in milliseconds, of waits that name none.
   *
   * @default {Infinity}
   */
  timeout?: number | undefined;
}

/** Options of {@linkcode Barrier.wait}. */
export interface BarrierWaitOptions {
  /**
   * Milliseconds after which this party gives up, which breaks the barrier; with
   * `0` at once, unless it is the last to arrive.
   *
   * @default The barrier's own timeout.
   */
  timeout?: number | undefined;
  /** Makes this party give up, which breaks the barrier. */
  signal?: AbortSignal | undefined;
}

/** Options of {@linkcode Barrier.waitSync}. */
export interface BarrierWaitSyncOptions {
  /**
   * Milliseconds after which this party gives up, which breaks the barrier; with
   * `0` at once, unless it is the last to arrive.
   *
   * @default The barrier's own timeout.
   */
  timeout?: number | undefined;
}

const ACTION = "wait at barrier";

/**
 * Lets a fixed number of parties wait for each other, again and again, like
 * Python's `threading.Barrier`. It may be an argument or a result of
 * everything that runs in another thread, and arrives as the same barrier.
 *
 * - Each cycle gives every party an index of its own, 0 to `parties - 1`.
 * - A party that times out or is aborted breaks the barrier: everyone else
 *   gets a {@linkcode BrokenBarrierError} until `reset()`. From the moment the
 *   last party has arrived no timeout and no signal fails that cycle any more; a
 *   party of the next one that gives up during the action breaks the barrier
 *   after it.
 * - More threads than parties may use it; they pass in groups.
 * - A thread that ends while it waits stays counted: only a timeout, `abort()` or
 *   `reset()` frees the others. No timeout does if it ends while it runs the action.
 * - It remembers its last 8,192 cycles that broke or were reset. A party that does
 *   not get to run while more of them do may be told that its own broke as well.
 *
 * @example Two parties
 * ```ts
 * import { Barrier } from "@multi/processing";
 * import { assertEquals } from "@std/assert";
 *
 * const barrier = new Barrier(2);
 * const indices = await Promise.all([barrier.wait(), barrier.wait()]);
 * assertEquals(indices, [0, 1]);
 * ```
 *
 * @see {@link https://docs.python.org/3/library/threading.html#barrier-objects}
 */
export class Barrier {
  readonly #parties: number;
  readonly #action: (() => unknown) | undefined;
  readonly #timeout: number;
  readonly #state: BarrierState;
  readonly #bell: Doorbell;
  /** Its number on the wire; `0` before it is sent. */
  #id: number;
  /** The action as it came here, if it did: as such it goes on. */
  readonly #sentAction: CallableWire | undefined;

  static {
    showState(this, (it) => {
      if (!(#state in it)) return {};
      const { parties, nWaiting, broken } = it;
      return { parties, nWaiting, broken };
    });
  }

  /**
   * Creates a barrier.
   *
   * @param parties How many arrivals make a cycle, at least 1.
   * @param options An action and a default timeout.
   * @throws {RangeError} If `parties` is not a positive integer, or `timeout`
   * negative or `NaN`.
   * @throws {TypeError} If `action` is not a function, or `timeout` not a number.
   * @throws {Error} If `SharedArrayBuffer` is missing, as in a page that is not
   * cross-origin isolated.
   */
  constructor(parties: number, options: BarrierOptions = {}) {
    const wire = adopt("barrier");
    if (wire) {
      const { action } = wire;
      this.#parties = wire.parties;
      this.#timeout = wire.timeout;
      this.#action = action && reviveSync(action);
      this.#state = new BarrierState(wire.parties, wire.cells);
    } else {
      const making = "create barrier";
      checkOptions(options, making, "{ action: prepare }");
      this.#parties = checkCount(parties, "parties", making);
      this.#timeout = checkTimeout(options.timeout, making);
      if (options.action !== undefined) {
        checkFunction(options.action, "action", making);
      }
      this.#action = options.action;
      this.#state = new BarrierState(parties);
    }
    this.#bell = new Doorbell(this.#state.cells, WORD);
    this.#id = wire?.id ?? 0;
    this.#sentAction = wire?.action;
    shareable(this, Barrier.#toWire);
  }

  static #toWire(barrier: Barrier): BarrierWire {
    const action = barrier.#action;
    return {
      kind: "barrier",
      id: barrier.#id ||= newSharedId(barrier),
      cells: barrier.#state.cells,
      parties: barrier.#parties,
      timeout: barrier.#timeout,
      action: barrier.#sentAction ?? (action && describe(action)),
    };
  }

  /** How many arrivals make a cycle. */
  get parties(): number {
    return this.#parties;
  }

  /**
   * How many parties wait now: all of them while the action runs, and `0` when the
   * barrier is broken.
   */
  get nWaiting(): number {
    return this.#state.waiting;
  }

  /** Whether the barrier is broken, until `reset()`. */
  get broken(): boolean {
    return this.#state.broken;
  }

  /**
   * Waits until all parties have arrived, without blocking the thread.
   *
   * @example Usage
   * ```ts
   * import { Barrier, Process } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * const barrier = new Barrier(2);
   * const other = new Process(async (barrier: Barrier) => {
   *   await barrier.wait();
   * }, { args: [barrier] });
   * other.start();
   * await barrier.wait();
   * assertEquals(await other.join(), 0);
   * ```
   *
   * @param options Timeout and cancellation of this party.
   * @returns The arrival index, 0 to `parties - 1`.
   * @throws {BrokenBarrierError} If the barrier is broken or reset.
   * @throws {DOMException} A `TimeoutError` if the time runs out.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`.
   * @throws {TypeError} If an option is not of its type.
   * @throws The signal's reason, if `options.signal` aborts first.
   * @throws What the action threw, if this party ran it.
   */
  async wait(options: BarrierWaitOptions = {}): Promise<number> {
    const timeout = this.#checkTimeout(options);
    const signal = checkSignal(options.signal, ACTION);
    const left = countDown(timeout);
    signal?.throwIfAborted();
    leaveIfTerminated();
    let arrival = this.#arrive();
    const late = () => signal?.aborted || left() === 0;
    while (arrival.kind === "outside") {
      if (!late()) {
        await this.#bell.wait(this.#notActing, { timeout: left(), signal });
      }
      if (late() && this.#state.giveUpOutside()) {
        signal?.throwIfAborted();
        throw timeoutError(ACTION, timeout);
      }
      // Also if it is late by now: that breaks the barrier from inside.
      arrival = this.#arrive();
    }
    if (arrival.kind === "broken") throw brokenError();
    const { place } = arrival;
    if (arrival.kind === "waiting") {
      const ended = () => this.#state.outcome(place);
      let gaveUp: boolean | undefined;
      const giveUp = () => gaveUp ??= this.#state.giveUp(place);
      const isOver = signal?.aborted || timeout === 0; // before this returns
      let outcome = isOver ? undefined : await this.#bell.wait(ended, {
        timeout: left(),
        signal,
        onEnd: giveUp,
      });
      if (outcome === undefined) {
        if (giveUp()) {
          signal?.throwIfAborted();
          throw timeoutError(ACTION, timeout);
        }
        outcome = await this.#bell.wait(ended, { timeout: Infinity });
      }
      if (outcome === "broken") {
        // Maybe another party with the same signal was the first to give up.
        signal?.throwIfAborted();
        throw brokenError();
      }
    } else if (arrival.kind === "acting") {
      try {
        const action = this.#action!; // called without `this`
        const result = action();
        // What is over at once releases the others at once.
        if (isThenable(result)) await this.#untilOver(result, place);
      } catch (error) {
        leaveIfTerminated();
        this.#state.endAction(place, "broken");
        throw error;
      }
      this.#endAction(place);
    }
    return place.index;
  }

  /**
   * Waits until all parties have arrived, and blocks the thread.
   *
   * @example Usage
   * ```ts
   * import { Barrier, Process } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * const barrier = new Barrier(2);
   * const other = new Process((barrier: Barrier) => {
   *   barrier.waitSync();
   * }, { args: [barrier] });
   * other.start();
   * barrier.waitSync();
   * assertEquals(await other.join(), 0);
   * ```
   *
   * @param options Timeout of this party.
   * @returns The arrival index, 0 to `parties - 1`.
   * @throws {BrokenBarrierError} If the barrier is broken or reset.
   * @throws {DOMException} A `TimeoutError` if the time runs out.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`.
   * @throws {TypeError} If an option is not of its type.
   * @throws {TypeError} If this thread may not block, as a browser's main
   * thread, or if the action returns a promise, which breaks the barrier.
   * @throws What the action threw, if this party ran it.
   */
  waitSync(options: BarrierWaitSyncOptions = {}): number {
    const timeout = this.#checkTimeout(options);
    const left = countDown(timeout);
    leaveIfTerminated();
    checkMayBlock(ACTION);
    let arrival = this.#arrive();
    while (arrival.kind === "outside") {
      this.#bell.waitSync(this.#notActing, left());
      if (left() === 0 && this.#state.giveUpOutside()) {
        throw timeoutError(ACTION, timeout);
      }
      arrival = this.#arrive();
    }
    if (arrival.kind === "broken") throw brokenError();
    const { place } = arrival;
    if (arrival.kind === "waiting") {
      const ended = () => this.#state.outcome(place);
      let outcome = this.#bell.waitSync(ended, left());
      if (outcome === undefined) {
        if (this.#state.giveUp(place)) throw timeoutError(ACTION, timeout);
        outcome = this.#bell.waitSync(ended, Infinity);
      }
      if (outcome === "broken") throw brokenError();
    } else if (arrival.kind === "acting") {
      try {
        const action = this.#action!;
        const result = action();
        if (isThenable(result)) {
          Promise.resolve(result).catch(() => {}); // this error says it all
          throw new TypeError(
            "Cannot wait at barrier with waitSync() as its action returned a " +
              "promise: use wait(), or an action that is not async",
          );
        }
      } catch (error) {
        leaveIfTerminated();
        this.#state.endAction(place, "broken");
        throw error;
      }
      this.#endAction(place);
    }
    return place.index;
  }

  /**
   * Makes the barrier usable again. Parties that wait get a
   * {@linkcode BrokenBarrierError}, as by {@linkcode Barrier.abort}.
   *
   * @example Usage
   * ```ts
   * import { Barrier } from "@multi/processing";
   * import { assertFalse } from "@std/assert";
   *
   * const barrier = new Barrier(2);
   * barrier.abort();
   * barrier.reset();
   * assertFalse(barrier.broken);
   * ```
   */
  reset(): void {
    leaveIfTerminated();
    this.#state.reset();
    this.#bell.ring(); // whoever ended the last cycle may have died before this
  }

  /**
   * Breaks the barrier: parties that wait, and those that come, get a
   * {@linkcode BrokenBarrierError} until `reset()`. So does the one that waits for
   * an async action, which goes on, but what comes of it is of no account any more.
   *
   * @example Usage
   * ```ts
   * import { Barrier } from "@multi/processing";
   * import { assert } from "@std/assert";
   *
   * const barrier = new Barrier(2);
   * barrier.abort();
   * assert(barrier.broken);
   * ```
   */
  abort(): void {
    leaveIfTerminated();
    this.#state.abort();
    this.#bell.ring(); // as in reset()
  }

  /** Waits for an action, or until `abort()` or `reset()` has ended its cycle. */
  async #untilOver(action: PromiseLike<unknown>, place: Place): Promise<void> {
    const ended = () => this.#state.isActing(place) ? undefined : true;
    const over = new AbortController();
    const { signal } = over;
    try {
      // The second one holds the program, too.
      await Promise.race([
        action,
        this.#bell.wait(ended, { timeout: Infinity, signal }),
      ]);
    } finally {
      over.abort();
    }
  }

  #arrive(): Arrival {
    const arrival = this.#state.arrive(this.#action !== undefined);
    // The first of a cycle too: whoever ended the last one may have died before.
    if (
      arrival.kind === "passed" ||
      (arrival.kind === "waiting" && arrival.place.index === 0)
    ) this.#bell.ring();
    return arrival;
  }

  /** Releases the others after the action, if nobody has ended the cycle. */
  #endAction(place: Place): void {
    leaveIfTerminated();
    if (!this.#state.endAction(place, "passed")) throw brokenError();
    this.#bell.ring();
  }

  readonly #notActing = (): true | undefined =>
    this.#state.acting ? undefined : true;

  #checkTimeout(options: { timeout?: number | undefined }): number {
    const timeout = timeoutOf(options, ACTION);
    return options.timeout === undefined ? this.#timeout : timeout;
  }
}

brand(Barrier, "Barrier");
register("barrier", () => new Barrier(1));

function brokenError(): BrokenBarrierError {
  return new BrokenBarrierError(
    "Cannot pass barrier as it is broken or was reset",
  );
}

/** Tells what is left of a time; the usual wait has no end, and needs no clock. */
function countDown(timeout: number): () => number {
  if (timeout === Infinity) return () => Infinity;
  const deadline = now() + timeout;
  return () => Math.max(0, deadline - now());
}
