/**
 * What a pool's worker does: takes calls, runs them one after the other, and
 * answers.
 *
 * @module
 */

import { reviveCallable } from "../callable.ts";
import { decode } from "../codec.ts";
import { toThrownWire } from "../error_wire.ts";
import type { ServerJob } from "../protocol.ts";
import { runCall } from "../run_call.ts";
import { catchStrayErrors, onEnd } from "../runtime/this_thread.ts";
import type { Port } from "../runtime/threads.ts";
import { SharedLane } from "./shared_lane.ts";
import { endThread, report } from "./report.ts";
import { Runner } from "./runner.ts";
import { PlainLane } from "./plain_lane.ts";

/**
 * Serves a pool until the thread ends.
 *
 * @param job What the pool wants.
 * @param port The wire to the pool.
 */
export async function runServer(job: ServerJob, port: Port): Promise<void> {
  const runner = new Runner(port, job.lane);
  catchStrayErrors((error) => {
    report(error);
    lane.fail();
    try {
      runner.post({ kind: "failed", error: toThrownWire(error) });
    } catch {
      // A task has broken the wire: the pool hears of the end alone.
    }
    endThread(1);
  });
  const lane = job.lane
    ? new SharedLane(runner, job.lane)
    : new PlainLane(runner);
  port.onmessage = ({ data }) => lane.receive(data);
  port.onmessageerror = () => lane.miss();
  if (job.initializer !== undefined) {
    try {
      const fn = await reviveCallable(job.initializer.fn);
      const args = await decode(job.initializer.args) as unknown[];
      const outcome = await runCall("apply", fn, args);
      if (!outcome.ok) throw outcome.error;
    } catch (error) {
      lane.fail();
      return runner.post({ kind: "broken", error: toThrownWire(error) });
    }
  }
  onEnd((isEnding) => lane.end(isEnding));
  lane.begin();
}
