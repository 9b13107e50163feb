/**
 * What a pool's worker does: takes calls, runs them one after the other, and
 * answers.
 *
 * @module
 */

import { reviveCallable } from "../callable.ts";
import { decode, unreadableError } from "../codec.ts";
import { toThrownWire } from "../error_wire.ts";
import type { ServerJob, ToServer } from "../protocol.ts";
import { runCall } from "../run_call.ts";
import { nextTurn } from "../runtime/loop.ts";
import { catchStrayErrors } from "../runtime/this_thread.ts";
import type { Port } from "../runtime/threads.ts";
import { hearsOn } from "../runtime/which.ts";
import { FastLane } from "./fast_lane.ts";
import { endThread, report } from "./report.ts";
import { type Lane, NONE, Runner, type Task } from "./runner.ts";

/**
 * Serves a pool until the thread ends.
 *
 * @param job What the pool wants.
 * @param port The wire to the pool.
 */
export async function runServer(job: ServerJob, port: Port): Promise<void> {
  catchStrayErrors((error) => {
    report(error);
    endThread(1);
  });
  const runner = new Runner(port, job.lane);
  const lane = job.lane ? new FastLane(runner, job.lane) : new SlowLane(runner);
  port.onmessage = ({ data }) => lane.receive(data);
  port.onmessageerror = () => lane.miss();
  if (job.initializer !== undefined) {
    try {
      const fn = await reviveCallable(job.initializer.fn);
      const args = await decode(job.initializer.args) as unknown[];
      const outcome = await runCall("apply", fn, args);
      if (!outcome.ok) throw outcome.error;
    } catch (error) {
      return runner.post({ kind: "broken", error: toThrownWire(error) });
    }
  }
  lane.begin();
}

/** Calls that come as messages, none before the pool has read "ready". */
class SlowLane implements Lane {
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
  }

  miss(): void {
    const error = toThrownWire(unreadableError("args", "a function"));
    this.#runner.post({
      kind: "answer",
      outcome: {
        ok: false,
        error,
        before: undefined,
        late: false,
        second: false,
      },
    });
    if (!hearsOn) nextTurn(() => endThread(1));
  }
}
