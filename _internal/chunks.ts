/**
 * How input is read, and cut.
 *
 * @module
 */

import { shown } from "./check.ts";
import { ignoreRejections, isThenable } from "./promises.ts";
import { reportUncaught } from "./runtime/this_thread.ts";

/** What can be read. */
export type Items = Iterable<unknown> | AsyncIterable<unknown>;

/** Chunks a process, so that a slow one does not hold up the end. */
const CHUNKS_PER_PROCESS = 4;

/**
 * How many items `map` puts into a chunk.
 *
 * @param length Items in all.
 * @param processes Who share them.
 * @returns At least 1.
 */
export function chunkSizeFor(length: number, processes: number): number {
  return Math.max(1, Math.ceil(length / (processes * CHUNKS_PER_PROCESS)));
}

/**
 * How many items `imap` may have read beyond those its consumer was given.
 *
 * @param chunkSize Items a chunk.
 * @param processes Who share them.
 * @returns The number of items.
 */
export function readAhead(chunkSize: number, processes: number): number {
  return CHUNKS_PER_PROCESS * processes * chunkSize;
}

/** The iterators of the platform's own collections, whose size can be believed. */
const own = new Set(
  [[], new Uint8Array(), new Set(), new Map()].map((it) => it[Symbol.iterator]),
);

/**
 * Tells whether an input is read by an async iterator.
 *
 * @param items The input.
 * @returns Whether it has one.
 */
export function isAsync(items: object): items is AsyncIterable<unknown> {
  return (items as { [Symbol.asyncIterator]?: unknown })[
    Symbol.asyncIterator
  ] != null;
}

/**
 * Tells whether an input is an array that is read as one.
 *
 * @param items The input.
 * @returns Whether it is.
 */
export function isArray(items: Items): items is unknown[] {
  return Array.isArray(items) && own.has(items[Symbol.iterator]);
}

/**
 * How many items an input has, if it tells without being read.
 *
 * @param items The input.
 * @returns The number, or `undefined`.
 */
export function knownLength(items: object): number | undefined {
  const known = items as Partial<Set<unknown> & unknown[]>;
  if (isAsync(items) || !own.has(known[Symbol.iterator]!)) return undefined;
  return known.length ?? known.size;
}

/** What {@linkcode Source.next} gives after the last item. */
export const END: unique symbol = Symbol("end");

/** An input that is read item by item, with promises awaited. */
export class Source {
  readonly #iterator: Iterator<unknown> | AsyncIterator<unknown>;
  /** Whether nothing is left to be read or closed. */
  #over = false;
  /** Whether it runs, and whether what it called closes it. */
  #running = false;
  #closing = false;

  /** @param items What to read. */
  constructor(items: Items) {
    // Those of an array are awaited one after the other.
    if (Array.isArray(items)) ignoreRejections(items);
    this.#iterator = isAsync(items)
      ? items[Symbol.asyncIterator]()
      : items[Symbol.iterator]();
  }

  /**
   * Reads the next item.
   *
   * @returns The item, or {@linkcode END}; a promise of them if there is anything
   * to wait for.
   * @throws What the input throws: it is over then, as for a loop of the language.
   */
  next(): unknown {
    let result;
    let isPromise;
    try {
      this.#running = true;
      result = this.#iterator.next();
      isPromise = isThenable(result);
    } catch (error) {
      this.#over = true;
      throw error;
    } finally {
      this.#running = false;
      if (this.#closing) this.close(true);
    }
    return isPromise
      ? this.#later(result as PromiseLike<IteratorResult<unknown>>)
      : this.#read(result as IteratorResult<unknown>);
  }

  async #later(pending: PromiseLike<IteratorResult<unknown>>) {
    let result;
    try {
      result = await pending;
    } catch (error) {
      this.#over = true;
      throw error;
    }
    return this.#read(result);
  }

  #read(result: IteratorResult<unknown>): unknown {
    let item;
    try {
      // Getters, perhaps; one that throws has failed the input.
      if (checkResult(result).done) {
        this.#over = true;
        return END;
      }
      item = result.value;
    } catch (error) {
      this.#over = true;
      throw error;
    }
    // A promise of our own: what its `then` throws, or calls at once, comes later.
    return isThenable(item) ? new Promise((resolve) => resolve(item)) : item;
  }

  /**
   * Tells the input that nobody will read on, and does not wait for it: what it
   * rejects with then is an uncaught error. Where an error is the reason, what it
   * throws is dropped, as by a loop of the language.
   *
   * @param failed Whether an error is the reason.
   * @throws What the input throws, if no error is.
   */
  close(failed: boolean): void {
    this.#closing = true;
    if (this.#over || this.#running) return;
    this.#over = true;
    try {
      const closed = this.#iterator.return?.();
      if (!isThenable(closed)) return;
      closed.then(undefined, failed ? () => {} : reportUncaught);
    } catch (error) {
      if (!failed) throw error;
    }
  }
}

/**
 * Checks what the iterator of an input gives, as a loop of the language does.
 *
 * @param result What its `next()` gave.
 * @returns The same.
 * @throws {TypeError} If it is no object.
 */
function checkResult(
  result: IteratorResult<unknown>,
): IteratorResult<unknown> {
  if (Object(result) === result) return result;
  throw new TypeError(
    `Cannot read input as next() of its iterator must give an object, such as ` +
      `{ done: true }: received ${shown(result)}`,
  );
}
