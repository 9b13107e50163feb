/**
 * Arguments and results as messages, for both sides of the way.
 *
 * @module
 */

import { isIntegers, isNumbers } from "./frame.ts";
import { decode, encode, located, type ValueWire } from "./codec.ts";
import type { PayloadWire } from "./protocol.ts";

/** Fewer numbers are not worth a lane of their own. */
const MANY = 64;

/** A payload that is ready to be sent. */
export interface Parcel {
  /** What is sent. */
  wire: PayloadWire;
  /** What goes over instead of being copied, beside what the caller names. */
  transfer: ArrayBuffer[];
}

/**
 * Packs a payload: an array that this module made. One of many numbers goes as
 * a typed array, which costs a tenth of a clone.
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
  if (payload.length < MANY || !isNumbers(payload)) {
    return { wire: { value: encode(payload, root, owner) }, transfer: [] };
  }
  const numbers = isIntegers(payload)
    ? new Int32Array(payload as number[])
    : new Float64Array(payload as number[]);
  return { wire: { value: NOTHING, numbers }, transfer: [numbers.buffer] };
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
  return wire.numbers ??
    decode(wire.value) as unknown[] | Promise<unknown[]>;
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
    } else if (item instanceof Map) todo.push(...item.keys(), ...item.values());
    else if (item instanceof Set) todo.push(...item);
    else todo.push(...Object.values(item));
  }
  return [...found];
}
