/**
 * Arguments and results as messages, for both sides of the way.
 *
 * @module
 */

import { isIntegers, isNumbers } from "./frame.ts";
import { decode, encode, located, type ValueWire } from "./codec.ts";
import { isMap, isSet } from "./content.ts";
import { afterwards } from "./promises.ts";
import type { Numbers, PayloadWire } from "./protocol.ts";
import {
  hasItemsOnly,
  isDisguised,
  type Transferable,
} from "./runtime/values.ts";

/** Fewer numbers are not worth a typed array. */
const MANY = 64;
/** Nor are fewer in an array that is not known to hold nothing else. */
const VERY_MANY = 1024;

/** A payload that is ready to be sent. */
export interface Parcel {
  /** What is sent. */
  wire: PayloadWire;
  /** What goes over instead of being copied, beside what the caller names. */
  transfer: ArrayBuffer[];
}

/**
 * Packs a payload: an array that this module made. Many numbers go as a typed
 * array, which costs a tenth of a clone: the payload itself, or what it holds if
 * that is nothing but arrays of numbers and values that are no objects, which
 * can refer to none of them.
 *
 * @param payload Arguments, items or results.
 * @param root What they are called in an error.
 * @param owner Whose they are.
 * @returns The parcel.
 * @throws {DOMException} A `DataCloneError` if something cannot be sent.
 */
export function pack(
  payload: readonly unknown[],
  root: string,
  owner: string,
): Parcel {
  if (payload.length >= MANY && isNumbers(payload)) {
    const numbers = typed(payload);
    return { wire: { value: NOTHING, numbers }, transfer: [numbers.buffer] };
  }
  const lists = listsIn(payload);
  if (lists === undefined) {
    return { wire: { value: encode(payload, root, owner) }, transfer: [] };
  }
  const rest = payload.map((item) => isObject(item) ? undefined : item);
  return {
    wire: { value: encode(rest, root, owner), lists },
    transfer: lists.map(([, { buffer }]) => buffer),
  };
}

function typed(numbers: readonly number[]): Numbers {
  return isIntegers(numbers)
    ? new Int32Array(numbers)
    : new Float64Array(numbers);
}

/** The arrays of very many numbers, if the payload has such and no other objects. */
function listsIn(payload: readonly unknown[]): PayloadWire["lists"] {
  const found = new Map<unknown[], number>();
  for (let i = 0; i < payload.length; i++) {
    const item = payload[i];
    if (!isObject(item)) continue;
    const fits = !isDisguised(item) && Array.isArray(item) &&
      item.length >= VERY_MANY && !found.has(item) && isNumbers(item) &&
      hasItemsOnly(item);
    if (!fits) return undefined;
    found.set(item, i);
  }
  if (found.size === 0) return undefined;
  return [...found].map(([item, i]) => [i, typed(item as number[])]);
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

const NOTHING: ValueWire = { value: undefined };

/**
 * Unpacks a payload.
 *
 * @param wire What was sent.
 * @returns The payload, which is a typed array if it was packed, or a promise of
 * it.
 */
export function unpack(
  wire: PayloadWire,
): ArrayLike<unknown> | Promise<ArrayLike<unknown>> {
  if (wire.numbers !== undefined) return wire.numbers;
  const payload = decode(wire.value) as unknown[] | Promise<unknown[]>;
  const { lists } = wire;
  if (lists === undefined) return payload;
  if (payload instanceof Promise) {
    return afterwards(payload, (it) => fill(it, lists));
  }
  return fill(payload, lists);
}

/** Puts arrays of numbers where they belong. */
function fill(
  payload: unknown[],
  lists: NonNullable<PayloadWire["lists"]>,
): unknown[] {
  for (const [index, numbers] of lists) {
    const { length } = numbers;
    const array = new Array(length);
    for (let i = 0; i < length; i++) array[i] = numbers[i];
    payload[index] = array;
  }
  return payload;
}

/**
 * Finds the item of a payload that cannot be sent.
 *
 * @param error What packing or posting the payload threw.
 * @param payload The payload.
 * @param root What an item is called, as in "args[0]".
 * @param owner Whose they are.
 * @returns The error to report, and the item's index; -1 if none is to blame.
 */
export function blame(
  error: unknown,
  payload: readonly unknown[],
  root: string,
  owner: string,
): { index: number; error: unknown } {
  for (let index = 0; index < payload.length; index++) {
    const item = payload[index];
    try {
      structuredClone(encode(item, root, owner).value);
    } catch (reason) {
      return { index, error: located(reason, item, root, owner) };
    }
  }
  return { index: -1, error };
}

/**
 * Lists the buffers in a value, to be transferred.
 *
 * @param value The value.
 * @returns The buffers, each once.
 */
export function buffersIn(value: unknown): Transferable[] {
  const found = new Set<Transferable>();
  const seen = new Set<unknown>();
  const todo = [value];
  for (let i = 0; i < todo.length; i++) {
    const item = todo[i];
    if (typeof item !== "object" || item === null || seen.has(item)) continue;
    seen.add(item);
    if (item instanceof ArrayBuffer) found.add(item);
    else if (ArrayBuffer.isView(item)) {
      if (item.buffer instanceof ArrayBuffer) found.add(item.buffer);
    } else if (isMap(item)) {
      for (const [key, value] of item) todo.push(key, value);
    } else {
      const inner = isSet(item) ? item : Object.values(item);
      for (const value of inner) todo.push(value);
    }
  }
  return [...found];
}
