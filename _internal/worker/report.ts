/**
 * The last words of a thread.
 *
 * @module
 */

import { realm } from "../realm.ts";
import { exitThread, leaveThread } from "../runtime/this_thread.ts";
import { inspect } from "../runtime/values.ts";
import { tidyStack } from "../stack.ts";
import { isTerminated } from "../wait.ts";

const { error: print } = console;

/**
 * Writes an error to standard error, under the process's name, unless the
 * process has ended for everyone who looks.
 *
 * @param error What was thrown.
 * @param name The process's name, if it is not this one.
 */
export function report(error: unknown, name = realm.process.name): void {
  if (isTerminated()) return;
  try {
    print(`Process ${name}: ${tidyStack(inspect(error))}`);
  } catch {
    // Deno's throws if the disk is full; whoever wanted to read it cannot.
  }
}

/**
 * Ends this thread.
 *
 * @param code The exit code its parent sees, if it has not ended it before.
 */
export function endThread(code: number): void {
  if (isTerminated()) leaveThread();
  else exitThread(code);
}
