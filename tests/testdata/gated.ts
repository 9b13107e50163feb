// A module that the second worker of a pool loads only when a gate is opened.

import type { Event } from "../../mod.ts";

const { gate } = globalThis as unknown as { gate: Event };
if (self.name.endsWith("-2")) await gate.wait();

/** Counts in which worker it was called, waits, and fails. */
export function fail(calls: Int32Array, go: Event): never {
  Atomics.add(calls, self.name.endsWith("-2") ? 1 : 0, 1);
  go.waitSync();
  throw new Error("on purpose");
}
