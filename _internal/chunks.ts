/**
 * How input is cut.
 *
 * @module
 */

import { shown } from "./check.ts";
import { isThenable } from "./promises.ts";
import { reportUncaught } from "./runtime/this_thread.ts";
import { afterTurn, isTurnOverdue } from "./turn.ts";

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

/** How the platform's own collections are read, if nobody has changed that. */
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

/** An input that is read item by item, with promises awaited. */
export class Reader {
  readonly #source: Iterator<unknown> | AsyncIterator<unknown>;
  /** Whether nothing is left to be read or closed. */
  #over = false;

  /** @param items What to read. */
  constructor(items: Items) {
    this.#source = isAsync(items)
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
      if (isTurnOverdue()) {
        await new Promise<void>(afterTurn); // it may be closed meanwhile
        continue;
      }
      const { done, value } = await this.#next();
      if (done) this.#over = true;
      else items.push(isThenable(value) ? await value : value);
    }
    return items;
  }

  async #next(): Promise<{ done: boolean; value?: unknown }> {
    try {
      const result = checkResult(await this.#source.next());
      // Getters, perhaps; one that throws has failed the source.
      return result.done
        ? { done: true }
        : { done: false, value: result.value };
    } catch (error) {
      this.#over = true;
      throw error;
    }
  }

  /**
   * Tells the source that nobody will read on, and does not wait for it.
   *
   * @param failed Whether an error is why, as of {@linkcode closeSource}.
   */
  close(failed: boolean): void {
    if (this.#over) return;
    this.#over = true;
    closeSource(this.#source, failed);
  }
}

/**
 * Checks what the iterator of an input gives, as a loop of the language does.
 *
 * @param result What its `next()` gave.
 * @returns The same.
 * @throws {TypeError} If it is no object.
 */
export function checkResult(
  result: IteratorResult<unknown>,
): IteratorResult<unknown> {
  if (Object(result) === result) return result;
  throw new TypeError(
    `Cannot read input as next() of its iterator must give an object, such as ` +
      `{ done: true }: received ${shown(result)}`,
  );
}

/**
 * Tells a source that nobody will read on, and does not wait for it: what it
 * rejects with then is an uncaught error. Where an error is the reason, what it
 * throws is dropped, as by a loop of the language.
 *
 * @param source The source.
 * @param failed Whether an error is the reason.
 * @throws What the source throws, if no error is.
 */
export function closeSource(
  source: Iterator<unknown> | AsyncIterator<unknown>,
  failed: boolean,
): void {
  try {
    const closed = source.return?.();
    if (!isThenable(closed)) return;
    closed.then(undefined, failed ? () => {} : reportUncaught);
  } catch (error) {
    if (!failed) throw error;
  }
}
