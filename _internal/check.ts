/**
 * Checks of what callers pass.
 *
 * @module
 */

import { isSharedMemory } from "./runtime/memory.ts";

/** The longest time that the platform's timers know; past it they fire at once. */
const TIMER_LIMIT = 2 ** 31 - 1;

/** Of more characters, or keys, than this an error shows only the first. */
const SHOWN_CHARACTERS = 80;
const SHOWN_KEYS = 5;
/** What a plain object says that it is. */
const PLAIN = Object.prototype.toString.call({});

/**
 * Shows what was received, in an error: no more of it than helps.
 *
 * @param value Anything.
 * @returns Text.
 */
export function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(beginning(value));
  try {
    const tag = Object.prototype.toString.call(value);
    if (typeof value === "function") {
      return value.name ? `function "${beginning(value.name)}"` : "a function";
    }
    if (Array.isArray(value)) return `an array of ${value.length}`;
    if (ArrayBuffer.isView(value)) return `${tag} of ${value.byteLength} bytes`;
    if (tag === PLAIN) {
      const keys = Object.keys(value as object);
      const more = keys.length > SHOWN_KEYS ? ", ..." : "";
      const list = keys.slice(0, SHOWN_KEYS).map(beginning).join(", ") + more;
      return list === "" ? "{}" : `{ ${list} }`;
    }
    return beginning(String(value));
  } catch {
    return `${typeof value} that cannot be shown`;
  }
}

function beginning(text: string): string {
  return text.length > SHOWN_CHARACTERS
    ? `${text.slice(0, SHOWN_CHARACTERS)}...`
    : text;
}

/**
 * Refuses what a caller passed.
 *
 * @param action What the caller wants, as in "create barrier".
 * @param name What is wrong.
 * @param requirement What it must be.
 * @param value What was received.
 * @param type The error's class.
 * @throws {TypeError} Or the other class.
 */
export function refuse(
  action: string,
  name: string,
  requirement: string,
  value: unknown,
  type: new (message: string) => Error = TypeError,
): never {
  throw new type(
    `Cannot ${action} as ${name} must be ${requirement}: received ` +
      shown(value),
  );
}

/** Options whose names others write in another way. */
const OPTIONS = [
  "chunkSize",
  "errorCallback",
  "initargs",
  "maxTasksPerChild",
  "onProgress",
  "timeout",
  "transferResult",
  "workerUrl",
];

/**
 * Checks options: who comes from Python may pass the first of them by itself, or
 * write `chunksize`.
 *
 * @param options What the caller passed.
 * @param action What the caller wants.
 * @param example Options as they should be.
 * @throws {TypeError} If they are no object, or an array, or one has a name that
 * is almost right.
 */
export function checkOptions(
  options: unknown,
  action: string,
  example: string,
): void {
  if (
    typeof options !== "object" || options === null || Array.isArray(options)
  ) {
    refuse(action, "options", `an object, such as ${example}`, options);
  }
  for (const key in options) {
    if (OPTIONS.includes(key)) continue;
    const plain = key.replaceAll("_", "").toLowerCase();
    const meant = OPTIONS.find((name) => name.toLowerCase() === plain);
    if (meant === undefined) continue;
    throw new TypeError(
      `Cannot ${action} as there is no option ${key}: did you mean ${meant}?`,
    );
  }
}

/**
 * Checks a timeout.
 *
 * @param timeout Milliseconds.
 * @param action What the caller wants, as in "wait for event".
 * @returns The timeout; `Infinity` for one past the platform's timer limit.
 * @throws {RangeError} If it is negative or `NaN`.
 * @throws {TypeError} If it is not a number.
 */
export function checkTimeout(
  timeout: number | undefined,
  action: string,
): number {
  if (timeout === undefined) return Infinity;
  if (typeof timeout !== "number") {
    refuse(action, "timeout", "a number of milliseconds", timeout);
  }
  if (!(timeout >= 0)) {
    throw new RangeError(
      `Cannot ${action} as timeout must not be negative or NaN: received ${timeout}`,
    );
  }
  return timeout > TIMER_LIMIT ? Infinity : timeout;
}

/**
 * Checks options with a timeout.
 *
 * @param options The options.
 * @param action What the caller wants.
 * @returns The timeout, as of {@linkcode checkTimeout}.
 * @throws {TypeError} If they are no options.
 * @throws As {@linkcode checkTimeout} does.
 */
export function timeoutOf(
  options: { timeout?: number | undefined },
  action: string,
): number {
  checkOptions(options, action, "{ timeout: 1000 }");
  return checkTimeout(options.timeout, action);
}

/**
 * Checks a signal.
 *
 * @param signal The signal.
 * @param action What the caller wants.
 * @returns The signal.
 * @throws {TypeError} If it is none.
 */
export function checkSignal(
  signal: AbortSignal | undefined,
  action: string,
): AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  refuse(action, "signal", "an AbortSignal", signal);
}

/**
 * Checks an array.
 *
 * @param value The array.
 * @param name What it is called.
 * @param action What the caller wants.
 * @throws {TypeError} If it is none.
 */
export function checkArray(value: unknown, name: string, action: string): void {
  if (!Array.isArray(value)) refuse(action, name, "an array", value);
}

/**
 * Checks what is to be transferred: some platforms take what comes before an
 * item that cannot be, and refuse the call then.
 *
 * @param transfer What the caller passed.
 * @param action What the caller wants.
 * @throws {TypeError} If it is no array, or an item surely no transferable object.
 */
export function checkTransfer(transfer: unknown, action: string): void {
  checkArray(transfer, "transfer", action);
  for (const [index, item] of (transfer as unknown[]).entries()) {
    if (mayTransfer(item)) continue;
    const requirement = "a transferable object, such as an ArrayBuffer";
    refuse(action, `transfer[${index}]`, requirement, item);
  }
}

function mayTransfer(item: unknown): boolean {
  if (typeof item !== "object" || item === null) return false;
  if (ArrayBuffer.isView(item) || isSharedMemory(item)) return false;
  const prototype = Object.getPrototypeOf(item);
  return prototype !== null && prototype !== Object.prototype &&
    prototype !== Array.prototype;
}

/**
 * Checks a name.
 *
 * @param name The name, if there is one.
 * @param action What the caller wants.
 * @throws {TypeError} If it is no string.
 */
export function checkName(name: unknown, action: string): void {
  if (name === undefined || typeof name === "string") return;
  refuse(action, "name", "a string", name);
}

/**
 * Checks an option that is on or off.
 *
 * @param flag What the caller passed.
 * @param name The option's name.
 * @param action What the caller wants.
 * @throws {TypeError} If it is given and no boolean.
 */
export function checkFlag(flag: unknown, name: string, action: string): void {
  if (flag === undefined || typeof flag === "boolean") return;
  refuse(action, name, "true or false", flag);
}

/**
 * Checks a count.
 *
 * @param count What the caller passed.
 * @param name The argument's name.
 * @param action What the caller wants, as in "create barrier".
 * @returns The count.
 * @throws {RangeError} If it is not a positive integer.
 */
export function checkCount(
  count: number,
  name: string,
  action: string,
): number {
  if (!Number.isSafeInteger(count) || count < 1) {
    refuse(action, name, "a positive integer", count, RangeError);
  }
  return count;
}

/**
 * Checks a function.
 *
 * @param fn What the caller passed.
 * @param name The argument's name.
 * @param action What the caller wants.
 * @throws {TypeError} If it is not a function.
 */
export function checkFunction(fn: unknown, name: string, action: string): void {
  if (typeof fn !== "function") refuse(action, name, "a function", fn);
}
