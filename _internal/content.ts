/**
 * What structured clone finds in a value, and what the way there is called.
 *
 * @module
 */

import { isSharedMemory } from "./runtime/memory.ts";
import { hasItemsOnly, isDisguised } from "./runtime/values.ts";

/** What is in a value. */
export interface Content {
  /** The values; of a map each key, and after it what belongs to it. */
  values: unknown[];
  /** The keys of the values; "items" are those of an array, whose keys are numbers. */
  keys: string[] | "map" | "set" | "items";
  isArray?: boolean;
  isError?: boolean;
  /** It holds nothing that needs a look, so that its values are left out. */
  isLeaf?: boolean;
}

/**
 * Looks what structured clone would find in a value.
 *
 * @param value The value.
 * @returns Its content, which is empty if clone takes it as a whole.
 */
export function contentOf(value: unknown): Content {
  if (typeof value !== "object" || value === null) return NO_CONTENT;
  if (isMap(value)) return { values: [...value].flat(), keys: "map" };
  if (isSet(value)) return { values: [...value], keys: "set" };
  if (isError(value)) {
    const cause = Object.getOwnPropertyDescriptor(value, "cause");
    return cause && Object.hasOwn(cause, "value")
      ? { values: [cause.value], keys: ["cause"], isError: true }
      : NO_CONTENT;
  }
  if (isOpaque(value)) return NO_CONTENT;
  const keys = Object.keys(value);
  const values = keys.map((key) => (value as Record<string, unknown>)[key]);
  return { values, keys, isArray: Array.isArray(value) };
}

const NO_CONTENT: Content = { values: [], keys: [] };

/**
 * The same for what most objects are, without a look at all that they might be
 * instead: plain objects, and arrays that hold nothing but their items.
 *
 * @param value The object.
 * @returns Its content, or `undefined` if it is anything else.
 */
export function simpleContent(value: object): Content | undefined {
  if (isDisguised(value)) return undefined;
  const prototype = Object.getPrototypeOf(value);
  if (prototype === Object.prototype && isPlainTagged(value)) {
    const values = Object.values(value);
    if (values.every(isLeaf)) return LEAF_OBJECT;
    return { values, keys: Object.keys(value) };
  }
  if (prototype !== Array.prototype || !Array.isArray(value)) return undefined;
  let isLeafOnly = true;
  for (let i = 0; i < value.length; i++) {
    const item = value[i];
    if (typeof item === "number") continue;
    // There may be very many holes, and few items: its keys tell sooner.
    if (item === undefined && !(i in value)) return undefined;
    isLeafOnly &&= isLeaf(item);
  }
  if (!hasItemsOnly(value)) return undefined;
  return isLeafOnly ? LEAF_ARRAY : { values: value.slice(), keys: "items" };
}

const LEAF_OBJECT: Content = { values: [], keys: [], isLeaf: true };
const LEAF_ARRAY: Content = { ...LEAF_OBJECT, isArray: true };

/** Whether a value needs no look. */
function isLeaf(value: unknown): boolean {
  return value === null || (typeof value !== "object" &&
    typeof value !== "function" && typeof value !== "symbol");
}

/**
 * Writes the last step of the way to a value, as in `.list` or `[3]`.
 *
 * @param content What the value is in.
 * @param index Which of its values.
 * @returns The step.
 */
export function segmentOf(
  { values, keys, isArray }: Content,
  index: number,
): string {
  if (keys === "set") return `.values()[${index}]`;
  if (keys === "items") return `[${index}]`;
  if (keys === "map") {
    const entry = index >> 1;
    if (index % 2 === 0) return `.keys()[${entry}]`;
    const key = values[index - 1];
    return typeof key === "string"
      ? `.get(${JSON.stringify(key)})`
      : `.values()[${entry}]`;
  }
  const key = keys[index]!;
  if (isArray && /^\d+$/.test(key)) return `[${key}]`;
  return /^[A-Za-z_$][\w$]*$/.test(key)
    ? `.${key}`
    : `[${JSON.stringify(key)}]`;
}

const sizeOf = {
  Map: Object.getOwnPropertyDescriptor(Map.prototype, "size")!.get!,
  Set: Object.getOwnPropertyDescriptor(Set.prototype, "size")!.get!,
};

/**
 * Tells whether an object is a map, and not one in name only.
 *
 * @param value The object.
 * @returns Whether it is.
 */
export function isMap(value: object): value is Map<unknown, unknown> {
  return isOf(Map, value) && has(sizeOf.Map, value);
}

/**
 * Tells whether an object is a set, likewise.
 *
 * @param value The object.
 * @returns Whether it is.
 */
export function isSet(value: object): value is Set<unknown> {
  return isOf(Set, value) && has(sizeOf.Set, value);
}

/** Whether an object seems to be of a class, perhaps of another global's. */
function isOf(type: MapConstructor | SetConstructor, value: object): boolean {
  return value instanceof type ||
    Object.prototype.toString.call(value) === `[object ${type.name}]`;
}

function has(size: () => number, value: object): boolean {
  try {
    Reflect.apply(size, value, []);
    return true;
  } catch {
    return false;
  }
}

/**
 * Tells whether structured clone takes an object by its internal slots, and not by
 * its properties.
 *
 * @param value The object.
 * @returns Whether it does.
 */
export function isOpaque(value: object): boolean {
  if (isPlainTagged(value)) return false;
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer ||
    value instanceof Date || value instanceof RegExp ||
    isError(value) || isBoxed(value) ||
    value instanceof MessagePort || // Deno's has properties of its own
    isSharedMemory(value);
}

/**
 * Tells whether an object is memory that threads share, or a view of it.
 *
 * @param value The object.
 * @returns Whether it is.
 */
export function isOfSharedMemory(value: object): boolean {
  const hasBuffer = ArrayBuffer.isView(value) ||
    Object.prototype.toString.call(value) === "[object WebAssembly.Memory]";
  return isSharedMemory(
    hasBuffer ? (value as { buffer: unknown }).buffer : value,
  );
}

/** Whether an object is a primitive value in a box. */
function isBoxed(value: object): boolean {
  return value instanceof String || value instanceof Number ||
    value instanceof Boolean || value instanceof BigInt;
}

/**
 * Tells whether an object is an error, perhaps of another global, and not one in
 * name only.
 *
 * @param value The object.
 * @returns Whether it is.
 */
export function isError(value: object): boolean {
  const tag = Object.prototype.toString.call(value);
  return (tag === ERROR_TAG && !(Symbol.toStringTag in value)) ||
    (value instanceof Error && tag !== PLAIN_TAG);
}

const ERROR_TAG = "[object Error]";

const PLAIN_TAG = Object.prototype.toString.call({});

/**
 * Tells whether an object is in truth no error or boxed value, whatever its
 * prototype says.
 *
 * @param value The object.
 * @returns Whether it is none.
 */
export function isPlainTagged(value: object): boolean {
  return Object.prototype.toString.call(value) === PLAIN_TAG;
}
