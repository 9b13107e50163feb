/**
 * Small plain values as bytes in shared memory.
 *
 * A value goes this way only if it arrives exactly as structured clone would
 * deliver it; everything else is left to the other lane: {@linkcode writeValue}
 * says so by returning -1. Every value begins at a multiple of 8 with a tag and
 * a length, so that a number can be stored in one step.
 *
 * @module
 */

import { encodeInto } from "./runtime/memory.ts";
import { isDisguised } from "./runtime/values.ts";

/** What a value is; the length that follows is in parentheses. */
const Tag = {
  Undefined: 0,
  Null: 1,
  False: 2,
  True: 3,
  Number: 4,
  /** (bytes) One byte a character. */
  Ascii: 5,
  /** (bytes) UTF-8. */
  Utf8: 6,
  /** (bytes) JSON in UTF-8. */
  Json: 7,
  /** (numbers) An array of numbers. */
  Numbers: 8,
} as const;

/** A piece of shared memory, seen in three ways. */
export interface Memory {
  /** The bytes. */
  readonly bytes: Uint8Array;
  /** The same, as 32-bit words. */
  readonly words: Int32Array;
  /** The same, as numbers. */
  readonly numbers: Float64Array;
}

/**
 * Looks at a buffer in three ways.
 *
 * @param buffer The buffer.
 * @returns The views.
 */
export function memoryOf(buffer: ArrayBufferLike): Memory {
  return {
    bytes: new Uint8Array(buffer),
    words: new Int32Array(buffer),
    numbers: new Float64Array(buffer),
  };
}

/** Strings up to this length are copied by hand, which is faster. */
const SHORT = 48;
/** Longer arrays of a caller's are left to the other lane. */
const FEW = 256;
/** More objects than this in one value are left to the other lane. */
const MAX_OBJECTS = 16;

// A byte order mark is a character like any other.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const { stringify, parse } = JSON;

/**
 * Writes a value.
 *
 * @param memory Where.
 * @param at The first byte, a multiple of 8.
 * @param end The byte after the last that may be written.
 * @param value The value.
 * @param owned Whether it is an array that this module made, so that it has no
 * holes and no properties but its items.
 * @returns The byte after the value, a multiple of 8; -1 if it does not fit or
 * would not arrive as structured clone delivers it.
 */
export function writeValue(
  memory: Memory,
  at: number,
  end: number,
  value: unknown,
  owned = false,
): number {
  if (at + 16 > end) return -1;
  const { words } = memory;
  const word = at >> 2;
  switch (typeof value) {
    case "number":
      words[word] = Tag.Number;
      memory.numbers[(at >> 3) + 1] = value;
      return at + 16;
    case "undefined":
      words[word] = Tag.Undefined;
      return at + 8;
    case "boolean":
      words[word] = value ? Tag.True : Tag.False;
      return at + 8;
    case "string":
      return writeText(memory, at, end, value, Tag.Utf8);
    case "object":
      if (value === null) {
        words[word] = Tag.Null;
        return at + 8;
      }
      if (isDisguised(value)) return -1;
      if (Array.isArray(value)) {
        // To see whether there are other properties takes time for each item.
        if (!owned && value.length > FEW) return -1;
        if (
          isNumbers(value) &&
          (owned || Object.keys(value).length === value.length)
        ) return writeNumbers(memory, at, end, value);
      }
      if (owned && !mayFit(value as unknown[], end - at)) return -1;
      if (!isJson(value)) return -1;
      return writeText(memory, at, end, stringify(value), Tag.Json);
  }
  return -1; // symbols, functions, BigInts
}

/** Where {@linkcode readValue} has come to. */
export interface Cursor {
  /** The next byte, a multiple of 8. */
  at: number;
}

/**
 * Reads a value.
 *
 * @param memory Where.
 * @param cursor The first byte; moved to the byte after the value.
 * @param end The byte after the last that belongs to the frame.
 * @returns The value.
 * @throws {Error} If what is there was not written by {@linkcode writeValue}.
 */
export function readValue(
  memory: Memory,
  cursor: Cursor,
  end: number,
): unknown {
  const { at } = cursor;
  if (!(at >= 0) || at % 8 !== 0 || at + 8 > end || end > memory.bytes.length) {
    throw new Error(`Cannot read value as its frame ends at ${end}: at ${at}`);
  }
  const tag = memory.words[at >> 2]!;
  const length = memory.words[(at >> 2) + 1]!;
  const from = at + 8;
  switch (tag) {
    case Tag.Undefined:
      cursor.at = from;
      return undefined;
    case Tag.Null:
      cursor.at = from;
      return null;
    case Tag.False:
      cursor.at = from;
      return false;
    case Tag.True:
      cursor.at = from;
      return true;
    case Tag.Number:
      checkLength(8, from, end);
      cursor.at = from + 8;
      return integral(memory.numbers[from >> 3]!);
    case Tag.Numbers:
      checkLength(length * 8, from, end);
      cursor.at = from + length * 8;
      return Array.from(
        memory.numbers.subarray(from >> 3, (from >> 3) + length),
        integral,
      );
    case Tag.Ascii:
    case Tag.Utf8:
    case Tag.Json: {
      checkLength(length, from, end);
      cursor.at = from + aligned(length);
      const text = tag === Tag.Utf8
        ? decoder.decode(memory.bytes.slice(from, from + length))
        : readText(memory.bytes, from, length);
      return tag === Tag.Json ? parse(text) : text;
    }
  }
  throw new Error(`Cannot read value as its tag is unknown: ${tag}`);
}

/**
 * The same number, as a small integer if it is one: what comes from memory as
 * float64 the engines would go on to calculate with as float64, at half speed.
 */
function integral(number: number): number {
  const integer = number | 0;
  return integer === number && !Object.is(number, -0) ? integer : number;
}

function checkLength(length: number, from: number, end: number): void {
  if (length >= 0 && from + length <= end) return;
  throw new Error(
    `Cannot read value as its length does not fit its frame: ${length}`,
  );
}

function aligned(length: number): number {
  return (length + 7) & ~7;
}

function writeText(
  memory: Memory,
  at: number,
  end: number,
  text: string,
  tag: number,
): number {
  const { bytes, words } = memory;
  const from = at + 8;
  const { length } = text;
  if (from + length > end) return -1;
  if (length <= SHORT) {
    let i = 0;
    for (; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) break;
      bytes[from + i] = code;
    }
    if (i === length) {
      words[at >> 2] = tag === Tag.Json ? Tag.Json : Tag.Ascii;
      words[(at >> 2) + 1] = length;
      return from + aligned(length);
    }
  }
  // UTF-8 has no lone surrogates; JSON has escaped them.
  if (tag === Tag.Utf8 && !text.isWellFormed()) return -1;
  const { read, written } = encodeInto(
    text,
    bytes.subarray(from, end),
  );
  if (read < length || from + aligned(written) > end) return -1;
  words[at >> 2] = tag;
  words[(at >> 2) + 1] = written;
  return from + aligned(written);
}

function readText(bytes: Uint8Array, from: number, length: number): string {
  if (length <= SHORT) {
    let text = "";
    let i = from;
    for (; i < from + length; i++) {
      const code = bytes[i]!;
      if (code > 0x7f) break;
      text += String.fromCharCode(code);
    }
    if (i === from + length) return text;
  }
  return decoder.decode(bytes.slice(from, from + length));
}

function writeNumbers(
  memory: Memory,
  at: number,
  end: number,
  array: ArrayLike<unknown>,
): number {
  const { length } = array;
  const from = at + 8;
  if (from + length * 8 > end) return -1;
  memory.words[at >> 2] = Tag.Numbers;
  memory.words[(at >> 2) + 1] = length;
  const first = from >> 3;
  const { numbers } = memory;
  for (let i = 0; i < length; i++) numbers[first + i] = array[i] as number;
  return from + length * 8;
}

/**
 * Tells whether the items of an array are 32-bit integers, without a hole.
 *
 * @param array The array.
 * @returns Whether they are.
 */
export function isIntegers(array: readonly unknown[]): boolean {
  for (let i = 0; i < array.length; i++) {
    const item = array[i] as number;
    if ((item | 0) !== item || Object.is(item, -0)) return false;
  }
  return true;
}

/**
 * Tells whether the items of an array are numbers, without a hole.
 *
 * @param array The array.
 * @returns Whether they are.
 */
export function isNumbers(
  array: readonly unknown[],
): array is readonly number[] {
  for (let i = 0; i < array.length; i++) {
    if (typeof array[i] !== "number") return false;
  }
  return true;
}

/**
 * Tells whether JSON of an array may be so short, and have so few objects: to look
 * at all there is would take longer than to send it by the other lane.
 */
function mayFit(array: readonly unknown[], room: number): boolean {
  let objects = 1;
  for (let i = 0; i < array.length; i++) {
    const item = array[i];
    if (typeof item === "object" && item !== null) objects++;
    room -= typeof item === "string" ? item.length + 3 : 2;
    if (room < 0 || objects > MAX_OBJECTS) return false;
  }
  return true;
}

/**
 * Tells whether JSON brings a value to the other side exactly as structured
 * clone would: plain objects and arrays, each only once, of strings, booleans,
 * `null` and numbers other than `NaN`, infinities and `-0`.
 */
function isJson(root: object): boolean {
  const seen: object[] = [root];
  for (let i = 0; i < seen.length; i++) {
    const object = seen[i]!;
    const isArray = Array.isArray(object);
    if (!isArray) {
      const prototype = Object.getPrototypeOf(object);
      if (prototype !== Object.prototype && prototype !== null) return false;
      if (Symbol.toStringTag in object) return false; // a module, which no clone takes
    }
    if ("toJSON" in object) return false;
    const keys = Object.keys(object);
    if (isArray) {
      // The items come first, so what is no item is the last key.
      const { length } = object;
      if (keys.length !== length) return false;
      if (length > 0 && keys[length - 1] !== String(length - 1)) return false;
    }
    for (const key of keys) {
      const property = Object.getOwnPropertyDescriptor(object, key)!;
      if (property.get !== undefined || property.set !== undefined) {
        return false;
      }
      const { value } = property;
      switch (typeof value) {
        case "string":
        case "boolean":
          continue;
        case "number":
          // Not -0 either: JSON knows only one zero.
          if (value - value !== 0 || (value === 0 && 1 / value < 0)) {
            return false;
          }
          continue;
        case "object":
          if (value === null) continue;
          if (seen.length === MAX_OBJECTS || seen.includes(value)) return false;
          if (isDisguised(value)) return false;
          seen.push(value);
          continue;
      }
      return false;
    }
  }
  return true;
}
