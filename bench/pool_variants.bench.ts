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

const PROCESSES = navigator.hardwareConcurrency;
const PLACES = 10;

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
    await Promise.all(inputs.map(() => bare.spin(20)));
  });
}

// -- I/O-bound ----------------------------------------------------------------

const pause = (milliseconds: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

{
  const group = `I/O-bound: 100 waits of 10 ms, ${PLACES} at a time`;
  const options = { group, n: 5, warmup: 1 };
  const inputs = Array(100).fill(10);
  const manyProcesses = new ProcessPool(PLACES);
  const manyThreads = new ThreadPool(PLACES);
  // A timer that is alone in its event loop is about 1 ms late on Deno, one
  // among many less: so this row, not the ThreadPool's, is the floor of the
  // ProcessPool's.
  const manyBare = openHandMadePool(PLACES);
  Deno.bench("ThreadPool", { ...options, baseline: true }, async () => {
    await manyThreads.map(pause, inputs, { chunkSize: 1 });
  });
  Deno.bench("ProcessPool", options, async () => {
    await manyProcesses.map(pause, inputs, { chunkSize: 1 });
  });
  if (pooledMap) {
    Deno.bench("pooledMap of @std/async", options, async () => {
      await drain(pooledMap(PLACES, inputs, pause));
    });
  }
  Deno.bench("postMessage by hand", options, async () => {
    // Each of the workers waits for its share, one wait after the other.
    await Promise.all(
      Array.from({ length: PLACES }, async (_, place) => {
        for (let i = place; i < inputs.length; i += PLACES) {
          await manyBare.pause(inputs[i]);
        }
      }),
    );
  });
  Deno.bench("plain code, one after the other", options, async () => {
    for (const milliseconds of inputs) await pause(milliseconds);
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
