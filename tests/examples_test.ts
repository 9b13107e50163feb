// The examples, run as a reader runs them: without a flag.

import { test } from "node:test";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { execute, runArgs } from "./_program.ts";

const timeout = 60_000;

/** Runs an example with its pauses shortened; returns its lines. */
async function runExample(name: string): Promise<string[]> {
  const file = fileURLToPath(new URL(`../examples/${name}`, import.meta.url));
  const result = await execute(process.execPath, [
    ...runArgs,
    file,
    "--fast",
  ]);
  assertEquals([result.code, result.stderr], [0, ""]);
  return result.stdout.trimEnd().split("\n");
}

test("examples/restaurant.ts speaks eight lines in turn", {
  timeout,
}, async () => {
  for (let i = 0; i < 3; i++) {
    const lines = await runExample("restaurant.ts");
    assertEquals(
      lines.map((line) => line.replace(/:.*/, "")),
      [1, 2, 3, 4, 5, 6, 7, 8].map((n) =>
        `${n}. ${n % 2 ? "restaurant" : "diner"}`
      ),
    );
  }
});

test("examples/barrier.ts lets twelve processes go on in groups of three", {
  timeout,
}, async () => {
  const lines = await runExample("barrier.ts");
  const all = (pattern: RegExp) =>
    lines.flatMap((line, i) => pattern.test(line) ? [i] : []);
  const ready = all(/is ready$/);
  const on = all(/goes on$/);
  const actions = all(/^---/);
  assertEquals([ready.length, on.length, actions.length], [12, 12, 4]);
  assertEquals(new Set(on.map((i) => lines[i])).size, 12);
  // Nobody goes on before the action of its group. Node prints what its threads
  // write from the main thread, in an order that is not theirs.
  if ("deno" in process.versions || "bun" in process.versions) {
    on.forEach((line, i) => assert(line > actions[Math.floor(i / 3)]!));
  }
});
