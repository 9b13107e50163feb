/**
 * The part of `@std/assert` that the tests use, over `node:assert`, for where
 * JSR cannot be reached.
 *
 * @module
 */

import assertion from "node:assert/strict";

// deno-lint-ignore no-explicit-any
type Class<E extends Error> = abstract new (...args: any[]) => E;

/** What `node:assert` takes for no message: no argument. */
function optional(message?: string): [message?: string] {
  return message === undefined ? [] : [message];
}

export function assert(value: unknown, message?: string): asserts value {
  assertion.ok(value, ...optional(message));
}

export function assertFalse(value: unknown, message?: string): void {
  assertion.ok(!value, ...optional(message));
}

export function assertEquals<T>(
  actual: T,
  expected: T,
  message?: string,
): void {
  assertion.deepEqual(actual, expected, ...optional(message));
}

export function assertNotEquals<T>(
  actual: T,
  expected: T,
  message?: string,
): void {
  assertion.notDeepEqual(actual, expected, ...optional(message));
}

export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  message?: string,
): asserts actual is T {
  assertion.equal(actual, expected, ...optional(message));
}

export function assertStringIncludes(
  actual: string,
  expected: string,
  message?: string,
): void {
  assertion.ok(
    actual.includes(expected),
    message ?? `${JSON.stringify(actual)} lacks ${JSON.stringify(expected)}`,
  );
}

export function assertInstanceOf<E extends Error>(
  actual: unknown,
  Class: Class<E>,
  message?: string,
): asserts actual is E {
  assertion.ok(
    actual instanceof Class,
    message ?? `${String(actual)} is no ${Class.name}`,
  );
}

export function assertThrows<E extends Error>(
  fn: () => unknown,
  Class: Class<E>,
  includes = "",
): E {
  try {
    fn();
  } catch (error) {
    assertInstanceOf(error, Class);
    assertStringIncludes(error.message, includes);
    return error;
  }
  assertion.fail(`nothing was thrown, ${Class.name} was expected`);
}

export async function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  Class: Class<E>,
  includes = "",
): Promise<E> {
  const promise = fn(); // what is thrown here, is no rejection
  try {
    await promise;
  } catch (error) {
    assertInstanceOf(error, Class);
    assertStringIncludes(error.message, includes);
    return error;
  }
  assertion.fail(`nothing was rejected, ${Class.name} was expected`);
}
