/**
 * What differs between Deno, Bun, Node and browsers, and nothing else: no other
 * file asks which runtime it runs on.
 *
 * Which kind of worker each of them gets, and why, stands in ARCHITECTURE.md.
 *
 * @module
 */

// deno-lint-ignore no-explicit-any
type Any = any;

const scope = globalThis as Any;
const deno = scope.Deno as Any;
const process = scope.process as Any;

/** The runtime this thread runs on. */
export const runtime: "deno" | "bun" | "node" | "browser" =
  deno?.version?.deno !== undefined
    ? "deno"
    : process?.versions?.bun !== undefined
    ? "bun"
    : process?.versions?.node !== undefined
    ? "node"
    : "browser";

const builtin: (name: string) => Any =
  process?.getBuiltinModule?.bind(process) ?? (() => undefined);

/**
 * Worker threads as on Node, loaded when first needed: on Bun, which can do
 * without, that takes longer than the rest of a thread's start.
 */
const workerThreads = () => builtin("node:worker_threads");

/** The processors this program may use at once. */
export const cores: number = scope.navigator?.hardwareConcurrency ??
  builtin("node:os")?.availableParallelism() ?? 1;

/** Whether threads are those of `node:worker_threads`. */
const usesNodeThreads = runtime === "deno" || runtime === "node";

/** Whether `terminate()` stops a thread that is busy; Deno's does not. */
export const stopsBusyThreads: boolean = runtime !== "deno";

// -- memory and blocking ----------------------------------------------------

/** Whether threads can share memory and wait for it without blocking. */
export const canShareMemory: boolean =
  typeof SharedArrayBuffer !== "undefined" &&
  typeof Atomics.waitAsync === "function";

/** Tells the processor that this thread spins. */
export const pause: () => void = (Atomics as Any).pause ?? (() => {});

/**
 * Tells whether a value is memory that threads share.
 *
 * @param value Any value.
 * @returns Whether it is.
 */
export function isSharedMemory(value: unknown): boolean {
  return typeof SharedArrayBuffer !== "undefined" &&
    value instanceof SharedArrayBuffer;
}

/**
 * Allocates zeroed 32-bit cells that every thread can see.
 *
 * @param length How many cells.
 * @param user Who asks; stands in the error.
 * @returns The cells.
 * @throws {Error} If the page is not cross-origin isolated.
 */
export function sharedCells(
  length: number,
  user: string,
): Int32Array<SharedArrayBuffer> {
  if (!canShareMemory) {
    throw new Error(
      `Cannot create ${user} as SharedArrayBuffer or Atomics.waitAsync is ` +
        `missing: serve the page ` +
        `with the headers "Cross-Origin-Opener-Policy: same-origin" and ` +
        `"Cross-Origin-Embedder-Policy: require-corp"`,
    );
  }
  return new Int32Array(new SharedArrayBuffer(length * 4));
}

const encoder = new TextEncoder();
let scratch = new Uint8Array(0);

/**
 * Encodes text into memory that may be shared, which a browser's own
 * `encodeInto` refuses.
 *
 * @param text The text.
 * @param bytes Where it goes.
 * @returns How much was read, and written.
 */
export function encodeInto(
  text: string,
  bytes: Uint8Array,
): TextEncoderEncodeIntoResult {
  if (runtime !== "browser") return encoder.encodeInto(text, bytes);
  const { length } = bytes;
  if (scratch.length < length) scratch = new Uint8Array(length);
  const result = encoder.encodeInto(text, scratch.subarray(0, length));
  bytes.set(scratch.subarray(0, result.written));
  return result;
}

/** Whether this thread may block in `Atomics.wait`; a page's may not. */
export const mayBlock: boolean = runtime !== "browser" ||
  typeof scope.WorkerGlobalScope !== "undefined";

// -- the event loop ---------------------------------------------------------

/** The platform's timers as they were before any task could replace them. */
export const timers: {
  setTimeout: typeof setTimeout;
  clearTimeout: typeof clearTimeout;
} = {
  setTimeout: scope.setTimeout.bind(scope),
  clearTimeout: scope.clearTimeout.bind(scope),
};

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
  if (holds++ === 0) holder?.ref();
}

/** Undoes one {@linkcode hold}. */
export function release(): void {
  if (--holds === 0) holder?.unref();
}

const immediately = scope.setImmediate as
  | ((fn: () => void) => void)
  | undefined;

/**
 * Calls back in a later turn of the event loop, as soon as may be.
 *
 * @param callback What to call.
 */
export function nextTurn(callback: () => void): void {
  if (immediately) return immediately(callback);
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    callback();
  };
  port2.postMessage(undefined);
}

/** A timer that is later than this was held up by what the thread did. */
const LATE_MS = 5;

const now: () => number = performance.now.bind(performance);

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

// -- ending this thread -----------------------------------------------------

/**
 * Ends this thread with a code: `process.exit` as it was before any task could
 * replace it, and later perhaps one that tells the code before.
 */
let exit: ((code: number) => void) | undefined = process?.exit?.bind(process);

/** `Deno.exit`, likewise. */
const exitDeno: ((code: number) => void) | undefined = deno?.exit?.bind(deno);

// A browser's, as they were.
const closeScope: () => void = scope.close?.bind(scope);
const postToParent: (message: unknown) => void = scope.postMessage?.bind(scope);

/**
 * Whether this thread is ending. Handlers of errors may still be called then,
 * and a second exit would change the code, or spin for ever on Deno.
 */
let exiting = false;

/** Ends this thread, unless there is an error: a code that is none, say. */
function leave<T>(end: () => T): T {
  exiting = true;
  try {
    return end();
  } catch (error) {
    exiting = false;
    throw error;
  }
}

/**
 * Ends this worker thread with an exit code, unless it is ending already.
 *
 * @param code The code its parent sees.
 */
export function exitThread(code: number): void {
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
 * and, on a runtime that cannot stop a busy thread, before it prints or tells
 * other threads of anything.
 *
 * @param before Called first; may throw.
 */
export function guardThread(before: () => void): void {
  const guard = (
    owner: Any,
    key: string,
    call = (real: () => unknown) => real(),
  ) => {
    const real = owner?.[key];
    if (typeof real !== "function") return;
    owner[key] = function (this: unknown, ...args: unknown[]) {
      before();
      return call(() => real.apply(this ?? owner, args));
    };
  };
  guard(process, "exit", leave);
  guard(deno, "exit", leave);
  if (stopsBusyThreads) return;
  for (const key of Object.keys(console)) {
    if (key !== "Console") guard(console, key); // that is a class
  }
  guard(scope.BroadcastChannel?.prototype, "postMessage");
  for (const output of [deno?.stdout, deno?.stderr]) {
    guard(output, "write");
    guard(output, "writeSync");
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
  const tell = (error: unknown) => {
    if (!exiting) report(error);
  };
  if (runtime === "deno" || runtime === "browser") {
    // Rejections are told in the order in which they came about, but when they
    // are is the platform's business. So the last one is our own.
    const last = {};
    let whenTold: () => void;
    scope.addEventListener("unhandledrejection", (event: Any) => {
      event.preventDefault();
      if (event.reason !== last) return tell(event.reason);
      event.stopImmediatePropagation();
      whenTold();
    });
    scope.addEventListener("error", (event: Any) => {
      event.preventDefault();
      tell(event.error ?? new Error(event.message));
    });
    return (callback) => {
      whenTold = callback;
      // In a later turn, after what is a few microtasks away.
      nextTurn(() => void new Promise((_, reject) => reject(last)));
    };
  }
  process.on("uncaughtException", tell);
  process.on("unhandledRejection", tell);
  return nextTurn;
}

const GUARDED = Symbol.for("@multi/processing guarded");
let watched: Any;

/**
 * Runs a function, and interrupts it when it takes too long: for a runtime that
 * cannot stop a busy thread from outside. What the function does after its first
 * `await` is not covered.
 *
 * @param milliseconds The time.
 * @param fn The function.
 * @returns What it returned, in a box, or `undefined` if it was interrupted.
 */
export function runWithin<T>(
  milliseconds: number,
  fn: () => T,
): { value: T } | undefined {
  watched ??= new (builtin("node:vm").Script)(
    `globalThis[Symbol.for("${GUARDED.description}")]()`,
  );
  let result: { value: T } | { error: unknown } | undefined;
  Object.defineProperty(globalThis, GUARDED, {
    configurable: true,
    value: () => {
      try {
        result = { value: fn() };
      } catch (error) {
        result = { error };
      }
    },
  });
  try {
    watched.runInThisContext({ timeout: Math.max(1, Math.ceil(milliseconds)) });
  } catch (error) {
    if ((error as Any)?.code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    return undefined;
  }
  if (result && "error" in result) throw result.error;
  return result;
}

/**
 * Makes an error an uncaught one.
 *
 * @param error The error.
 */
export function reportUncaught(error: unknown): void {
  if (typeof reportError === "function") reportError(error);
  else {
    queueMicrotask(() => {
      throw error;
    });
  }
}

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
 * @returns Whether it is; a browser can tell of proxies that were revoked alone.
 */
export function isDisguised(value: object): boolean {
  if (types !== undefined) {
    return types.isProxy(value) || types.isArgumentsObject(value);
  }
  try {
    Array.isArray(value);
    return false;
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
  const name = Object.prototype.toString.call(value).slice(8, -1);
  try {
    const type = scope[name];
    return value instanceof type && !(structuredClone(value) instanceof type);
  } catch {
    return false; // there is no such class, or the platform refuses the object
  }
}

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

// -- starting a thread ------------------------------------------------------

/** Locks that a thread's end releases, however it comes. */
const locks = scope.navigator?.locks as {
  request(name: string, granted: () => unknown): Promise<unknown>;
} | undefined;

/** A name that nobody else has; `crypto.randomUUID` is for secure pages only. */
function newLock(): string {
  const numbers = crypto.getRandomValues(new Uint32Array(4));
  return `@multi/processing ${numbers.join("-")}`;
}

/** Whether messages come after one that could not be read; Deno gives up then. */
export const hearsOn: boolean = runtime !== "deno";

/** The parent's end of the wire to a worker. */
export interface Port {
  /** Sends a message; throws a `DataCloneError` if it cannot be cloned. */
  postMessage(message: unknown, transfer?: Transferable[]): void;
  /** Called for each message that comes. */
  onmessage: ((event: { data: Any }) => void) | null;
  /** Called for each message that comes and cannot be read. */
  onmessageerror: (() => void) | null;
  /** Lets no further message come or go. */
  close(): void;
  /** Lets the port not hold the event loop. */
  unref?(): void;
}

/** What {@linkcode startThread} needs to know. */
export interface ThreadOptions {
  /** The program's source text. */
  source: string;
  /** The thread's name, for debuggers. */
  name: string;
  /** What the program is to do; it is given it by {@linkcode whenBooted}. */
  boot: unknown;
  /** Where the program is a file, to be loaded instead of the text. */
  url?: string | undefined;
  /** What the thread may do (Deno). */
  permissions?: unknown;
  /** Called once, when the thread has ended. */
  onExit: (code: number, error: unknown) => void;
}

/** A worker thread, seen from the thread that started it. */
export interface Thread {
  /** The wire to it. */
  readonly port: Port;
  /** Lets the program end although the thread still runs; at first it holds it. */
  unref(): void;
  /** Stops the thread, at once where the runtime can. */
  terminate(): void;
}

/**
 * Starts a thread from source text: no file, no permission, nothing to resolve.
 *
 * @param options The program, what it is to do and who to tell of its end.
 * @returns The thread.
 * @throws {DOMException} A `DataCloneError` if what it is to do cannot be sent.
 */
export function startThread(options: ThreadOptions): Thread {
  const Channel = usesNodeThreads
    ? workerThreads().MessageChannel
    : MessageChannel;
  const { port1, port2 } = new Channel();
  try {
    if (runtime === "bun") return startBunThread(options, port1, port2);
    // Before the thread is made: what cannot be cloned costs no thread.
    port1.postMessage(options.boot);
  } catch (error) {
    port1.close();
    throw error;
  }
  if (options.permissions !== undefined) {
    return startBounded(options, port1, port2);
  }
  return usesNodeThreads
    ? startNodeThread(options, port1, port2)
    : startBrowserThread(options, port1, port2);
}

function dataUrl(source: string): string {
  return `data:text/javascript,${encodeURIComponent(source)}`;
}

/**
 * A program that runs the one that comes with it. Deno 2.9 keeps a copy of a
 * data: URL for each worker, for ever, so that one is short. It awaits nothing:
 * a thread that exits before its module has been evaluated leaves two file
 * descriptors of its event loop open.
 */
const LOADER = "import { workerData } from 'node:worker_threads';" +
  "(0, eval)(workerData.source);";

/** Where {@linkcode MESSAGE_LOADER} leaves what it was handed. */
const HANDED = Symbol.for("@multi/processing handed");

/**
 * The same for global workers, which are handed it as their first message. Bun
 * translates the text of a module before it runs it: of the whole program that
 * takes a third of a thread's start. As a function, since what a script declares
 * that is evaluated stays slow there, a third of the calls a second.
 */
const MESSAGE_LOADER = `addEventListener("message", ({ data }) => {
  globalThis[Symbol.for("${HANDED.description}")] = data;
  new Function(data.source)();
}, { once: true });`;

/** A program as a script; V8 would parse it twice in a function. */
function asScript(source: string): string {
  return `"use strict";${source}\n//# sourceURL=multiprocessing:worker`;
}

/** Deno and Node: `node:worker_threads`. */
function startNodeThread(options: ThreadOptions, port: Any, far: Any): Thread {
  const worker = new (workerThreads().Worker)(
    new URL(options.url ?? dataUrl(LOADER)),
    {
      name: options.name,
      workerData: options.url === undefined
        ? { port: far, source: asScript(options.source) }
        : { port: far },
      transferList: [far],
    },
  );
  return asThread(worker, port, options);
}

function asThread(worker: Any, port: Any, options: ThreadOptions): Thread {
  let failure: unknown;
  worker.on("error", (error: unknown) => failure = error);
  worker.on("exit", (code: number) => options.onExit(code, failure));
  return {
    port,
    unref: () => worker.unref(),
    terminate: () => void worker.terminate(),
  };
}

/**
 * Bun, whose global `Worker` starts five times faster than its Node kind. Of a
 * data: URL Bun 1.4 keeps a copy for each worker, for ever. Before the first turn
 * of a worker's event loop it collects garbage, for longer than all that is left
 * to do for a first call, so the worker is told at once what it is to do.
 */
function startBunThread(options: ThreadOptions, port: Any, far: Any): Thread {
  const { url, name } = options;
  const worker = new Worker(url ?? blobUrl(MESSAGE_LOADER), {
    type: "module",
    name,
  }) as Any;
  const source = url === undefined ? asScript(options.source) : undefined;
  // The event of its end has the exit code's low byte only.
  const code = canShareMemory ? sharedCells(2, "thread") : undefined;
  try {
    const handed: Handed = { port: far, boot: options.boot, code, source };
    worker.postMessage(handed, [far]);
  } catch (error) {
    worker.terminate();
    throw error;
  }
  let failure: unknown;
  worker.addEventListener("error", (event: Any) => {
    event.preventDefault?.();
    failure = event.error ?? new Error(event.message || "worker failed");
  });
  worker.addEventListener(
    "close",
    (event: Any) => {
      const isKnown = code !== undefined && Atomics.load(code, 1) === 1;
      const exitCode = isKnown ? Atomics.load(code, 0) : event.code;
      options.onExit(failure === undefined ? exitCode : 1, failure);
    },
  );
  return {
    port,
    unref: () => worker.unref(),
    terminate: () => worker.terminate(),
  };
}

/** What a browser's worker says of itself: that it lives, or its exit code. */
const SIGN = "@multi/processing";

/** How long the exit code of a worker may be on its way after its end. */
const LAST_WORDS_MS = 100;

/** The programs that have a URL. */
const blobUrls = new Map<string, string>();

function blobUrl(source: string): string {
  let url = blobUrls.get(source);
  if (url === undefined) {
    url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    blobUrls.set(source, url);
  }
  return url;
}

/**
 * Browsers, which tell nobody of a worker's end. So it says its exit code
 * before it ends, and for an end that it does not know of (the browser's own)
 * it holds a lock for life, which is granted here then.
 */
function startBrowserThread(
  options: ThreadOptions,
  port: Any,
  far: Any,
): Thread {
  const { name, url, source } = options;
  const refused = (cause?: unknown) =>
    new Error(
      url === undefined
        ? `Cannot start thread "${name}" as the browser refuses its blob: URL, ` +
          `which a Content Security Policy without "worker-src blob:" does: ` +
          `allow it, or serve the file of @multi/processing/worker and pass ` +
          `its URL as the option workerUrl`
        : `Cannot start thread "${name}" as the worker file cannot be loaded: ` +
          `received ${url}`,
      cause === undefined ? {} : { cause },
    );
  let worker: Worker;
  try {
    worker = new Worker(url ?? blobUrl(source), { type: "module", name });
  } catch (error) {
    throw refused(error);
  }
  let alive = false;
  let ended = false;
  const end = (code: number, error?: unknown) => {
    if (ended) return;
    ended = true;
    worker.terminate();
    options.onExit(code, error);
  };
  const lock = newLock();
  worker.addEventListener("message", ({ data }) => {
    const sign = data?.[SIGN];
    if (typeof sign === "number") return end(sign);
    if (sign !== lock) return;
    alive = true;
    // What the worker said before it ended may come a little later.
    locks?.request(
      lock,
      () => void timers.setTimeout(() => end(0), LAST_WORDS_MS),
    );
  });
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    // A worker that is refused, or cannot be loaded, has no message.
    const { message } = event;
    end(1, alive || message ? event.error ?? new Error(message) : refused());
  });
  worker.postMessage({ port: far, lock }, [far]);
  return {
    port,
    unref() {},
    terminate: () => end(1),
  };
}

/** Tells the parent of this thread, which is a browser's, how it ends. */
function reportToParent(lock: string, port: Port): Promise<void> {
  exit = (code) => {
    postToParent({ [SIGN]: code });
    port.close();
    closeScope();
  };
  return holdForLife(lock, { [SIGN]: lock });
}

/** Holds a lock until this thread ends, and says so once it does. */
function holdForLife(lock: string, message: unknown): Promise<void> {
  return new Promise((resolve) => {
    const live = () => {
      postToParent(message);
      resolve();
      return new Promise(() => {});
    };
    if (locks) locks.request(lock, live);
    else live(); // the page is not secure
  });
}

/**
 * Makes a URL absolute; a page's relative ones are its own.
 *
 * @param url The URL.
 * @returns The absolute one, or `undefined` if it is none.
 */
export function resolveUrl(url: string | URL): string | undefined {
  try {
    return new URL(url, scope.document?.baseURI).href;
  } catch {
    return undefined;
  }
}

/** Whether what a thread may do can be bounded. */
export const canBoundThreads: boolean = runtime === "deno";

/** What a host is told. */
interface HostOptions {
  name: string;
  permissions: unknown;
}

/**
 * A thread with fewer permissions than this one. Of Deno's two kinds of worker
 * only the global one can have them, and that one tells nobody of its end and
 * holds the program. So it is started by a host, a thread of the other kind,
 * which waits for its end and ends with its exit code.
 */
function startBounded(options: ThreadOptions, port: Any, far: Any): Thread {
  const { source, name, permissions } = options;
  const worker = new (workerThreads().Worker)(new URL(dataUrl(LOADER)), {
    name: `${name} (host)`,
    workerData: {
      port: far,
      source: asScript(source),
      host: { name, permissions },
    },
    transferList: [far],
  });
  return asThread(worker, port, options);
}

/**
 * Runs a host, if this thread is one.
 *
 * @returns Whether it is.
 */
export function runHost(): boolean {
  if (!usesNodeThreads) return false;
  const handed = workerThreads().workerData;
  const host: HostOptions | undefined = handed?.host;
  if (host === undefined) return false;
  const { port, source } = handed; // its own program is the worker's too
  const worker = new Worker(dataUrl(MESSAGE_LOADER), {
    type: "module",
    name: host.name,
    deno: { permissions: host.permissions },
  } as WorkerOptions);
  const code = sharedCells(2, "thread");
  const lock = newLock();
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    exit!(1);
  });
  // The worker holds the lock for life, so it is granted here when it has ended.
  worker.addEventListener("message", () => {
    locks!.request(lock, () => exit!(Atomics.load(code, 0)));
  }, { once: true });
  worker.postMessage({ port, lock, code, source }, [port]);
  return true;
}

/** Lets others see with which code this thread ends. */
function recordExit(code: Int32Array): void {
  const record = (exit: (code?: number) => never) => (status?: number) => {
    const exitCode = status ?? process.exitCode ?? deno?.exitCode ?? 0;
    Atomics.store(code, 0, Number(exitCode));
    Atomics.store(code, 1, 1);
    return exit(status);
  };
  if (deno) deno.exit = record(deno.exit);
  process.exit = record(process.exit.bind(process));
  exit = process.exit;
}

/** What a thread is handed at its start. */
interface Handed {
  port: Port;
  /** What it is to do, if that does not come by the port. */
  boot?: unknown;
  /** The program, if the thread was not started from it. */
  source?: string | undefined;
  /** Where it leaves its exit code, if the platform does not tell it. */
  code?: Int32Array | undefined;
  /** A lock to hold for life, if the platform does not tell of its end. */
  lock?: string;
}

/**
 * Calls back once this worker knows what to do.
 *
 * @param begin Is given what it is to do, and its end of the wire.
 */
export function whenBooted(begin: (boot: Any, port: Port) => void): void {
  const take = (handed: Handed) =>
    // Nothing may run that could end the thread before its end can be told.
    whenEndIsTold(handed, () => {
      const { port, boot } = handed;
      if (boot !== undefined) {
        // Someone who listens keeps the thread alive until its job ends it; no
        // message is lost, as one who expects any listens before this returns.
        port.onmessage = () => {};
        return begin(boot, port);
      }
      // Uncaught, so that the parent is told of it.
      port.onmessageerror = () => {
        throw new Error("Cannot read what this thread is to run");
      };
      port.onmessage = ({ data }) => begin(data, port);
    });
  const given = usesNodeThreads ? workerThreads().workerData : undefined;
  const handed = given ?? scope[HANDED];
  delete scope[HANDED];
  if (handed) return take(handed);
  scope.addEventListener(
    "message",
    (event: MessageEvent) => take(event.data),
    { once: true },
  );
}

/** Calls back once the parent will be told how this thread ends. */
function whenEndIsTold(
  { port, code, lock }: Handed,
  callback: () => void,
): void {
  if (code !== undefined) recordExit(code);
  if (lock === undefined) return callback();
  const told = code === undefined
    ? reportToParent(lock, port)
    : holdForLife(lock, "locked");
  told.then(callback);
}
