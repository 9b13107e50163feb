// A page whose Content Security Policy forbids blob: workers. The worker file
// comes without the policy.

import { printed } from "./_printed.ts";
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  Event,
  Process,
  ProcessPool,
  type ProcessPoolOptions,
  WorkerExitError,
} from "../../mod.ts";
import { double } from "../testdata/tasks.ts";

const timeout = 20_000;
const workerUrl = new URL("../../worker.ts", import.meta.url);

test("ProcessPool says that a policy forbids its workers, and the way out", {
  timeout,
}, async () => {
  const pool = new ProcessPool(2);
  const error = await assertRejects(
    () => pool.apply((n: number) => n, [1]),
    WorkerExitError as unknown as typeof Error,
    "Content Security Policy",
  );
  assertStringIncludes(error.message, "workerUrl");
  assertStringIncludes(error.message, "@multi/processing/worker");
  pool.terminate();
  await pool.join();
});

test("Process ends with 1 where a policy forbids it, and prints why", {
  timeout,
}, async () => {
  const process = new Process(() => {}, { name: "forbidden" });
  process.start();
  assertEquals(await process.join(), 1);
  assertEquals(printed.length, 1);
  assertStringIncludes(printed[0]!, "Process forbidden: ");
  assertStringIncludes(printed[0]!, "workerUrl");
});

test("ProcessPool and Process work with workerUrl, and so do their children", {
  timeout,
}, async () => {
  for (const url of [workerUrl, workerUrl.href, workerUrl.pathname]) {
    await using pool = new ProcessPool(2, { workerUrl: url });
    assertEquals(await pool.map(double, [1, 2, 3]), [2, 4, 6]);
    assertEquals(await pool.map((n: number) => n + 1, [1, 2]), [2, 3]);
  }
  const event = new Event();
  const process = new Process((event: Event) => event.set(), {
    args: [event],
    workerUrl,
  });
  process.start();
  assert(await event.wait({ timeout: 10_000 }));
  assertEquals(await process.join(), 0);
});

test("Process and ProcessPool refuse a workerUrl that is none", () => {
  for (const workerUrl of ["http://", 7, null, {}] as unknown as string[]) {
    for (
      const make of [
        () => new Process(() => {}, { workerUrl }),
        () => new ProcessPool(1, { workerUrl }),
      ]
    ) assertThrows(make, TypeError, "workerUrl must be a URL");
  }
});

test("ProcessPool says that its worker file cannot be loaded", {
  timeout,
}, async () => {
  for (const path of ["./missing.ts", "https://localhost:1/worker.ts"]) {
    const missing = new URL(path, import.meta.url).href;
    const options: ProcessPoolOptions = { workerUrl: missing };
    const error = await Promise.resolve()
      .then(() => new ProcessPool(1, options).apply(() => 1))
      .catch((error) => error);
    assertStringIncludes(error.message, "worker file cannot be loaded");
    assertStringIncludes(error.message, missing);
  }
});

test("Process notices an end that its thread does not tell of", {
  timeout,
}, async () => {
  const process = new Process(() => {
    (globalThis as unknown as { end(): void }).end();
    return new Promise(() => {});
  }, { workerUrl: new URL("./ending_worker.ts", import.meta.url) });
  process.start();
  assertEquals(await process.join(), 1); // it may as well have crashed
});
