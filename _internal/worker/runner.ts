/**
 * How a worker runs a call, and answers by a message.
 *
 * @module
 */

import { type CallKind, DROPPED, type Outcome, TOO_LATE } from "../call.ts";
import { type AnyFunction, reviveCallable } from "../callable.ts";
import { unreadableError } from "../codec.ts";
import { KnownFunctions } from "../definitions.ts";
import { toThrownWire } from "../error_wire.ts";
import { failGroup, hasFailed } from "../group.ts";
import { blame, buffersIn, pack, unpack } from "../payload.ts";
import { afterwards } from "../promises.ts";
import {
  BellCell,
  type FromServer,
  LaneCell,
  type LaneMemory,
  type PayloadWire,
  type ToServer,
} from "../protocol.ts";
import { realm } from "../realm.ts";
import { runCall } from "../run_call.ts";
import { now, wallClock } from "../runtime/loop.ts";
import { mustEnd, runWithin } from "../runtime/this_thread.ts";
import type { Port } from "../runtime/threads.ts";
import type { Transferable } from "../runtime/values.ts";
import { stopsBusyThreads } from "../runtime/which.ts";

/** How calls come. */
export interface Lane {
  receive(message: ToServer): void;
  /** A payload came that cannot be read. */
  miss(): void;
  /** The worker is ready, and says so. */
  begin(): void;
  /** The last message follows, with an error. */
  fail(): void;
  /** The worker ends by itself, or does not after all. */
  end(isEnding: boolean): void;
}

/** No values. */
export const NONE: readonly unknown[] = [];

/** What is asked, and how to answer. */
export interface Task {
  kind: CallKind;
  fn: number;
  /** Arguments or items, as they came in a frame or in a message. */
  values: ArrayLike<unknown>;
  wire: PayloadWire | undefined;
  deadline: number;
  transferResult: boolean;
  group: number;
}

/** Runs calls, whatever way they come. */
export class Runner {
  readonly #port: Port;
  readonly functions: KnownFunctions;
  /**
   * Whether the thread must end once it has answered. Its port may be dead; or a
   * watchdog has interrupted a call that was about to end the thread, or one in a
   * thread that has children or calls of a thread pool: that runs no `finally`, so it
   * may have been this module that was stopped half-way, and a pool of the thread's
   * own may never send a call again.
   */
  spoilt = false;
  readonly #revived: AnyFunction[] = [];
  readonly #lane: LaneMemory | undefined;

  constructor(port: Port, lane: LaneMemory | undefined) {
    this.#port = port;
    this.#lane = lane;
    this.functions = new KnownFunctions(lane?.definitions);
  }

  /** Whether it is known what a call is to run. */
  knows(fn: number): boolean {
    return this.functions.get(fn) !== undefined;
  }

  post(message: FromServer, transfer?: Transferable[]): void {
    this.#port.postMessage(message, transfer);
  }

  run(task: Task): Outcome | Promise<Outcome> {
    try {
      const fn = this.#revived[task.fn] ??
        reviveCallable(this.functions.get(task.fn)!);
      if (typeof fn === "function") return this.#begin(task, fn);
      return afterwards<AnyFunction, Outcome | Promise<Outcome>>(
        fn,
        (fn) => this.#begin(task, fn),
        failed,
      );
    } catch (error) {
      return failed(error);
    }
  }

  /** Its module has been loaded, which comes before what its arguments hold. */
  #begin(task: Task, fn: AnyFunction): Outcome | Promise<Outcome> {
    this.#revived[task.fn] = fn;
    try {
      const payload = task.wire === undefined ? task.values : unpack(task.wire);
      if (!(payload instanceof Promise)) return this.#call(task, fn, payload);
      return afterwards<ArrayLike<unknown>, Outcome | Promise<Outcome>>(
        payload,
        (payload) => this.#call(task, fn, payload),
        failed,
      );
    } catch (error) {
      return failed(error);
    }
  }

  /** Whether the call belongs with one that has failed, here or elsewhere. */
  belongsWithFailed(group: number): boolean {
    return group !== 0 && this.#lane !== undefined &&
      hasFailed(this.#lane.bell, BellCell.Groups, group);
  }

  #call(
    { kind, deadline, group }: Task,
    fn: AnyFunction,
    payload: ArrayLike<unknown>,
  ): Outcome | Promise<Outcome> {
    // That may have come about while something had to be waited for.
    if (this.belongsWithFailed(group)) return DROPPED;
    if (deadline === 0) return runCall(kind, fn, payload);
    const left = deadline - wallClock();
    if (left <= 0) return TOO_LATE;
    const end = now() + left; // whatever the system's clock is set to
    const outcome = stopsBusyThreads
      ? runCall(kind, fn, payload)
      : this.#runWatched(left, () => runCall(kind, fn, payload));
    // The pool may be busy, and so not stop it in time.
    const inTime = (outcome: Outcome): Outcome =>
      now() < end ? outcome : TOO_LATE;
    return outcome instanceof Promise
      ? afterwards(outcome, inTime)
      : inTime(outcome);
  }

  /** Runs a call under a watchdog, up to its first `await`. */
  #runWatched(
    left: number,
    run: () => Outcome | Promise<Outcome>,
  ): Outcome | Promise<Outcome> {
    this.#guard(true);
    const result = runWithin(left, run);
    if (result === undefined) {
      this.spoilt ||= realm.children > 0 || realm.localCalls > 0 || mustEnd();
      return TOO_LATE;
    }
    // What is awaited is not watched; an answer is on its way.
    if (result.value instanceof Promise) this.#guard(false);
    return result.value;
  }

  /** The pool can see the answer. */
  answered(): void {
    if (this.#lane?.cells[LaneCell.Guarded] === 1) this.#guard(false);
  }

  #guard(isGuarded: boolean): void {
    const cells = this.#lane?.cells;
    if (cells) Atomics.store(cells, LaneCell.Guarded, isGuarded ? 1 : 0);
  }

  /** Its arguments cannot be read. */
  unreadable(task: Task): Outcome {
    return failed(unreadableError("args", this.#name(task)));
  }

  /** Lets no other call of its group begin; tells whether another has failed before. */
  failsSecond(group: number): boolean {
    return group !== 0 && this.#lane !== undefined &&
      !failGroup(this.#lane.bell, BellCell.Groups, group);
  }

  /** Answers by a message. */
  answer(task: Task, outcome: Outcome): void {
    if (!outcome.ok) return this.#fail(outcome, task);
    const results = task.kind === "apply"
      ? [outcome.value]
      : outcome.value as unknown[];
    const owner = this.#name(task);
    try {
      const { wire, transfer } = pack(results, "result", owner);
      const message: FromServer = {
        kind: "answer",
        outcome: { ok: true, payload: wire },
      };
      if (task.transferResult && this.#move(message, wire, transfer)) return;
      this.post(message, transfer);
    } catch (error) {
      const found = blame(error, results, "result", owner);
      const before = results.slice(0, Math.max(0, found.index));
      const second = this.failsSecond(task.group);
      this.#fail({ error: found.error, before, second }, task);
    }
  }

  /**
   * Posts results whose buffers go over instead of being copied; tells whether it
   * could. Some may not: those of WebAssembly, or of Node's small `Buffer`s.
   */
  #move(
    message: FromServer,
    { value }: PayloadWire,
    transfer: ArrayBuffer[],
  ): boolean {
    const all = [...new Set([...buffersIn(value), ...transfer])];
    try {
      this.post(message, all);
      return true;
    } catch {
      return false; // what is wrong with a copy too will be told
    }
  }

  #fail(failure: Omit<Outcome & { ok: false }, "ok">, task: Task): void {
    const { error, before, late, second } = failure;
    const send = (before?: PayloadWire) =>
      this.post({
        kind: "answer",
        outcome: {
          ok: false,
          error: toThrownWire(error),
          before,
          late,
          second,
        },
      });
    // What came before the error is for streams alone.
    if (task.group !== 0 || !before?.length) return send();
    const results = before as unknown[];
    const owner = this.#name(task);
    try {
      return send(pack(results, "result", owner).wire);
    } catch (reason) {
      // A result before the failed one cannot be sent: that came first.
      const { index, error } = blame(reason, results, "result", owner);
      const before = results.slice(0, Math.max(0, index));
      return this.#fail({ error, before }, task);
    }
  }

  #name(task: Task): string {
    const wire = this.functions.get(task.fn)!;
    return wire.name ? `function "${wire.name}"` : "anonymous function";
  }
}

function failed(error: unknown): Outcome {
  return { ok: false, error };
}
