/**
 * Something to wait for, as one waits for a disk or a server: a thread that
 * answers each request 10 milliseconds after it came. A timer of the waiting
 * thread would not do: on Deno one that is alone in its event loop is a
 * millisecond late, and one among several is not, which says more of Deno's
 * timers than of pools.
 *
 * @module
 */

import { bareWorker } from "./bare_worker.ts";

/** How long an answer takes, in milliseconds. */
const LATENCY = 10;

/** The places for requests: `1` is a request, `2` its answer; cell 0 is the bell. */
export interface SlowDevice {
  /** Shared with the device. */
  cells: Int32Array;
  /** The numbers of the places. */
  slots: number[];
}

/**
 * Opens a device.
 *
 * @param places How many requests there may be at once.
 * @returns The device.
 */
export function openSlowDevice(places: number): SlowDevice {
  const cells = new Int32Array(new SharedArrayBuffer((places + 1) * 4));
  bareWorker(`(cells) => (${serve})(cells, ${LATENCY})`, cells).unref();
  return { cells, slots: Array.from({ length: places }, (_, i) => i + 1) };
}

function serve(cells: Int32Array, latency: number): void {
  const due = new Float64Array(cells.length);
  for (;;) {
    const seen = Atomics.load(cells, 0);
    const now = performance.now();
    let next = Infinity;
    for (let slot = 1; slot < cells.length; slot++) {
      if (Atomics.load(cells, slot) !== 1) continue;
      due[slot] ||= now + latency;
      if (due[slot]! > now) next = Math.min(next, due[slot]!);
      else {
        due[slot] = 0;
        Atomics.store(cells, slot, 2);
        Atomics.notify(cells, slot);
      }
    }
    Atomics.wait(cells, 0, seen, next - now);
  }
}

/** Makes a device known to the thread; an initializer. */
export function connect(cells: Int32Array): void {
  (globalThis as unknown as { device: Int32Array }).device = cells;
}

/** Sends a request to the thread's device, and waits for the answer. */
export async function request(slot: number): Promise<void> {
  const { device } = globalThis as unknown as { device: Int32Array };
  Atomics.store(device, slot, 1);
  Atomics.add(device, 0, 1);
  Atomics.notify(device, 0);
  while (Atomics.load(device, slot) === 1) {
    await Atomics.waitAsync(device, slot, 1).value;
  }
  Atomics.store(device, slot, 0);
}
