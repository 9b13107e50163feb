/**
 * Errors that only a human will read.
 *
 * @module
 */

import { tidyStack } from "../error_wire.ts";
import { realm } from "../realm.ts";
import { inspect } from "../runtime.ts";

const { error: print } = console;

/**
 * Writes an error to standard error, under the process's name.
 *
 * @param error What was thrown.
 * @param name The process's name, if it is not this one.
 */
export function report(error: unknown, name = realm.process.name): void {
  print(`Process ${name}: ${tidyStack(inspect(error))}`);
}
