/**
 * Which kind of pool for which kind of work: processes, threads, plain code,
 * `pooledMap` of `@std/async` (where it can be had), and workers by hand.
 *
 * Run with `deno bench`.
 *
 * @module
 */

import { ProcessPool, ThreadPool } from "../mod.ts";
import { openHandMadePool } from "./hand_made_pool.ts";
import { connect, openSlowDevice, request } from "./slow_device.ts";

const PROCESSES = navigator.hardwareConcurrency;
const PLACES = 4;

const processes = new ProcessPool(PROCESSES);
const threads = new ThreadPool(PROCESSES);
const bare = openHandMadePool(PROCESSES);

/** `undefined` where it cannot be had. */
const pooledMap = await import("@std/async/pool").then(
  (module) => module.pooledMap,
  () => undefined,
);

async function drain<T>(results: AsyncIterable<T>): Promise<void> {
  for await (const _ of results);
}

// -- CPU-bound ----------------------------------------------------------------

const fibonacci = function fibonacci(n: number): number {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
};
/** The argument that takes about 20 ms here. */
const N = (() => {
  for (let n = 20;; n++) {
    const began = performance.now();
    fibonacci(n);
    if (performance.now() - began > 14) return n;
  }
})();

{
  const group = "CPU-bound: 16 calls of about 20 ms";
  const options = { group, n: 5, warmup: 1 };
  const inputs = Array(16).fill(N);
  Deno.bench("plain code", { ...options, baseline: true }, () => {
    for (const n of inputs) fibonacci(n);
  });
  Deno.bench("ProcessPool", options, async () => {
    await processes.map(fibonacci, inputs, { chunkSize: 1 });
  });
  Deno.bench("ThreadPool", options, async () => {
    await threads.map(fibonacci, inputs, { chunkSize: 1 });
  });
  if (pooledMap) {
    Deno.bench("pooledMap of @std/async", options, async () => {
      const work = (n: number) => Promise.resolve(fibonacci(n));
      await drain(pooledMap(PROCESSES, inputs, work));
    });
  }
  Deno.bench("postMessage by hand", options, async () => {
    await Promise.all(inputs.map(bare.fibonacci));
  });
}

// -- I/O-bound ----------------------------------------------------------------

{
  const group = `I/O-bound: 100 waits of 10 ms, ${PLACES} at a time`;
  const options = { group, n: 5, warmup: 1 };
  const { cells, slots } = openSlowDevice(100);
  const initialized = { initializer: connect, initargs: [cells] };
  const manyProcesses = new ProcessPool(PLACES, initialized);
  const manyThreads = new ThreadPool(PLACES, initialized);
  const manyBare = openHandMadePool(PLACES, cells);
  connect(cells);
  Deno.bench("ThreadPool", { ...options, baseline: true }, async () => {
    await manyThreads.map(request, slots, { chunkSize: 1 });
  });
  Deno.bench("ProcessPool", options, async () => {
    await manyProcesses.map(request, slots, { chunkSize: 1 });
  });
  if (pooledMap) {
    Deno.bench("pooledMap of @std/async", options, async () => {
      await drain(pooledMap(PLACES, slots, request));
    });
  }
  Deno.bench("postMessage by hand", options, async () => {
    // Each of the workers waits for its share, one wait after the other.
    await Promise.all(
      Array.from({ length: PLACES }, async (_, place) => {
        for (let i = place; i < slots.length; i += PLACES) {
          await manyBare.request(slots[i]!);
        }
      }),
    );
  });
  Deno.bench("plain code, one after the other", options, async () => {
    for (const slot of slots) await request(slot);
  });
}

// -- tiny ---------------------------------------------------------------------

{
  const group = "tiny: 10,000 squares, one call each";
  const inputs = Array.from({ length: 10_000 }, (_, n) => n);
  const square = (n: number) => n * n;
  Deno.bench("plain code", { group, baseline: true }, () => {
    inputs.map(square);
  });
  Deno.bench("ProcessPool", { group }, async () => {
    await processes.map(square, inputs, { chunkSize: 1 });
  });
  Deno.bench("ProcessPool, default chunks", { group }, async () => {
    await processes.map(square, inputs);
  });
  Deno.bench("ThreadPool", { group }, async () => {
    await threads.map(square, inputs, { chunkSize: 1 });
  });
  if (pooledMap) {
    Deno.bench("pooledMap of @std/async", { group }, async () => {
      const work = (n: number) => Promise.resolve(square(n));
      await drain(pooledMap(PROCESSES, inputs, work));
    });
  }
  Deno.bench("postMessage by hand", { group }, async () => {
    await Promise.all(inputs.map((n) => bare.square(n)));
  });
}
