// A page without the headers, where memory cannot be shared.

import { test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  Barrier,
  Event,
  Process,
  ProcessPool,
  task,
  WorkerExitError,
} from "../../mod.ts";
import { double } from "../testdata/tasks.ts";

const timeout = 20_000;
const square = (n: number) => n * n;

test("There is no SharedArrayBuffer here", () => {
  assertEquals(typeof SharedArrayBuffer, "undefined");
});

test("Event() and Barrier() throw and name the missing headers", () => {
  for (const make of [() => new Event(), () => new Barrier(2)]) {
    for (
      const header of [
        "Cross-Origin-Opener-Policy: same-origin",
        "Cross-Origin-Embedder-Policy: require-corp",
      ]
    ) assertThrows(make, Error, header);
  }
});

test("ProcessPool works by messages alone", { timeout }, async () => {
  await using pool = new ProcessPool(3);
  const numbers = Array.from({ length: 1000 }, (_, i) => i);
  assertEquals(await pool.map(square, numbers), numbers.map(square));
  assertEquals(await pool.map(double, [1, 2, 3]), [2, 4, 6]);
  assertEquals(
    await Promise.all(numbers.map((n) => pool.apply(square, [n]))),
    numbers.map(square),
  );
  const streamed = [];
  for await (const n of pool.imap(square, numbers.slice(0, 50))) {
    streamed.push(n);
  }
  assertEquals(streamed, numbers.slice(0, 50).map(square));
  const buffer = new ArrayBuffer(8);
  const size = (buffer: ArrayBuffer) => buffer.byteLength;
  assertEquals(await pool.apply(size, [buffer], { transfer: [buffer] }), 8);
  assertEquals(buffer.byteLength, 0);
  await assertRejects(
    () => pool.apply(() => void missing, []),
    ReferenceError,
    "task()",
  );
  assertEquals(pool.stats().failed, 1);
});

declare const missing: unknown;

test("ProcessPool replaces a worker that ends, and stops a busy one", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  await assertRejects(
    () =>
      pool.apply(() => {
        setTimeout(() => self.close(), 1);
        return new Promise(() => {});
      }),
    WorkerExitError as unknown as typeof Error,
    "exit code 0",
  );
  await assertRejects(
    () =>
      pool.apply(
        () => {
          for (;;);
        },
        [],
        { timeout: 100 },
      ),
    DOMException as unknown as typeof Error,
    "within 100 ms",
  );
  assertEquals(await pool.map(square, [1, 2, 3]), [1, 4, 9]);
  assertEquals(pool.stats().respawned, 2);
});

test("Process starts, ends, fails and is ended", { timeout }, async () => {
  const run = async (target: () => unknown) => {
    const process = new Process(target);
    process.start();
    return await process.join();
  };
  assertEquals(await run(() => {}), 0);
  assertEquals(
    await run(() => {
      throw new Error("expected by the test");
    }),
    1,
  );
  assertEquals(
    await run(() => {
      self.close();
      return new Promise(() => {});
    }),
    0,
  );
  const endless = new Process(() => {
    for (;;);
  });
  endless.start();
  assertEquals(await endless.join({ timeout: 50 }), null);
  endless.terminate();
  assert(!endless.isAlive());
  assertEquals(await endless.join(), -15);
});

test("A pool in a worker of a pool works by messages too", {
  timeout,
}, async () => {
  const outer = new Process(nested);
  outer.start();
  assertEquals(await outer.join(), 0);
});

const nested = task(import.meta.url, async function nested() {
  await using pool = new ProcessPool(2);
  const squares = await pool.map(square, [1, 2, 3]);
  if (squares.join() !== "1,4,9") throw new Error(squares.join());
});
