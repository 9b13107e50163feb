/**
 * A flag that threads set, clear and wait for.
 *
 * @module
 */

import { brand } from "./_internal/brand.ts";
import { checkSignal, timeoutOf } from "./_internal/check.ts";
import { showState } from "./_internal/inspect.ts";
import { nextTurn } from "./_internal/runtime/loop.ts";
import { sharedCells } from "./_internal/runtime/memory.ts";
import {
  adopt,
  type EventWire,
  newSharedId,
  register,
  shareable,
} from "./_internal/shared.ts";
import {
  checkMayBlock,
  Doorbell,
  leaveIfTerminated,
} from "./_internal/wait.ts";

/** Options of {@linkcode Event.wait}. */
export interface EventWaitOptions {
  /**
   * Milliseconds after which the wait gives up; `0` polls once.
   *
   * @default {Infinity}
   */
  timeout?: number | undefined;
  /** Cancels this wait, and no other. */
  signal?: AbortSignal | undefined;
}

/** Options of {@linkcode Event.waitSync}. */
export interface EventWaitSyncOptions {
  /**
   * Milliseconds after which the wait gives up; `0` polls once.
   *
   * @default {Infinity}
   */
  timeout?: number | undefined;
}

/**
 * The word that is an event: the flag in the lowest bit, above it a count of
 * the `set()`s that raised the flag. Any thread changes it, in one step: `set`
 * raises a lowered flag and adds one to the count, `clear` lowers the flag. A
 * wait that finds the flag down remembers the word and is over as soon as it
 * has changed: the first change from there is a `set`, and after that the count
 * is never what it was, so a `clear` that follows at once takes no pulse away.
 * The count wraps after 2^31 pulses, which would have to pass while one thread
 * is asleep and never scheduled.
 */
const WORD = 0;
const FLAG = 1;

/**
 * A flag that any number of threads can set, clear and wait for, like Python's
 * `multiprocessing.Event`. It may be an argument or a result of
 * everything that runs in another thread, and arrives as the same event.
 *
 * - A `set()` releases every wait that began before it, in every thread, even
 *   when a `clear()` follows at once. Python's `wait()` may give `False` then.
 * - A pending wait keeps the program alive, and is woken without polling.
 *
 * @example Wait for another process
 * ```ts
 * import { Event, Process } from "@multi/processing";
 * import { assert } from "@std/assert";
 *
 * const ready = new Event();
 * const worker = new Process((ready: Event) => ready.set(), { args: [ready] });
 * worker.start();
 * assert(await ready.wait());
 * await worker.join();
 * ```
 *
 * @see {@link https://docs.python.org/3/library/threading.html#event-objects}
 */
export class Event {
  readonly #cells: Int32Array;
  readonly #bell: Doorbell;
  /** Its number on the wire; `0` before it is sent. */
  #id: number;

  static {
    showState(this, (it) => #cells in it ? { isSet: it.isSet() } : {});
  }

  /**
   * Creates an event whose flag is down.
   *
   * @throws {Error} If `SharedArrayBuffer` is missing, as in a page that is not
   * cross-origin isolated.
   */
  constructor() {
    const wire = adopt("event");
    this.#cells = wire?.cells ?? sharedCells(1, "event");
    this.#bell = new Doorbell(this.#cells, WORD);
    this.#id = wire?.id ?? 0;
    shareable(this, Event.#toWire);
  }

  static #toWire(event: Event): EventWire {
    const id = event.#id ||= newSharedId(event);
    return { kind: "event", id, cells: event.#cells };
  }

  /**
   * Tells whether the flag is up.
   *
   * @example Usage
   * ```ts
   * import { Event } from "@multi/processing";
   * import { assert, assertFalse } from "@std/assert";
   *
   * const event = new Event();
   * assertFalse(event.isSet());
   * event.set();
   * assert(event.isSet());
   * ```
   *
   * @returns `true` between a `set()` and the next `clear()`.
   */
  isSet(): boolean {
    leaveIfTerminated();
    return (Atomics.load(this.#cells, WORD) & FLAG) === FLAG;
  }

  /**
   * Raises the flag and releases every wait that has begun.
   *
   * @example Usage
   * ```ts
   * import { Event } from "@multi/processing";
   * import { assert } from "@std/assert";
   *
   * const event = new Event();
   * event.set();
   * assert(event.isSet());
   * ```
   */
  set(): void {
    leaveIfTerminated();
    for (;;) {
      const word = Atomics.load(this.#cells, WORD);
      if (word & FLAG) break;
      const next = word + 3; // one more pulse, flag up
      if (Atomics.compareExchange(this.#cells, WORD, word, next) === word) {
        break;
      }
    }
    // Also when the flag was up: whoever raised it may have died before this.
    this.#bell.ring();
  }

  /**
   * Lowers the flag. Waits that began before the last `set()` are released
   * all the same.
   *
   * @example Usage
   * ```ts
   * import { Event } from "@multi/processing";
   * import { assertFalse } from "@std/assert";
   *
   * const event = new Event();
   * event.set();
   * event.clear();
   * assertFalse(event.isSet());
   * ```
   */
  clear(): void {
    leaveIfTerminated();
    Atomics.and(this.#cells, WORD, ~FLAG);
  }

  /**
   * Waits until the flag is up, without blocking the thread.
   *
   * @example Usage
   * ```ts
   * import { Event } from "@multi/processing";
   * import { assert, assertFalse } from "@std/assert";
   *
   * const event = new Event();
   * assertFalse(await event.wait({ timeout: 10 }));
   * setTimeout(() => event.set(), 10);
   * assert(await event.wait());
   * ```
   *
   * @example A pulse is not lost
   * ```ts
   * import { Event } from "@multi/processing";
   * import { assert } from "@std/assert";
   *
   * const event = new Event();
   * const waiting = event.wait();
   * event.set();
   * event.clear();
   * assert(await waiting);
   * ```
   *
   * @param options Timeout and cancellation of this wait.
   * @returns `true` once a `set()` has happened, `false` if the time ran out.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`.
   * @throws {TypeError} If an option is not of its type.
   * @throws The signal's reason, if `options.signal` aborts first.
   */
  async wait(options: EventWaitOptions = {}): Promise<boolean> {
    const timeout = timeoutOf(options, "wait for event");
    const signal = checkSignal(options.signal, "wait for event");
    signal?.throwIfAborted();
    leaveIfTerminated();
    const done = await this.#bell.wait(this.#pulse(), { timeout, signal });
    // Who polls in a loop lets the rest of the thread go on, which may set it.
    if (done === undefined && timeout === 0) await new Promise<void>(nextTurn);
    // A pulse that came before the signal is not lost.
    if (done === undefined) signal?.throwIfAborted();
    return done ?? false;
  }

  /**
   * Waits until the flag is up, and blocks the thread.
   *
   * @example Usage
   * ```ts
   * import { Event, Process } from "@multi/processing";
   * import { assert } from "@std/assert";
   *
   * const ready = new Event();
   * const other = new Process((ready: Event) => ready.set(), { args: [ready] });
   * other.start();
   * assert(ready.waitSync());
   * await other.join();
   * ```
   *
   * @param options Timeout of this wait.
   * @returns `true` once a `set()` has happened, `false` if the time ran out.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`.
   * @throws {TypeError} If an option is not of its type.
   * @throws {TypeError} If this thread may not block, as a browser's main thread.
   */
  waitSync(options: EventWaitSyncOptions = {}): boolean {
    const timeout = timeoutOf(options, "wait for event");
    leaveIfTerminated();
    checkMayBlock("wait for event");
    return this.#bell.waitSync(this.#pulse(), timeout) ?? false;
  }

  /** Remembers the pulses so far; the answer tells whether there is reason to go on. */
  #pulse(): () => true | undefined {
    const cells = this.#cells;
    const first = Atomics.load(cells, WORD);
    // Looked at once only: a set() that finds the flag up changes nothing, and
    // after a clear() a second look would not see that it was there.
    if (first & FLAG) return () => true;
    return () => Atomics.load(cells, WORD) === first ? undefined : true;
  }
}

brand(Event, "Event");
register("event", () => new Event());
