/**
 * The event loop of this thread: its timers and turns, and what keeps it alive.
 *
 * @module
 */

import { type Any, builtin, runtime, scope } from "./which.ts";

/** The platform's timers as they were before any task could replace them. */
export const timers: {
  setTimeout: typeof setTimeout;
  clearTimeout: typeof clearTimeout;
} = {
  setTimeout: scope.setTimeout.bind(scope),
  clearTimeout: scope.clearTimeout.bind(scope),
};

/** Calls back in a microtask, likewise. */
export const microtask: (callback: () => void) => void = queueMicrotask.bind(
  scope,
);

/** Milliseconds that never go back, likewise. */
export const now: () => number = performance.now.bind(performance);

/** Milliseconds that every thread counts alike, likewise: deadlines are so given. */
export const wallClock: () => number = Date.now;

/**
 * One timer per thread that never does anything, made at import: while a wait
 * is pending it holds the event loop, which a pending `Atomics.waitAsync` does
 * not do on Deno and Node nor in a worker on Bun (denoland/deno#15358,
 * nodejs/node#61941, oven-sh/bun#34911). Switching a standing timer costs a
 * twentieth of making one.
 */
const holder: Any = runtime === "browser"
  ? undefined
  : setInterval(() => {}, 0x7fffffff);
holder?.unref();

let holds = 0;

/** Keeps this thread's event loop alive until the matching {@linkcode release}. */
export function hold(): void {
  if (holds === 0) holder?.ref();
  holds++; // last, as the stack may be at its end
}

/** Undoes one {@linkcode hold}. */
export function release(): void {
  if (--holds === 0) holder?.unref();
}

const immediately = scope.setImmediate as
  | ((fn: () => void) => void)
  | undefined;

/** What is due in later turns, by number; no array, whose methods a task could replace. */
const due: Record<number, () => void> = Object.create(null);
let [oldest, newest] = [0, 0];

/** Where there is no `setImmediate`: sends this thread a message for each of them. */
let askForTurn: (() => void) | undefined;

function openTurns(): () => void {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    const callback = due[oldest]!;
    delete due[oldest++];
    callback();
  };
  return port2.postMessage.bind(port2, undefined);
}

/**
 * Calls back in a later turn of the event loop, as soon as may be.
 *
 * @param callback What to call.
 */
export function nextTurn(callback: () => void): void {
  if (immediately) return immediately(callback);
  askForTurn ??= openTurns();
  due[newest++] = callback;
  askForTurn();
}

/** A timer that is later than this was held up by what the thread did. */
const LATE_MS = 5;

/**
 * Starts a timer that does not fire early: the platform's cut fractions off, and
 * those of Node come up to a millisecond before their time all the same. Nor does
 * it fire before the thread has heard of what happened in time while it was
 * busy: some platforms have timers before messages, so it gives them a moment.
 *
 * @param callback Called once.
 * @param milliseconds The time.
 * @returns Stops the timer.
 */
export function startTimer(
  callback: () => void,
  milliseconds: number,
): () => void {
  const due = now() + milliseconds;
  const fire = () => {
    const late = now() - due;
    if (late < 0) timer = timers.setTimeout(fire, Math.ceil(-late));
    else if (late <= LATE_MS) callback();
    else timer = timers.setTimeout(callback, LATE_MS);
  };
  let timer = timers.setTimeout(fire, Math.ceil(milliseconds));
  return () => timers.clearTimeout(timer);
}

/**
 * Binds a callback to what the `AsyncLocalStorage`s of this moment hold, where
 * there are such.
 *
 * @param callback The callback.
 * @returns One that calls it so.
 */
export function inContext<F extends (...args: Any[]) => unknown>(
  callback: F,
): F {
  const storage = builtin("node:async_hooks")?.AsyncLocalStorage;
  return storage?.bind?.(callback) ?? callback;
}
