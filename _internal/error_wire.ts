/**
 * Errors on the wire. Structured clone loses most of an error, and something
 * else on each runtime, so errors travel as records.
 *
 * @module
 */

import { decode, encode, type ValueWire } from "./codec.ts";
import { isError } from "./content.ts";
import { isBranded } from "./brand.ts";
import { OWN_ERRORS } from "./errors.ts";
import { tidyStack } from "./stack.ts";

/** The classes that arrive as themselves. */
const CLASSES = new Map<string, { prototype: Error }>();
for (
  const name of [
    "Error",
    "TypeError",
    "RangeError",
    "SyntaxError",
    "ReferenceError",
    "EvalError",
    "URIError",
    "AggregateError",
    "SuppressedError",
  ]
) {
  const known = (globalThis as Record<string, unknown>)[name];
  if (known !== undefined) CLASSES.set(name, known as { prototype: Error });
}
for (const [name, own] of Object.entries(OWN_ERRORS)) CLASSES.set(name, own);

const OWN_NAMES = Object.keys(OWN_ERRORS);

/** The names that the classes go by. */
const NAMES = new Map<unknown, string>();
for (const [name, known] of CLASSES) NAMES.set(known, name);

/** A value in an error: another error of the record, or anything that can be sent. */
type PropertyWire = { error: number } | { value: ValueWire };

/** One error. */
interface ErrorRecord {
  class: string;
  name: string;
  message: string;
  stack: string | undefined;
  /** `cause`, `errors` and own properties. */
  properties: [
    key: string,
    value: PropertyWire | { list: PropertyWire[] },
    enumerable: boolean,
  ][];
}

/** What was thrown: an error and those it refers to, or another value. */
export type ThrownWire =
  | { kind: "error"; records: ErrorRecord[] }
  | { kind: "value"; value: ValueWire };

/**
 * Describes what was thrown.
 *
 * @param thrown An error, or anything else.
 * @returns A value that can be cloned.
 */
export function toThrownWire(thrown: unknown): ThrownWire {
  try {
    return wireOf(thrown);
  } catch (reason) {
    // A proxy, say, that lets nobody look at it.
    return wireOf(
      new Error(`A value that cannot be read was thrown: ${text(reason)}`),
    );
  }
}

function wireOf(thrown: unknown): ThrownWire {
  if (!isErrorLike(thrown)) {
    const value = sendable(thrown);
    if (value !== undefined) return { kind: "value", value };
    thrown = new Error(
      `A value that cannot be sent was thrown: ${text(thrown)}`,
    );
  }
  const records: ErrorRecord[] = [];
  /** The errors, in the order of the records; it grows while it is read. */
  const errors: Error[] = [];
  const indices = new Map<object, number>();
  const add = (error: Error): number => {
    let index = indices.get(error);
    if (index === undefined) {
      index = errors.push(error) - 1;
      indices.set(error, index);
    }
    return index;
  };
  const wire = (it: unknown): PropertyWire | undefined => {
    if (isErrorLike(it)) return { error: add(it) };
    const value = sendable(it);
    return value && { value };
  };
  /** The same; what cannot be sent is described, so that its place is kept. */
  const wireOrText = (it: unknown): PropertyWire =>
    wire(it) ??
      { error: add(new Error(`A value that cannot be sent: ${text(it)}`)) };
  add(thrown as Error);
  for (const error of errors) {
    const stack = string(error, "stack");
    const record: ErrorRecord = {
      class: classOf(error),
      name: string(error, "name") ?? "Error",
      message: string(error, "message") ?? "",
      stack: stack && tidyStack(stack),
      properties: [],
    };
    records.push(record);
    for (const key of ownKeys(error)) {
      const property = read(error, key);
      if (property === undefined) continue;
      const { value, enumerable } = property;
      // A clone of a list would take class, name and properties of errors in it.
      const isList = Array.isArray(value) &&
        (key === "errors" || value.some(isErrorLike));
      if (isList) {
        const list = value.map(wireOrText);
        record.properties.push([key, { list }, enumerable]);
        continue;
      }
      const sent = key === "cause" ? wireOrText(value) : wire(value);
      if (sent !== undefined) record.properties.push([key, sent, enumerable]);
    }
  }
  return { kind: "error", records };
}

/**
 * Makes what was thrown again.
 *
 * @param wire What {@linkcode toThrownWire} returned, after its clone.
 * @returns The error, or the other value.
 */
export function fromThrownWire(wire: ThrownWire): unknown {
  if (wire.kind === "value") return decode(wire.value);
  const errors = wire.records.map((record) => {
    if (record.class === "DOMException") {
      const error = new DOMException(record.message, record.name);
      define(error, "stack", record.stack, false);
      return error;
    }
    const { prototype } = CLASSES.get(record.class) ?? Error;
    // A genuine error, whatever the class's constructor would ask for.
    const error = new Error(record.message);
    Object.setPrototypeOf(error, prototype);
    if (error.name !== record.name) define(error, "name", record.name, false);
    define(error, "stack", record.stack, false);
    return error;
  });
  const value = (wire: PropertyWire) =>
    "error" in wire ? errors[wire.error] : decode(wire.value);
  wire.records.forEach((record, index) => {
    for (const [key, sent, enumerable] of record.properties) {
      define(
        errors[index]!,
        key,
        "list" in sent ? sent.list.map(value) : value(sent),
        enumerable,
      );
    }
  });
  return errors[0];
}

function define(
  error: Error,
  key: string,
  value: unknown,
  enumerable: boolean,
): void {
  Object.defineProperty(error, key, {
    value,
    enumerable,
    writable: true,
    configurable: true,
  });
}

/** What has a field of its own in the record; `name` is sent besides if it is enumerable. */
const RECORDED = new Set(["name", "message", "stack"]);

function ownKeys(error: Error): string[] {
  return Object.getOwnPropertyNames(error).filter((key) =>
    !RECORDED.has(key) ||
    (key === "name" && Object.prototype.propertyIsEnumerable.call(error, key))
  );
}

/** A property, unless its getter throws. */
function read(
  error: Error,
  key: string,
): { value: unknown; enumerable: boolean } | undefined {
  try {
    const value = (error as unknown as Record<string, unknown>)[key];
    const enumerable = Object.prototype.propertyIsEnumerable.call(error, key);
    return { value, enumerable };
  } catch {
    return undefined;
  }
}

function string(error: Error, key: string): string | undefined {
  const value = read(error, key)?.value;
  return value === undefined ? undefined : text(value);
}

function text(value: unknown): string {
  for (const show of [String, (it: unknown) => toText.call(it)]) {
    try {
      return show(value);
    } catch {
      // Next.
    }
  }
  return "[object]";
}

const toText = Object.prototype.toString;

/**
 * Whether a value travels as an error, as one does whose constructor only inherits
 * from `Error`; on some platforms a `DOMException` does not.
 */
function isErrorLike(value: unknown): value is Error {
  return typeof value === "object" && value !== null &&
    (value instanceof Error || value instanceof DOMException || isError(value));
}

/** The nearest class that the other side knows. */
function classOf(error: Error): string {
  if (error instanceof DOMException) return "DOMException";
  const isOfOtherGlobal = !(error instanceof Error);
  let prototype: object | null = error;
  while ((prototype = Object.getPrototypeOf(prototype)) !== null) {
    const { constructor } = prototype;
    const name = NAMES.get(constructor);
    if (name !== undefined) return name;
    if (isOfOtherGlobal && CLASSES.has(constructor?.name)) {
      return constructor.name;
    }
    // Two copies of this module have two classes of one name.
    const own = OWN_NAMES.find((name) => isBranded(constructor, name));
    if (own !== undefined) return own;
  }
  return "Error";
}

/** A value that can be sent, and made again without loading a module. */
function sendable(value: unknown): ValueWire | undefined {
  try {
    const wire = encode(value, "value", "error");
    structuredClone(wire.value);
    const loads = wire.stand?.some(([, it]) =>
      it.kind === "task" ||
      (it.kind === "barrier" && it.action?.kind === "task")
    );
    return loads ? undefined : wire;
  } catch {
    return undefined;
  }
}
