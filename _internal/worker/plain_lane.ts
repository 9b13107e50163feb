/**
 * The worker's end of a `PlainChannel`: calls come, and answers go, as messages, where
 * no memory can be shared.
 *
 * @module
 */

import { unreadableError } from "../codec.ts";
import { toThrownWire } from "../error_wire.ts";
import type { ToServer } from "../protocol.ts";
import { nextTurn } from "../runtime/loop.ts";
import { hearsOn } from "../runtime/which.ts";
import { endThread } from "./report.ts";
import { type Lane, NONE, type Runner, type Task } from "./runner.ts";

/** Calls that come as messages, none before the pool has read "ready". */
export class PlainLane implements Lane {
  readonly #runner: Runner;

  constructor(runner: Runner) {
    this.#runner = runner;
  }

  begin(): void {
    this.#runner.post({ kind: "ready" });
  }

  async receive(message: ToServer): Promise<void> {
    if (message.kind === "define") {
      return this.#runner.functions.define(message.number, message.fn);
    }
    if (message.kind !== "call") return;
    const { call: kind, payload: wire } = message;
    const task: Task = { ...message, kind, values: NONE, wire };
    this.#runner.answer(task, await this.#runner.run(task));
    if (this.#runner.spoilt) nextTurn(() => endThread(1));
  }

  fail(): void {} // the pool waits for a message of any worker that owes it one
  end(): void {} // the pool hears of it

  miss(): void {
    const error = toThrownWire(unreadableError("args", "a function"));
    this.#runner.post({ kind: "answer", outcome: { ok: false, error } });
    if (!hearsOn) nextTurn(() => endThread(1));
  }
}
