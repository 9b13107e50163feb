/**
 * What the tests of processes that wait for each other share.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { Process } from "../mod.ts";

/** Starts processes that run one function on arguments of their own. */
export function startAll<A extends unknown[]>(
  target: (...args: A) => unknown,
  argsOfEach: A[],
): Process[] {
  return argsOfEach.map((args) => {
    const process = new Process(target, { args });
    process.start();
    return process;
  });
}

/** Joins processes, all of which must have returned. */
export async function joinAll(processes: Process[]): Promise<void> {
  const codes = await Promise.all(processes.map((it) => it.join()));
  assertEquals(codes, processes.map(() => 0));
}
