/**
 * A thread that runs the worker's program, seen from its parent.
 *
 * @module
 */

import type { Boot, Job } from "./protocol.ts";
import { Counter, nextNumber, realm } from "./realm.ts";
import { now } from "./runtime/loop.ts";
import { sharedCells } from "./runtime/memory.ts";
import { type Port, startThread, type Thread } from "./runtime/threads.ts";
import { canShareMemory, stopsBusyThreads } from "./runtime/which.ts";
import { later } from "./wait.ts";
import { program } from "./worker/program.ts";

/** What a child is started with. */
export interface ChildOptions {
  /** Its process's name. */
  name: string;
  /** What it is to do. */
  job: Job;
  /** What it may do (Deno). */
  permissions?: unknown;
  /** The URL of the worker file, if it is not to be started from text. */
  workerUrl: string | undefined;
  /**
   * Called once, when the thread ended by itself; never after
   * {@linkcode Child.terminate}. The error is what the runtime says of it. The
   * wire is open until a promise that it returns is settled.
   */
  onExit: (code: number, error: unknown) => void | Promise<void>;
  /** Called once, when a thread that was to end has ended or was abandoned. */
  onGone?: (abandoned: boolean) => void;
}

/**
 * A thread that is to end does so by itself within this many milliseconds if
 * its event loop turns; one that has not is busy.
 */
const GRACE_MS = 100;

/** A thread that was started by this one. */
export class Child {
  /** The process's id, unique in the program. */
  readonly id: number;
  /** Whether the thread has ended or is to end. */
  over = false;
  /** Whether it may be busy and not know yet that it is to end. */
  lingers = false;
  readonly #onGone: ChildOptions["onGone"];
  readonly #thread: Thread;
  /** `0` until the thread has ended or is to end; its descendants watch it too. */
  readonly #life: Int32Array | undefined;
  #left = false;

  /**
   * Starts the thread.
   *
   * @param options What to do.
   * @throws {DOMException} A `DataCloneError` if the job cannot be sent.
   */
  constructor(options: ChildOptions) {
    const { onExit } = options; // no more of it, as the job may hold much
    this.#onGone = options.onGone;
    this.id = nextNumber(Counter.ProcessId);
    this.#life = canShareMemory ? sharedCells(1, "process") : undefined;
    const workerUrl = options.workerUrl ?? realm.workerUrl;
    const boot: Boot = {
      name: options.name,
      id: this.id,
      counters: realm.counters,
      lives: this.#life ? [this.#life, ...realm.lives] : [],
      workerUrl,
      job: options.job,
    };
    realm.children++;
    try {
      this.#thread = startThread({
        source: program,
        name: options.name,
        boot,
        permissions: options.permissions,
        url: workerUrl,
        onExit: (code, error) => {
          if (this.over) return this.#leave(false);
          this.#end();
          const { port } = this.#thread;
          const told = onExit(code, error);
          if (told === undefined) port.close();
          else told.finally(() => port.close());
        },
      });
    } catch (error) {
      realm.children--;
      throw error;
    }
  }

  /** The wire to it. */
  get port(): Port {
    return this.#thread.port;
  }

  /** Lets the program end although the thread still runs. */
  unref(): void {
    this.#thread.unref();
    this.#thread.port.unref?.();
  }

  /** Ends the thread for everyone who looks, and stops it where the runtime can. */
  terminate(): void {
    if (this.over) return;
    this.#end();
    const { port } = this.#thread;
    port.onmessage = null;
    port.close();
    // It has ended for us, so it must not hold the program.
    this.#thread.unref();
    // Where memory is not shared it cannot be told to leave.
    if (stopsBusyThreads || this.#life === undefined) {
      return this.#thread.terminate();
    }
    // Given a moment, a thread that is not busy leaves by itself and says so;
    // what the runtime says after a terminate() is not true.
    this.lingers = true;
    this.#awaitEnd();
  }

  /** Abandons the thread if it does not end soon. */
  #awaitEnd(): void {
    const due = now() + GRACE_MS;
    later(GRACE_MS, () => {
      if (!this.lingers) return;
      // Of its end this thread may have yet to hear, as it was blocked itself.
      if (now() > due + GRACE_MS) return this.#awaitEnd();
      this.#leave(true);
      this.#thread.terminate();
    });
  }

  /** The thread that was to end is not waited for any more. */
  #leave(abandoned: boolean): void {
    if (this.#left) return; // it ends after all
    this.#left = true;
    this.lingers = false;
    this.#onGone?.(abandoned);
  }

  #end(): void {
    this.over = true;
    realm.children--;
    if (this.#life === undefined) return;
    Atomics.store(this.#life, 0, 1);
    Atomics.notify(this.#life, 0);
  }
}
