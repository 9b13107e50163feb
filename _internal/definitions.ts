/**
 * The functions of a pool, which its workers know by number.
 *
 * Each is written once into memory that all workers see, before the first call
 * of it is sent, so that no call waits for a message. What does not fit there,
 * or all where memory is not shared, goes to each worker as a message.
 *
 * The memory begins with a word that says where the last definition ends. Who
 * changes it:
 *
 * | who | from | to |
 * | --- | --- | --- |
 * | the pool, after it has written a definition | where that begins | where it ends |
 *
 * What lies before never changes again.
 *
 * @module
 */

import { type AnyFunction, type CallableWire, describe } from "./callable.ts";
import { type Memory, memoryOf, readValue, writeValue } from "./frame.ts";

/** Which word says where the last definition ends. */
const END = 0;
/** Where the first begins, and where in a definition, after its number, the value. */
const HEADER = 8;

/** A function that has a number. */
export interface Definition {
  readonly number: number;
  /** What is sent. */
  readonly wire: CallableWire;
  /** Whether it stands in shared memory. */
  readonly isShared: boolean;
}

/** The pool's side. */
export class Definitions {
  /** The memory, if there is any. */
  readonly buffer: SharedArrayBuffer | undefined;
  readonly #memory: Memory | undefined;
  #end = HEADER;
  /** By what is sent: a closure made anew for each call has the same text. */
  readonly #known = new Map<string, Definition>();

  /** @param size Bytes of shared memory, a multiple of 8, or 0. */
  constructor(size: number) {
    if (size === 0) return;
    this.buffer = new SharedArrayBuffer(size);
    this.#memory = memoryOf(this.buffer);
  }

  /**
   * Gives a function a number, unless it has one.
   *
   * @param fn The function.
   * @returns Its definition.
   * @throws {TypeError} If it cannot be sent.
   */
  of(fn: AnyFunction): Definition {
    const wire = describe(fn);
    const key = wire.kind === "source"
      ? `${wire.name}\n${wire.text}`
      : `${wire.module}\n${wire.name}`;
    let definition = this.#known.get(key);
    if (definition === undefined) {
      const number = this.#known.size;
      definition = { number, wire, isShared: this.#write(number, wire) };
      this.#known.set(key, definition);
    }
    return definition;
  }

  /** Writes a definition, if it fits. */
  #write(number: number, wire: CallableWire): boolean {
    if (this.#memory === undefined) return false;
    const { words, bytes } = this.#memory;
    const at = this.#end;
    const end = writeValue(this.#memory, at + HEADER, bytes.length, wire);
    if (end < 0) return false;
    words[at >> 2] = number;
    Atomics.store(words, END, this.#end = end);
    return true;
  }
}

/** A worker's side. */
export class KnownFunctions {
  readonly #memory: Memory | undefined;
  #end = HEADER;
  readonly #wires: (CallableWire | undefined)[] = [];

  /** @param buffer The pool's memory, if there is any. */
  constructor(buffer: SharedArrayBuffer | undefined) {
    this.#memory = buffer && memoryOf(buffer);
  }

  /**
   * Notes a definition that came as a message.
   *
   * @param number The number.
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
    if (this.#wires[number] === undefined) this.#read();
    return this.#wires[number];
  }

  /** Reads the definitions that were written since the last time. */
  #read(): void {
    if (this.#memory === undefined) return;
    const { words } = this.#memory;
    const end = Atomics.load(words, END);
    while (this.#end < end) {
      const number = words[this.#end >> 2]!;
      const cursor = { at: this.#end + HEADER };
      this.#wires[number] = readValue(
        this.#memory,
        cursor,
        end,
      ) as CallableWire;
      this.#end = cursor.at;
    }
  }
}
