/**
 * How input is cut.
 *
 * @module
 */

import { isThenable } from "./promises.ts";
import { reportUncaught } from "./runtime.ts";

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

/**
 * How many items an input has, if it tells without being read.
 *
 * @param items The input.
 * @returns The number, or `undefined`.
 */
export function knownLength(items: object): number | undefined {
  if (Array.isArray(items) || ArrayBuffer.isView(items)) {
    return (items as unknown as ArrayLike<unknown>).length;
  }
  if (items instanceof Set || items instanceof Map) return items.size;
  return undefined;
}

/** An input that is read item by item, with promises awaited. */
export class Reader {
  readonly #source: Iterator<unknown> | AsyncIterator<unknown>;
  /** Whether nothing is left to be read or closed. */
  #over = false;

  /** @param items What to read. */
  constructor(items: Items) {
    this.#source = Symbol.asyncIterator in items
      ? items[Symbol.asyncIterator]()
      : items[Symbol.iterator]();
  }

  /**
   * Reads some items.
   *
   * @param count How many.
   * @returns The items: fewer than were asked for if there are no more.
   */
  async take(count: number): Promise<unknown[]> {
    const items: unknown[] = [];
    while (items.length < count && !this.#over) {
      const result = await this.#next();
      if (result.done) this.#over = true;
      else {
        const { value } = result;
        items.push(isThenable(value) ? await value : value);
      }
    }
    return items;
  }

  async #next(): Promise<IteratorResult<unknown>> {
    try {
      return await this.#source.next();
    } catch (error) {
      this.#over = true;
      throw error;
    }
  }

  /** Tells the source that nobody will read on, and does not wait for it. */
  close(): void {
    if (this.#over) return;
    this.#over = true;
    closeSource(this.#source);
  }
}

/**
 * Tells a source that nobody will read on, and does not wait for it.
 *
 * @param source The source.
 */
export function closeSource(
  source: Iterator<unknown> | AsyncIterator<unknown>,
): void {
  try {
    const closed = source.return?.();
    if (isThenable(closed)) closed.then(undefined, reportUncaught);
  } catch (error) {
    reportUncaught(error);
  }
}
