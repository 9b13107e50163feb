/**
 * What a process does in its thread.
 *
 * @module
 */

import { explained, reviveCallable } from "../callable.ts";
import { decode } from "../codec.ts";
import type { ProcessJob } from "../protocol.ts";
import { catchStrayErrors } from "../runtime.ts";
import { endThread, report } from "./report.ts";

/**
 * Runs the target and ends the thread.
 *
 * @param job The target and its arguments.
 */
export async function runProcess(job: ProcessJob): Promise<void> {
  const whenReported = catchStrayErrors(fail);
  try {
    const target = await reviveCallable(job.target);
    const args = await decode(job.args) as unknown[];
    try {
      await target(...args);
    } catch (error) {
      throw explained(error, target);
    }
  } catch (error) {
    return fail(error);
  }
  // What was thrown beside it, and nobody caught, makes its code 1.
  whenReported(() => endThread(0));
}

function fail(error: unknown): void {
  report(error);
  endThread(1);
}
