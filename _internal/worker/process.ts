/**
 * What a process does in its thread.
 *
 * @module
 */

import { explained, reviveCallable } from "../callable.ts";
import { decode } from "../codec.ts";
import type { ProcessJob } from "../protocol.ts";
import { catchStrayErrors, exitThread } from "../runtime.ts";
import { report } from "./report.ts";

/**
 * Runs the target and ends the thread.
 *
 * @param job The target and its arguments.
 */
export async function runProcess(job: ProcessJob): Promise<void> {
  catchStrayErrors(fail);
  try {
    const target = await reviveCallable(job.target);
    const args = await decode(job.args) as unknown[];
    try {
      await target(...args);
    } catch (error) {
      throw explained(error, target);
    }
  } catch (error) {
    fail(error);
  }
  exitThread(0);
}

function fail(error: unknown): void {
  report(error);
  exitThread(1);
}
