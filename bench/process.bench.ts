/**
 * What it costs to start a process and to join it, beside a bare worker of the
 * same kind from the same kind of URL.
 *
 * Run with `deno bench`.
 *
 * @module
 */

import { Process } from "../mod.ts";
import { bareWorker } from "./bare_worker.ts";

const group = "start to end";
const nothing = () => {};

Deno.bench(
  "bare Worker, start to exit event",
  { group, baseline: true },
  async () => {
    const worker = bareWorker("() => {}");
    await new Promise<void>((resolve) => worker.on("exit", resolve));
  },
);

Deno.bench("Process, start() to join()", { group }, async () => {
  const process = new Process(nothing);
  process.start();
  await process.join();
});
