/**
 * The functions that all workers of a pool know by number, in shared memory.
 *
 * Each is written once, before the first call of it is sent, so that no call
 * waits for a message. The first word of the memory says where the last
 * definition ends. Who changes it:
 *
 * | who | from | to |
 * | --- | --- | --- |
 * | the pool, after it has written a definition | where that begins, at first 0 | where it ends |
 *
 * What lies before never changes again. A definition begins with a word that says
 * where it ends; the first one has the number 0, the next 1, and so on.
 *
 * @module
 */

import type { CallableWire } from "./callable.ts";
import { type Memory, memoryOf, readValue, writeValue } from "./frame.ts";
import { MAX_DEFINITIONS } from "./protocol.ts";

/** The word that says where the last definition ends. */
const END = 0;
/** Bytes before the first definition, and in each before the function. */
const HEADER = 8;

/** The pool's side. */
export class Definitions {
  /** The memory. */
  readonly buffer: SharedArrayBuffer;
  readonly #memory: Memory;
  readonly #numbers = new Map<string, number>();
  #end = HEADER;

  /** @param size Bytes of memory, a multiple of 8. */
  constructor(size: number) {
    this.buffer = new SharedArrayBuffer(size);
    this.#memory = memoryOf(this.buffer);
  }

  /**
   * Finds the number of a function, which is written if it has none.
   *
   * @param key What is different for different functions.
   * @param wire The function.
   * @returns The number, or `undefined` if there is no room for it.
   */
  number(key: string, wire: CallableWire): number | undefined {
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = this.#numbers.size;
    if (number === MAX_DEFINITIONS) return undefined;
    const { words, bytes } = this.#memory;
    const at = this.#end;
    const end = writeValue(this.#memory, at + HEADER, bytes.length, wire);
    if (end < 0) return undefined;
    words[at >> 2] = end;
    Atomics.store(words, END, end);
    this.#end = end;
    this.#numbers.set(key, number);
    return number;
  }
}

/** A worker's side. */
export class KnownFunctions {
  readonly #memory: Memory | undefined;
  /** Where each definition begins, and where the last of these ends. */
  readonly #places: number[] = [];
  #end = HEADER;
  readonly #wires: (CallableWire | undefined)[] = [];

  /** @param buffer The pool's memory, if there is any. */
  constructor(buffer: SharedArrayBuffer | undefined) {
    this.#memory = buffer && memoryOf(buffer);
  }

  /**
   * Notes a function that came as a message.
   *
   * @param number Its number.
   * @param wire The function.
   */
  define(number: number, wire: CallableWire): void {
    this.#wires[number] = wire;
  }

  /**
   * Finds a function.
   *
   * @param number Its number.
   * @returns The function, or `undefined` if its message has not come.
   */
  get(number: number): CallableWire | undefined {
    const known = this.#wires[number];
    if (known !== undefined) return known;
    return this.#wires[number] = this.#read(number);
  }

  #read(number: number): CallableWire | undefined {
    if (this.#memory === undefined) return undefined;
    const { words } = this.#memory;
    const last = Atomics.load(words, END);
    while (this.#places.length <= number && this.#end < last) {
      this.#places.push(this.#end);
      this.#end = words[this.#end >> 2]!;
    }
    const at = this.#places[number];
    if (at === undefined) return undefined;
    const end = words[at >> 2]!;
    return readValue(this.#memory, { at: at + HEADER }, end) as CallableWire;
  }
}
