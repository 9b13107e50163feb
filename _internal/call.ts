/**
 * One call on its way through a pool. Where it is, is who has it: ARCHITECTURE.md
 * has the table.
 *
 * @module
 */

import type { AnyFunction } from "./callable.ts";
import type { Limits } from "./limits.ts";
import { ignoreExpected } from "./promises.ts";
import { hold, release } from "./runtime/loop.ts";
import { reportUncaught } from "./runtime/this_thread.ts";
import type { Transferable } from "./runtime/values.ts";

/** How a call uses its function. */
export type CallKind = "apply" | "map" | "starmap";

/** What is asked. */
export interface CallRequest {
  /** `apply`: once, `map` and `starmap`: on each of the items, in order. */
  readonly kind: CallKind;
  /** The function. */
  readonly fn: AnyFunction;
  /** Its group, or 0 for none: once a call of a group has failed, no other of it begins. */
  readonly group?: number;
  /** The arguments of `apply`, the items of `map`, the argument lists of `starmap`. */
  readonly payload: readonly unknown[];
  /** When the call is to be over, by this thread's clock; see {@linkcode deadlineOf}. */
  readonly deadline?: number | undefined;
  /** What goes to the worker instead of being copied. */
  readonly transfer?: Transferable[] | undefined;
  /** Whether buffers in the result come back instead of being copied. */
  readonly transferResult?: boolean | undefined;
}

/** How a call ended. */
export type Outcome =
  /** The result; of `map` and `starmap` the results, in an array of any kind. */
  | { ok: true; value: unknown }
  | {
    ok: false;
    error: unknown;
    /** The results of the items before the one that failed. */
    before?: ArrayLike<unknown> | undefined;
    /** The item that could not be sent, by index: none of the call has run. */
    unsent?: number | undefined;
    /** Its deadline had passed. */
    late?: boolean | undefined;
    /** It did not begin, as one of its group had failed, or it was withdrawn. */
    dropped?: boolean;
    /** Another one of its group had failed before it. */
    second?: boolean | undefined;
  };

/** Of a call that did not begin. */
export const DROPPED: Outcome = { ok: false, error: undefined, dropped: true };

/** Of a call whose time was up: who has set it tells of that, and in which error. */
export const TOO_LATE: Outcome = { ok: false, error: undefined, late: true };

/** Thrown for a call that cannot be sent. */
export class UnsentError {
  /** Why not. */
  readonly reason: unknown;
  /** Which of its items cannot be sent, if it has items. */
  readonly index: number | undefined;
  /** Whether it is in flight all the same, and its answer is to come: {@linkcode DROPPED}. */
  readonly withdrawn: boolean;

  /**
   * @param reason Why not.
   * @param index Which item.
   * @param withdrawn Whether it is in flight.
   */
  constructor(reason: unknown, index?: number, withdrawn = false) {
    this.reason = reason;
    this.index = index;
    this.withdrawn = withdrawn;
  }
}

/** A worker that has the payload of a call which it is not to run, by number. */
export interface KeptPayload {
  /** The way to the worker. */
  readonly by: { forget(numbers: number[]): void };
  /** The payload's number there. */
  readonly number: number;
}

/** A call. */
export abstract class Call {
  /** Whether it has ended, or nobody waits for it any more; set once. */
  settled = false;
  /** How many were submitted before it; set by its executor. */
  number = 0;
  /**
   * Whether it is known to have something by which it may wait for what another call
   * does; set when it is about to be sent, or before.
   */
  mayWait = false;
  /** Where its payload is since it was taken back, so that it need not go there again. */
  kept: KeptPayload | undefined;
  readonly request: CallRequest;
  #held = false;

  /** @param request What is asked. */
  constructor(request: CallRequest) {
    this.request = request;
  }

  /** Holds the program until {@linkcode Call.letGo}: an executor has taken it. */
  keep(): void {
    hold();
    this.#held = true;
  }

  /**
   * Undoes {@linkcode Call.keep}: it has ended, or nobody waits for it and it runs
   * on.
   */
  letGo(): void {
    if (!this.#held) return;
    this.#held = false;
    release();
  }

  /** Its payload is not needed any more where it was kept. */
  forgetPayload(): void {
    const { kept } = this;
    this.kept = undefined;
    kept?.by.forget([kept.number]);
  }

  /** Tells whoever waits for it how it ended; called once. */
  protected abstract answer(outcome: Outcome): void;

  /**
   * Ends the call; the first end counts.
   *
   * @param outcome How it ended.
   */
  settle(outcome: Outcome): void {
    if (this.settled) return;
    this.settled = true;
    this.answer(outcome);
  }
}

/** A call that tells a function how it ended. */
export class CallbackCall extends Call {
  readonly #answer: (outcome: Outcome) => void;

  /**
   * @param request What is asked.
   * @param answer Is told how it ended, once.
   */
  constructor(request: CallRequest, answer: (outcome: Outcome) => void) {
    super(request);
    this.#answer = answer;
  }

  protected override answer(outcome: Outcome): void {
    this.#answer(outcome);
  }
}

/**
 * A call that somebody awaits. There may be very many at once, so it keeps no
 * function of its own: what lives on is copied by the garbage collector again
 * and again.
 */
export class AwaitedCall extends Call {
  /** Its result. */
  readonly promise: Promise<unknown>;
  #resolve: ((value: unknown) => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  /** @param request What is asked. */
  constructor(request: CallRequest) {
    super(request);
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  protected override answer(outcome: Outcome): void {
    // They are missing if the promise was made at the end of the stack: then it has
    // been rejected with that.
    if (outcome.ok) return this.#resolve?.(outcome.value);
    ignoreExpected(outcome.error, () => this.promise);
    this.#reject?.(outcome.error);
  }
}

/**
 * Tells whether a call takes buffers with it, so that it cannot be sent twice.
 *
 * @param call The call.
 * @returns Whether it does.
 */
export function takesBuffers({ request: { transfer } }: Call): boolean {
  return transfer !== undefined && transfer.length > 0;
}

/** Numbers about an executor. */
export interface ExecutorStats {
  /** Calls that run. */
  busy: number;
  /** Calls that wait. */
  queued: number;
  /** Calls that succeeded. */
  completed: number;
  /** Calls that failed. */
  failed: number;
  /** Workers that died and were replaced. */
  respawned: number;
  /** Threads that could not be stopped. */
  abandoned: number;
}

/** Who runs calls: {@linkcode Call.settle} tells how each ended. */
export interface Executor {
  /** A number for calls of which none is to begin after one that failed, or 0. */
  newGroup(): number;
  /**
   * Checks that a function can be run.
   *
   * @throws {TypeError} If it cannot, as it cannot be sent.
   */
  check(fn: AnyFunction): void;
  /** Takes a call, to run it when its turn comes. */
  submit(call: Call): void;
  /**
   * Is told that nobody waits for some calls any more: drops those that have not
   * begun, and stops the others where that is asked for. Those that run on do not
   * hold the program.
   */
  giveUp(calls: ReadonlySet<Call>, stop: boolean): void;
  /** Ends when everything submitted has ended; called once. */
  close(): void;
  /** Ends now, and settles every call with an error. */
  terminate(error: unknown): void;
  /** Resolves when nothing is left. */
  join(): Promise<void>;
  /** Tells how it stands. */
  stats(): ExecutorStats;
}

/** How far a call over many items has come. */
export interface Progress {
  /** Items that are done. */
  done: number;
  /** Items in all; `undefined` when the input does not tell. */
  total: number | undefined;
}

/** Options of a call over many items, checked. */
export interface ItemsOptions {
  chunkSize: number | undefined;
  transferResult: boolean | undefined;
  limits: Limits;
  onProgress: ((progress: Progress) => unknown) | undefined;
}

/** The pool, as a call over many items sees it. */
export interface Host {
  /** Who runs the chunks. */
  readonly executor: Executor;
  /** How many run at once. */
  readonly processes: number;
  /**
   * Says that more chunks will come, also after the pool was closed.
   *
   * @param end Is called if the pool is terminated before the last has come.
   * @returns Says that the last has come.
   * @throws {PoolClosedError} If the pool is not open.
   */
  register(end: (error: unknown) => void): () => void;
}

/**
 * Calls a callback of the user's; what it throws is an uncaught error and
 * disturbs nobody here.
 *
 * @param callback The callback, if there is one.
 * @param argument What it is given.
 */
export function callBack<T>(
  callback: ((argument: T) => unknown) | undefined,
  argument: T,
): void {
  if (callback === undefined) return;
  try {
    callback(argument);
  } catch (error) {
    reportUncaught(error);
  }
}
