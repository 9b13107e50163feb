/**
 * How a thread is started, from both sides.
 *
 * Which kind of worker each runtime gets, and why, stands in ARCHITECTURE.md.
 *
 * @module
 */

import { timers } from "./loop.ts";
import { sharedCells } from "./memory.ts";
import { closeScope, endBy, exitThread } from "./this_thread.ts";
import type { Transferable } from "./values.ts";
import {
  type Any,
  canShareMemory,
  deno,
  isGlobalWorker,
  process,
  runtime,
  scope,
  usesNodeThreads,
  workerThreads,
} from "./which.ts";

/** Locks that a thread's end releases, however it comes. */
const locks = scope.navigator?.locks as {
  request(name: string, granted: () => unknown): Promise<unknown>;
} | undefined;

/** A name that nobody else has; `crypto.randomUUID` is for secure pages only. */
function newLock(): string {
  const numbers = crypto.getRandomValues(new Uint32Array(4));
  return `@multi/processing ${numbers.join("-")}`;
}

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
 * @throws {Error} If the system has no thread to spare, or the runtime is too old.
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
    return usesNodeThreads
      ? startNodeThread(options, port1, port2)
      : startBrowserThread(options, port1, port2);
  } catch (error) {
    port1.close();
    throw error;
  }
}

/** Makes a worker, for which the system may have no thread to spare. */
function make(name: string, construct: () => Any): Any {
  try {
    return construct();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot start thread "${name}": ${why}`, { cause });
  }
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

/** The same for a global worker, which is handed it as its first message. */
const MESSAGE_LOADER = `addEventListener("message", ({ data }) => {
  globalThis[Symbol.for("${HANDED.description}")] = data;
  new Function(data.source)();
}, { once: true });`;

/** What the worker's program is called in stacks; no function that is sent can be. */
export const PROGRAM_NAME = "multiprocessing/worker";

/** A program that stacks call by its name. */
function named(source: string): string {
  return `${source}\n//# sourceURL=${PROGRAM_NAME}`;
}

let compiles: boolean | undefined;

/**
 * Whether text may be compiled in this program: Deno and Node have a flag of V8's
 * that forbids it, `--disallow-code-generation-from-strings`. Tasks do without.
 */
function compilesText(): boolean {
  try {
    compiles ??= (0, eval)("true") as boolean;
  } catch {
    compiles = false;
  }
  return compiles;
}

/** A program as a script; V8 would parse it twice in a function. */
function asScript(source: string): string {
  return `"use strict";${named(source)}`;
}

/**
 * Deno and Node: `node:worker_threads`. Of Deno's two kinds of worker only the
 * global one can have fewer permissions than this thread, and that one tells
 * nobody of its end and holds the program. So it is started by a host, a thread
 * of the other kind, which waits for its end and ends with its exit code.
 */
function startNodeThread(options: ThreadOptions, port: Any, far: Any): Thread {
  const { name, source, permissions, onExit } = options;
  const host: HostOptions | undefined = permissions === undefined
    ? undefined
    : { name, permissions };
  const url = host ? undefined : options.url; // a host hands its own program on
  const isLoaded = url === undefined && (host !== undefined || compilesText());
  const program = isLoaded ? LOADER : named(source);
  const { Worker } = workerThreads();
  const worker = make(name, () =>
    new Worker(new URL(url ?? dataUrl(program)), {
      name: host ? `${name} (host)` : name,
      workerData: {
        port: far,
        source: isLoaded ? asScript(source) : undefined,
        host,
      },
      transferList: [far],
      ...environment(),
    }));
  let failure: unknown;
  worker.on("error", (error: unknown) => failure = error);
  worker.on("exit", (code: number) => onExit(code, failure));
  return {
    port,
    unref: () => worker.unref(),
    terminate: () => void worker.terminate(),
  };
}

/**
 * What a thread's environment is. A copy of this thread's, but Deno would ask whoever
 * sits at a terminal whether that may be read, and this thread stand still until
 * then: what may not be is shared, and nobody is asked before a task reads it.
 */
function environment(): { env?: unknown } {
  const isReadable = runtime !== "deno" ||
    deno.permissions.querySync({ name: "env" }).state === "granted";
  return isReadable ? {} : { env: workerThreads().SHARE_ENV };
}

/**
 * Bun, whose global `Worker` starts five times faster than its Node kind. Of a
 * data: URL Bun 1.4 keeps a copy for each worker, for ever. Before the first turn
 * of a worker's event loop it collects garbage, for longer than all that is left
 * to do for a first call, so the worker is told at once what it is to do.
 */
function startBunThread(options: ThreadOptions, port: Any, far: Any): Thread {
  const { url, name, source, onExit } = options;
  const worker = make(
    name,
    () => new Worker(url ?? blobUrl(source), { type: "module", name }) as Any,
  );
  // The event of its end has the exit code's low byte only.
  const code = canShareMemory ? sharedCells(2, "thread") : undefined;
  try {
    const handed: Handed = { port: far, boot: options.boot, code };
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
      const exitCode = codeIn(code) ?? event.code;
      onExit(failure === undefined ? exitCode : 1, failure);
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
  const { name, url, source, onExit } = options;
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
    worker = new Worker(url ?? blobUrl(named(source)), {
      type: "module",
      name,
    });
  } catch (error) {
    throw refused(error);
  }
  let alive = false;
  let ended = false;
  const end = (code: number, error?: unknown) => {
    if (ended) return;
    ended = true;
    worker.terminate();
    onExit(code, error);
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
      // None said: something else has ended it.
      () => void timers.setTimeout(() => end(1), LAST_WORDS_MS),
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

/** `postMessage` of a browser's worker, as it was before any task could replace it. */
const postToParent: (message: unknown) => void = scope.postMessage?.bind(scope);

/** Tells the parent of this thread, which is a browser's, how it ends. */
function reportToParent(lock: string, port: Port): Promise<void> {
  endBy((code) => {
    postToParent({ [SIGN]: code });
    port.close();
    closeScope();
  });
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

/** What a host is told. */
interface HostOptions {
  name: string;
  permissions: unknown;
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
    exitThread(1);
  });
  // The worker holds the lock for life, so it is granted here when it has ended.
  worker.addEventListener("message", () => {
    locks!.request(lock, () => exitThread(codeIn(code) ?? 1));
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
  endBy(process.exit);
}

/** The code that a thread has recorded, if it has. */
function codeIn(code: Int32Array | undefined): number | undefined {
  if (code === undefined || Atomics.load(code, 1) === 0) return undefined;
  return Atomics.load(code, 0);
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
  if (!isGlobalWorker()) {
    throw new Error(
      "Cannot run @multi/processing/worker here as it is the program of workers: " +
        "pass its URL as the option workerUrl",
    );
  }
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
