/**
 * Functions that run in a thread of their own.
 *
 * @module
 */

import {
  type AnyFunction,
  describe,
  describeToRun,
  nameOf,
} from "./_internal/callable.ts";
import {
  checkArray,
  checkFlag,
  checkFunction,
  checkName,
  checkOptions,
  checkSignal,
  timeoutOf,
} from "./_internal/check.ts";
import { Child } from "./_internal/child.ts";
import { encode, located } from "./_internal/codec.ts";
import { showState } from "./_internal/inspect.ts";
import { Latch } from "./_internal/latch.ts";
import { Counter, nextNumber, realm } from "./_internal/realm.ts";
import {
  checkPermissions,
  checkWorkerUrl,
  type ThreadPermissions,
} from "./_internal/thread_options.ts";
import { report } from "./_internal/worker/report.ts";

export type { ThreadPermissions };

/** Options of {@linkcode Process}. */
export interface ProcessOptions<F extends AnyFunction = AnyFunction> {
  /**
   * The arguments of the target. The types check those that are given, but do
   * not require all of them.
   *
   * @default {[]}
   */
  args?: Readonly<Parameters<F>> | undefined;
  /**
   * The process's name, which its code finds in `self.name`.
   *
   * @default `Process-N`
   */
  name?: string | undefined;
  /**
   * Whether the process lets the program end, and is ended with it.
   *
   * @default {false}
   */
  daemon?: boolean | undefined;
  /**
   * What the process may do: on Deno, with `--unstable-worker-options`, without
   * which Deno ends the whole program.
   *
   * @default What this thread may do.
   */
  permissions?: ThreadPermissions | undefined;
  /**
   * The URL of a file that runs the worker's program, to start from instead of
   * text: for pages whose Content Security Policy forbids workers from `blob:`
   * URLs. `@multi/processing/worker` is such a file.
   *
   * @default The one that this thread was started from, if any.
   */
  workerUrl?: string | URL | undefined;
}

/** Options of {@linkcode Process.join}. */
export interface ProcessJoinOptions {
  /**
   * Milliseconds after which `join` gives up; `0` polls once.
   *
   * @default {Infinity}
   */
  timeout?: number | undefined;
  /** Cancels this wait; the process goes on. */
  signal?: AbortSignal | undefined;
}

/** Exit codes as CPython gives them: minus the number of the signal. */
const TERMINATED = -15;
const KILLED = -9;

/** The processes that this thread has started and that have not ended. */
const active = new Set<Process>();

/**
 * A function that runs in a thread of its own, like Python's
 * `multiprocessing.Process`.
 *
 * The target is a self-contained function, which is sent as its source text, or
 * one marked with {@linkcode task}. Its arguments travel by structured clone;
 * events, barriers and tasks may stand anywhere in them.
 *
 * - The exit code is `0` when the target has returned and its promise settled,
 *   `1` when it threw (the error is written to standard error under the
 *   process's name, and this thread lives on), `n` after `Deno.exit(n)` or
 *   `process.exit(n)`, `-15` after `terminate()`, `-9` after `kill()`.
 * - It ends when its target has, whatever timers are left. `self.close()` ends it
 *   with `0`, and an error that nothing in it caught with `1`.
 * - A process keeps the program alive until it ends, unless it is a daemon.
 * - The children of a process end with it.
 *
 * @example Usage
 * ```ts
 * import { Process } from "@multi/processing";
 * import { assertEquals } from "@std/assert";
 *
 * const process = new Process((n: number) => {
 *   if (n !== 42) throw new Error("not the answer");
 * }, { args: [42] });
 * process.start();
 * assertEquals(await process.join(), 0);
 * ```
 *
 * @typeParam F The target's type.
 * @see {@link https://docs.python.org/3/library/multiprocessing.html#multiprocessing.Process}
 */
export class Process<F extends AnyFunction = AnyFunction> {
  /** Until the start: what they hold may be large, and the process lives long. */
  #target: F | undefined;
  #args: readonly unknown[] | undefined;
  readonly #name: string;
  readonly #daemon: boolean;
  readonly #permissions: ThreadPermissions | undefined;
  readonly #workerUrl: string | undefined;
  readonly #ended = new Latch<number>();
  #started = false;
  #child: Child | undefined;

  static {
    showState(this, (it) => {
      if (!(#started in it)) return {};
      const { name, id, exitCode, daemon } = it;
      return { name, id, exitCode, daemon };
    });
  }

  /**
   * Creates a process; `start()` starts it.
   *
   * @param target What it runs.
   * @param options Arguments, name, permissions, and whether it is a daemon.
   * @throws {TypeError} If `target` is not a function that can be sent, or an
   * option is not of its type, or `permissions` is given where the runtime
   * cannot bound a thread.
   */
  constructor(target: F, options: ProcessOptions<F> = {}) {
    const action = "create process";
    checkFunction(target, "target", action);
    describe(target);
    checkOptions(options, action, "{ args: [1, 2] }");
    const { args = [], name, daemon = false } = options;
    checkArray(args, "args", action);
    checkName(name, action);
    checkFlag(daemon, "daemon", action);
    this.#permissions = checkPermissions(options.permissions, action);
    this.#workerUrl = checkWorkerUrl(options.workerUrl, action);
    this.#target = target;
    this.#args = args;
    const number = nextNumber(Counter.ProcessName); // of every process, as Python's
    this.#name = name ?? `Process-${number}`;
    this.#daemon = daemon;
    realm.unsendable.set(this, "a process");
  }

  /** The process's name. */
  get name(): string {
    return this.#name;
  }

  /**
   * A number that no other process of the program has, or, where memory cannot be
   * shared, no other that this thread has started; `null` before the start.
   */
  get id(): number | null {
    return this.#child?.id ?? null;
  }

  /** How the process ended; `null` until then. */
  get exitCode(): number | null {
    return this.#ended.content?.value ?? null;
  }

  /** Whether the process lets the program end, and is ended with it. */
  get daemon(): boolean {
    return this.#daemon;
  }

  /**
   * Starts the process.
   *
   * @example Usage
   * ```ts
   * import { Process } from "@multi/processing";
   *
   * const process = new Process(() => {});
   * process.start();
   * await process.join();
   * ```
   *
   * @throws {Error} If the process was started before, if the system has no thread
   * to spare, or if this thread is itself loading the module of the target, a task:
   * the new process would load it and start the next one, without end.
   * @throws {DOMException} A `DataCloneError` if an argument cannot be sent.
   * @throws {TypeError} If the action of a barrier in the arguments cannot be sent.
   */
  start(): void {
    if (this.#started) {
      throw new Error(
        `Cannot start process "${this.#name}" as it was started before: ` +
          `create another one`,
      );
    }
    const target = this.#target!;
    const args = this.#args!;
    const owner = nameOf(target);
    this.#started = true; // before getters of the arguments run
    try {
      const wire = encode(args, "args", owner);
      this.#child = new Child({
        name: this.#name,
        job: { kind: "process", target: describeToRun(target), args: wire },
        permissions: this.#permissions,
        workerUrl: this.#workerUrl,
        onExit: (code, error) => {
          // The thread could not tell of it, or never ran.
          if (error !== undefined) report(error, this.#name);
          this.#end(code);
        },
      });
    } catch (error) {
      this.#started = false;
      throw located(error, args, "args", owner);
    }
    this.#target = undefined;
    this.#args = undefined;
    if (this.#daemon) this.#child.unref();
    active.add(this);
  }

  /**
   * Waits until the process has ended.
   *
   * @example Usage
   * ```ts
   * import { Process } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * const process = new Process(() => new Promise(() => {}));
   * process.start();
   * assertEquals(await process.join({ timeout: 10 }), null);
   * process.terminate();
   * assertEquals(await process.join(), -15);
   * ```
   *
   * @param options Timeout and cancellation of this wait.
   * @returns The exit code, or `null` if the time ran out.
   * @throws {Error} If the process was not started.
   * @throws {RangeError} If `options.timeout` is negative or `NaN`.
   * @throws {TypeError} If an option is not of its type.
   * @throws The signal's reason, if `options.signal` aborts first.
   */
  async join(options: ProcessJoinOptions = {}): Promise<number | null> {
    const timeout = timeoutOf(options, "join process");
    this.#checkStarted("join");
    const signal = checkSignal(options.signal, "join process");
    return (await this.#ended.wait({ timeout, signal }))?.value ?? null;
  }

  /**
   * Ends the process at once, with exit code -15. A thread that is busy is
   * stopped where the runtime can stop one; Deno cannot, so there it is
   * abandoned: it keeps nothing from ending, and its core busy until the program
   * ends.
   *
   * @example Usage
   * ```ts
   * import { Process } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * const process = new Process(() => new Promise(() => {}));
   * process.start();
   * process.terminate();
   * assertEquals(process.exitCode, -15);
   * ```
   *
   * @throws {Error} If the process was not started.
   */
  terminate(): void {
    this.#stop("terminate", TERMINATED);
  }

  /**
   * As {@linkcode Process.terminate}, with exit code -9.
   *
   * @example Usage
   * ```ts
   * import { Process } from "@multi/processing";
   * import { assertEquals } from "@std/assert";
   *
   * const process = new Process(() => new Promise(() => {}));
   * process.start();
   * process.kill();
   * assertEquals(await process.join(), -9);
   * ```
   *
   * @throws {Error} If the process was not started.
   */
  kill(): void {
    this.#stop("kill", KILLED);
  }

  /**
   * Tells whether the process was started and has not ended.
   *
   * @example Usage
   * ```ts
   * import { Process } from "@multi/processing";
   * import { assert, assertFalse } from "@std/assert";
   *
   * const process = new Process(() => {});
   * assertFalse(process.isAlive());
   * process.start();
   * assert(process.isAlive());
   * await process.join();
   * assertFalse(process.isAlive());
   * ```
   *
   * @returns Whether it is alive.
   */
  isAlive(): boolean {
    return this.#child !== undefined && this.exitCode === null;
  }

  #stop(action: string, exitCode: number): void {
    this.#checkStarted(action).terminate();
    if (this.exitCode === null) this.#end(exitCode);
  }

  #end(exitCode: number): void {
    active.delete(this);
    this.#ended.open(exitCode);
  }

  #checkStarted(action: string): Child {
    if (this.#child !== undefined) return this.#child;
    throw new Error(
      `Cannot ${action} process "${this.#name}" as it was not started: call ` +
        `start() first`,
    );
  }
}

/** Who a thread is. */
export interface ProcessInfo {
  /** The process's name. */
  name: string;
  /** The process's id. */
  id: number;
}

/**
 * Tells which process this code runs in.
 *
 * @example Usage
 * ```ts
 * import { currentProcess } from "@multi/processing";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(currentProcess(), { name: "MainProcess", id: 0 });
 * ```
 *
 * @returns The process's name and id: "MainProcess" and 0 in the program itself.
 * @see {@link https://docs.python.org/3/library/multiprocessing.html#multiprocessing.current_process}
 */
export function currentProcess(): ProcessInfo {
  const { name, id } = realm.process;
  return { name, id };
}

/**
 * Lists the processes that this thread has started and that are alive. Workers
 * of pools are not among them.
 *
 * @example Usage
 * ```ts
 * import { activeChildren, Process } from "@multi/processing";
 * import { assertEquals } from "@std/assert";
 *
 * new Process(() => {}, { name: "cook" }).start();
 * new Process(() => {}, { name: "waiter" }).start();
 * const children = activeChildren();
 * assertEquals(children.map(({ name }) => name), ["cook", "waiter"]);
 * await Promise.all(children.map((it) => it.join()));
 * assertEquals(activeChildren(), []);
 * ```
 *
 * @returns The processes, oldest first.
 * @see {@link https://docs.python.org/3/library/multiprocessing.html#multiprocessing.active_children}
 */
export function activeChildren(): Process[] {
  return [...active];
}
