/**
 * The part of `node:assert/strict` that the tests use, for a browser.
 *
 * @module
 */

/** What a failed assertion throws. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (value instanceof Error) return value.stack ?? String(value);
  try {
    const text = JSON.stringify(value);
    return text === undefined || text === "{}" ? String(value) : text;
  } catch {
    return String(value);
  }
}

function isEqual(a: unknown, b: unknown, seen: Map<unknown, unknown>): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b) return false;
  if (seen.get(a) === b) return true;
  seen.set(a, b);
  const tag = (value: object) => Object.prototype.toString.call(value);
  if (
    tag(a) !== tag(b) || Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)
  ) return false;
  const same = (a: unknown, b: unknown) => isEqual(a, b, seen);
  if (a instanceof Date || a instanceof RegExp) {
    if (!same(a.valueOf().toString(), b.valueOf().toString())) return false;
  } else if (a instanceof Number || a instanceof String) {
    if (!same(a.valueOf(), b.valueOf())) return false;
  } else if (a instanceof Map) {
    const other = b as Map<unknown, unknown>;
    return a.size === other.size &&
      same([...a.keys()], [...other.keys()]) &&
      same([...a.values()], [...other.values()]);
  } else if (a instanceof Set) {
    return same([...a], [...b as Set<unknown>]);
  } else if (a instanceof Error) {
    const other = b as Error;
    if (!same([a.name, a.message], [other.name, other.message])) return false;
  } else if (/\[object (Shared)?ArrayBuffer\]/.test(tag(a))) {
    return same(
      new Uint8Array(a as ArrayBuffer),
      new Uint8Array(b as ArrayBuffer),
    );
  }
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length &&
    keys.every((key) =>
      Object.hasOwn(b, key) && same(Reflect.get(a, key), Reflect.get(b, key))
    );
}

function fail(message: string): never {
  throw new AssertionError(message);
}

/** The assertions. */
export default {
  fail,
  ok(value: unknown, message?: string): void {
    if (!value) fail(message ?? `${shown(value)} is not true`);
  },
  equal(actual: unknown, expected: unknown, message?: string): void {
    if (Object.is(actual, expected)) return;
    fail(message ?? `${shown(actual)} is not ${shown(expected)}`);
  },
  deepEqual(actual: unknown, expected: unknown, message?: string): void {
    if (isEqual(actual, expected, new Map())) return;
    fail(`${message ?? ""} ${shown(actual)} does not equal ${shown(expected)}`);
  },
  notDeepEqual(actual: unknown, expected: unknown, message?: string): void {
    if (!isEqual(actual, expected, new Map())) return;
    fail(message ?? `${shown(actual)} equals ${shown(expected)}`);
  },
};
