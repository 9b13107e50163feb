/**
 * How this thread ends, and what it does about that before it has to.
 *
 * @module
 */

import { microtask, nextTurn, now } from "./loop.ts";
import {
  type Any,
  builtin,
  canShareMemory,
  deno,
  process,
  runtime,
  scope,
} from "./which.ts";

/**
 * Ends this thread with a code: `process.exit` as it was before any task could
 * replace it, and later perhaps one that tells the code before.
 */
let exit: ((code: number) => void) | undefined = process?.exit?.bind(process);

/** `Deno.exit`, likewise. */
const exitDeno: ((code: number) => void) | undefined = deno?.exit?.bind(deno);

/** `close` of a browser's worker, likewise. */
export const closeScope: () => void = scope.close?.bind(scope);

/**
 * Changes how this thread ends.
 *
 * @param end Ends it with a code.
 */
export function endBy(end: (code: number) => void): void {
  exit = end;
}

/**
 * Whether this thread is ending. Handlers of errors may still be called then,
 * and a second exit would change the code, or spin for ever on Deno.
 */
let exiting = false;

/**
 * Whether a watchdog has struck in the midst of an exit, so that no other can be
 * made in the same way.
 */
let isExitBroken = false;

/** Is told before this thread ends, and if it does not after all. */
let tellOfEnd: ((isEnding: boolean) => void) | undefined;

/**
 * Lets somebody be told when this thread ends by itself.
 *
 * @param tell Is given `true` before the end, and `false` if it does not come.
 */
export function onEnd(tell: (isEnding: boolean) => void): void {
  tellOfEnd = tell;
}

/**
 * Says that this thread ends, and ends it; takes that back if it cannot be ended, as
 * with an exit code that is none.
 */
function leave<T>(end: () => T): T {
  exiting = true;
  tellOfEnd?.(true);
  try {
    return end();
  } catch (error) {
    exiting = false;
    tellOfEnd?.(false);
    throw error;
  }
}

/**
 * Ends this worker thread with an exit code, unless it is ending already.
 *
 * @param code The code its parent sees.
 */
export function exitThread(code: number): void {
  if (isExitBroken) exitDeno?.(code);
  if (exiting) return;
  leave(() => exit ? exit(code) : closeScope());
}

/** Lets no further line of this thread run. */
export function stay(): void {
  if (!canShareMemory) return;
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

/**
 * Ends this worker thread, which its parent has terminated. Where this returns,
 * the thread ends once it is back in its event loop.
 */
export function leaveThread(): void {
  // Deno's process.exit() spins for ever in a thread that was terminated.
  if (exitDeno) exitDeno(1);
  else exitThread(1);
}

/**
 * Lets something be done before a task's own `process.exit()` or `Deno.exit()`,
 * and, on a runtime that cannot stop a busy thread at once, before it prints or
 * tells other threads of anything.
 *
 * @param before Called first; may throw.
 */
export function guardThread(before: () => void): void {
  const guard = (
    owner: Any,
    key: string,
    call = (real: () => unknown, _args: Any[]) => real(),
  ) => {
    const real = owner?.[key];
    if (typeof real !== "function") return;
    // Where the globals are frozen, as they may be on Node, it stays as it is.
    Reflect.set(owner, key, function (this: unknown, ...args: unknown[]) {
      before();
      return call(() => real.apply(this ?? owner, args), args);
    });
  };
  // Deno's process.exit() lets timers go on, and spins for ever if one calls it again.
  guard(
    process,
    "exit",
    (end, [code]) => exiting && exitDeno ? exitDeno(code) : leave(end),
  );
  guard(deno, "exit", leave);
  // Browsers and Node let it go on for a while.
  if (runtime === "bun") return;
  for (const key of Object.keys(console)) {
    if (key !== "Console") guard(console, key); // that is a class
  }
  guard(scope.BroadcastChannel?.prototype, "postMessage");
  guard(scope.MessagePort?.prototype, "postMessage");
  for (const output of [deno?.stdout, deno?.stderr]) {
    guard(output, "write");
    guard(output, "writeSync");
  }
}

/**
 * Lets nothing that this worker prints stay behind when it ends: Node hands one
 * write at a time to the main thread, and the next only when that one was asked
 * for more, so what a call has printed would wait here while its answer is read.
 */
export function printAtOnce(): void {
  if (runtime !== "node") return;
  for (const output of [process.stdout, process.stderr]) {
    const write = output._writev;
    if (typeof write !== "function") continue;
    output._writev = function (this: unknown, chunks: Any, done: () => void) {
      write.call(this, chunks, () => {});
      done();
    };
  }
}

/**
 * Makes the worker's global scope the same on every runtime: `self`, its
 * `name` and `close()`.
 *
 * @param name The name of the process that the thread is.
 * @param end Ends the thread with an exit code.
 */
export function dressWorkerScope(
  name: string,
  end: (code: number) => void,
): void {
  const define = (key: string, value: unknown) =>
    Object.defineProperty(globalThis, key, {
      value,
      writable: true,
      configurable: true,
      enumerable: true,
    });
  if (typeof scope.self === "undefined") define("self", globalThis);
  define("name", name);
  if (exit) {
    define("close", () => {
      end(0);
      // A browser's ends at its next turn only; the parent, which knows of the
      // end, stops the thread.
      if (runtime === "browser") stay();
    });
  }
}

/**
 * Calls back for every error that nothing in this worker caught, a rejection
 * included, instead of letting the runtime end the thread.
 *
 * @param report Is given what was thrown.
 * @returns What calls back when all that was thrown till then has been reported.
 */
export function catchStrayErrors(
  report: (error: unknown) => void,
): (callback: () => void) => void {
  if (runtime === "deno" || runtime === "browser") {
    let told = false;
    // A task's own listeners come later, and may deal with it.
    const tellUnlessPrevented = (
      event: Any,
      error: unknown,
      isDealtWith = () => false,
    ) => {
      if (told && !exiting) return; // the thread could not be ended: let it die
      let prevented = false;
      event.preventDefault();
      Object.defineProperty(event, "preventDefault", {
        value: () => prevented = true,
      });
      microtask(() => {
        if (prevented || exiting || isDealtWith()) return;
        told = true;
        report(error);
      });
    };
    // Rejections are told in the order in which they came about, but when they
    // are is the platform's business. So the last one is our own.
    const last = {};
    let whenTold: () => void;
    scope.addEventListener("unhandledrejection", (event: Any) => {
      const { reason, promise } = event;
      if (reason !== last) {
        // Deno would ask those who listen there next.
        return tellUnlessPrevented(
          event,
          reason,
          () => process?.emit("unhandledRejection", reason, promise) ?? false,
        );
      }
      event.preventDefault();
      event.stopImmediatePropagation();
      microtask(whenTold);
    });
    scope.addEventListener("error", (event: Any) => {
      tellUnlessPrevented(event, event.error ?? new Error(event.message));
    });
    return (callback) => {
      whenTold = callback;
      // In a later turn, after what is a few microtasks away.
      nextTurn(() => void new Promise((_, reject) => reject(last)));
    };
  }
  for (const event of ["uncaughtException", "unhandledRejection"]) {
    process.on(event, (error: unknown) => {
      const isDealtWith = process.listenerCount(event) > 1; // by a task's own
      if (!isDealtWith && !exiting) report(error);
    });
  }
  return nextTurn;
}

const GUARDED = Symbol.for("@multi/processing guarded");

/**
 * What ends so close to its time waits for the watchdog: if that is on its way as
 * the script ends, Deno 2.9 lets it strike whatever comes next, and the thread ends.
 */
const NEAR_MS = 2;
/**
 * And no longer than this: if it has struck in the midst of a clone, Deno made an
 * error of it that the function may have caught, and no other comes.
 */
const PAST_MS = 50;

let watched: Any;
const doNothing = () => {};
/** What the script under watch calls. */
let guarded: () => void = doNothing;

/**
 * Runs a function, and interrupts it when it takes too long: for a runtime that
 * cannot stop a busy thread from outside. What the function does after its first
 * `await` is not covered.
 *
 * @param milliseconds The time.
 * @param fn The function.
 * @returns What it returned, in a box, or `undefined` if it was interrupted: this
 * thread can go on then, unless it {@linkcode mustEnd}.
 */
export function runWithin<T>(
  milliseconds: number,
  fn: () => T,
): { value: T } | undefined {
  if (watched === undefined) {
    // Once, as a task may let nobody define a global any more.
    Object.defineProperty(globalThis, GUARDED, { value: () => guarded() });
    watched = new (builtin("node:vm").Script)(
      `globalThis[Symbol.for("${GUARDED.description}")]()`,
    );
  }
  let result: { value: T } | { error: unknown } | undefined;
  const timeout = Math.max(1, Math.ceil(milliseconds));
  const end = now() + timeout;
  guarded = () => {
    try {
      result = { value: fn() };
    } catch (error) {
      result = { error };
    }
    let time = now();
    while (time > end - NEAR_MS && time < end + PAST_MS) time = now();
  };
  try {
    watched.runInThisContext({ timeout });
  } catch (error) {
    if ((error as Any)?.code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    isExitBroken ||= exiting;
  } finally {
    guarded = doNothing; // and forgets what the function holds
  }
  if (result && "error" in result) throw result.error;
  return result;
}

/** Whether this thread was about to end when a function was interrupted. */
export function mustEnd(): boolean {
  return isExitBroken;
}

/**
 * Makes an error an uncaught one.
 *
 * @param error The error.
 */
export function reportUncaught(error: unknown): void {
  if (typeof reportError === "function") reportError(error);
  else {
    microtask(() => {
      throw error;
    });
  }
}
