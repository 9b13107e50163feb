/**
 * What a platform can tell of values, and what becomes of them in a clone.
 *
 * @module
 */

import { builtin, runtime, scope, usesNodeThreads } from "./which.ts";

/**
 * What can move to another thread instead of being copied: objects of these classes,
 * as far as the platform's types know them. (The types of Node and Bun have no global
 * `Transferable`.)
 */
export type Transferable = (
  | "ArrayBuffer"
  | "AudioData"
  | "ImageBitmap"
  | "MessagePort"
  | "OffscreenCanvas"
  | "ReadableStream"
  | "RTCDataChannel"
  | "TransformStream"
  | "VideoFrame"
  | "WritableStream"
) extends infer Name
  ? Name extends string
    ? typeof globalThis extends Record<Name, { prototype: infer T }> ? T : never
  : never
  : never;

/**
 * Shows a value as the console does.
 *
 * @param value Any value.
 * @returns Text, for an error with its stack and causes.
 */
export function inspect(value: unknown): string {
  /** `undefined` if a getter or the like of the value's throws. */
  const attempt = (show: () => unknown): string | undefined => {
    try {
      return String(show());
    } catch {
      return undefined;
    }
  };
  const shown = attempt(() => builtin("node:util").inspect(value));
  if (!(value instanceof Error)) {
    return shown ?? attempt(() => value) ?? "[object]";
  }
  // Bun shows no more than the stack of a DOMException, which has no message.
  const name = attempt(() => value.name ?? "") ?? "Error";
  const message = attempt(() => value.message ?? "") ?? "";
  const stack = attempt(() => value.stack ?? "") ?? "";
  if (shown?.includes(message)) return shown;
  return stack.includes(message) ? stack : `${name}: ${message}\n${stack}`;
}

const types = builtin("node:util/types");

/**
 * Tells whether an object looks like a plain one and is none: structured clone
 * refuses proxies and `arguments`.
 *
 * @param value The object.
 * @returns Whether it is; of proxies a browser can tell those that were revoked.
 */
export function isDisguised(value: object): boolean {
  if (types !== undefined) {
    return types.isProxy(value) || types.isArgumentsObject(value);
  }
  try {
    return !Array.isArray(value) && !(Symbol.toStringTag in value) &&
      Object.prototype.toString.call(value) === "[object Arguments]";
  } catch {
    return true;
  }
}

function clones(value: unknown): boolean {
  try {
    structuredClone(value);
    return true;
  } catch {
    return false;
  }
}

/** Prototypes, and whether the platform may refuse objects of theirs by themselves. */
const refused = new WeakMap<object, boolean>();

/**
 * Tells whether an object is of a class that the platform refuses to clone, where
 * it refuses only what is sent by itself and ruins what stands inside: Deno's
 * `URL`, `Headers` and the like.
 *
 * @param value The object.
 * @returns Whether it is.
 */
export function isRuinedInside(value: object): boolean {
  if (runtime !== "deno") return false;
  const prototype = Object.getPrototypeOf(value);
  if (prototype === null || prototype === Object.prototype) return false;
  let isRefused = refused.get(prototype);
  if (isRefused === undefined) {
    isRefused = !clones(Object.create(prototype));
    refused.set(prototype, isRefused);
  }
  // One that was made by no constructor may be refused, and the others not: `Blob`.
  return isRefused && !clones(value) && clones([value]);
}

/**
 * Tells whether nothing of an object would be left in a clone: where a platform
 * has written a class in JavaScript, as Deno and Node have `AbortSignal`, it makes
 * an empty object of one.
 *
 * @param value An object without properties, and with a tag of its own.
 * @returns Whether it is one of those.
 */
export function isEmptied(value: object): boolean {
  if (!usesNodeThreads) return false;
  const tag = Object.prototype.toString.call(value);
  try {
    const type = scope[tag.slice(8, -1)];
    // Not by its class: a test runner's clones are of another global.
    return value instanceof type &&
      Object.prototype.toString.call(structuredClone(value)) !== tag;
  } catch {
    return false; // there is no such class, or the platform refuses the object
  }
}

/** Of shorter arrays all keys can be looked at. */
const LONG_ARRAY = 128;

/**
 * Tells whether an array has no properties but its items, without a look at each
 * item. The console can: of items that it is not to show it tells how many there
 * are, and all other properties it shows.
 *
 * @param array The array.
 * @returns `true` if that is known.
 */
export function hasItemsOnly(array: readonly unknown[]): boolean {
  if (array.length < LONG_ARRAY) {
    return Object.keys(array).length === array.length;
  }
  const shown = builtin("node:util")?.inspect(array, {
    maxArrayLength: 0,
    depth: 0,
    customInspect: false,
    breakLength: Infinity,
    colors: false,
  });
  return shown === `[ ... ${array.length} more items ]`;
}
