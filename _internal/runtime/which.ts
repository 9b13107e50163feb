/**
 * Which runtime this is, and what it can do.
 *
 * @module
 */

// deno-lint-ignore no-explicit-any
export type Any = any;

/** The global scope. */
export const scope = globalThis as Any;
/** The global of Deno. */
export const deno = scope.Deno as Any;
/** The global of Node and those that have it too. */
export const process = scope.process as Any;

/** The runtime this thread runs on. */
export const runtime: "deno" | "bun" | "node" | "browser" =
  deno?.version?.deno !== undefined
    ? "deno"
    : process?.versions?.bun !== undefined
    ? "bun"
    : process?.versions?.node !== undefined
    ? "node"
    : "browser";

/**
 * Loads a module of the platform's own.
 *
 * @param name As in an import.
 * @returns The module, or `undefined` if there is no such thing here.
 */
export const builtin: (name: string) => Any =
  process?.getBuiltinModule?.bind(process) ?? (() => undefined);

/**
 * Worker threads as on Node, loaded when first needed: on Bun, which can do
 * without, that takes longer than the rest of a thread's start.
 *
 * @returns The module.
 * @throws {Error} If this runtime is too old to have it for all.
 */
export function workerThreads(): Any {
  const threads = builtin("node:worker_threads");
  if (threads !== undefined) return threads;
  throw new Error(
    "Cannot start thread as this runtime has no process.getBuiltinModule(): " +
      "use Deno 2.9, Bun 1.4, Node 22.3 or later",
  );
}

/**
 * Tells whether this thread is a worker of the global `Worker`.
 *
 * @returns Whether it is.
 */
export function isGlobalWorker(): boolean {
  if (runtime === "bun") return !scope.Bun.isMainThread;
  return scope.document === undefined &&
    typeof scope.postMessage === "function";
}

/** The processors this program may use at once. */
export const cores: number = scope.navigator?.hardwareConcurrency ??
  builtin("node:os")?.availableParallelism() ?? 1;

/** Whether threads are those of `node:worker_threads`. */
export const usesNodeThreads: boolean = runtime === "deno" ||
  runtime === "node";

/** Whether `terminate()` stops a thread that is busy; Deno's does not. */
export const stopsBusyThreads: boolean = runtime !== "deno";

/** Whether what a thread may do can be bounded. */
export const canBoundThreads: boolean = runtime === "deno";

/** Whether threads can share memory and wait for it without blocking. */
export const canShareMemory: boolean =
  typeof SharedArrayBuffer !== "undefined" &&
  typeof Atomics.waitAsync === "function";

/**
 * Whether a wait that its own thread ends is over in a later turn of the event loop.
 * In Firefox it is in a microtask, and a turn by a message is cheap in browsers.
 */
export const wakesInTurn: boolean = canShareMemory && runtime !== "browser";

/** Tells the processor that this thread spins. */
export const pause: () => void = (Atomics as Any).pause ?? (() => {});

/** Whether this thread may block in `Atomics.wait`; a page's may not. */
export const mayBlock: boolean = runtime !== "browser" ||
  typeof scope.WorkerGlobalScope !== "undefined";

/** Whether messages come after one that could not be read; Deno gives up then. */
export const hearsOn: boolean = runtime !== "deno";

/**
 * How deep a value may be nested that is sent. V8 writes more than it can read
 * again, and a message that cannot be read is lost; how much it can read depends
 * on the stack, of which a browser's worker has the least.
 */
export const MAX_DEPTH: number = runtime === "bun"
  ? Infinity
  : runtime === "browser"
  ? 1000
  : 2000;
