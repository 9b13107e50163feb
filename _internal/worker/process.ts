/**
 * What a process does in its thread.
 *
 * @module
 */

import { type AnyFunction, explained, reviveCallable } from "../callable.ts";
import { decode } from "../codec.ts";
import type { ProcessJob } from "../protocol.ts";
import { catchStrayErrors } from "../runtime/this_thread.ts";
import { endThread, report } from "./report.ts";

/**
 * Runs the target and ends the thread.
 *
 * @param job The target and its arguments.
 */
export async function runProcess(job: ProcessJob): Promise<void> {
  let target: AnyFunction | undefined;
  const fail = (error: unknown) => {
    report(target ? explained(error, target) : error);
    endThread(1);
  };
  const whenReported = catchStrayErrors(fail);
  try {
    target = await reviveCallable(job.target);
    const args = await decode(job.args) as unknown[];
    await target(...args);
  } catch (error) {
    return fail(error);
  }
  // What was thrown beside it, and nobody caught, makes its code 1.
  whenReported(() => endThread(0));
}
