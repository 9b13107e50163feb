// The examples, run as a reader runs them: without a flag.

import { test } from "node:test";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { execute, moduleUrl, runArgs, withFolder } from "./_program.ts";

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

if ("Deno" in globalThis) {
  /** Which permissions a program asks for, whether or not it is given them. */
  const askedFor = (args: string[]) =>
    withFolder(async (folder) => {
      const log = join(folder, "permissions.jsonl");
      await writeFile(log, "");
      const { code } = await execute(process.execPath, [...runArgs, ...args], {
        env: { DENO_AUDIT_PERMISSIONS: log },
      });
      assertEquals(code, 0);
      const lines = (await readFile(log, "utf8")).split("\n").filter(Boolean);
      return lines.map((line) => JSON.parse(line).permission);
    });

  test("No example asks whoever sits at a terminal for a permission", {
    timeout,
  }, async () => {
    const folder = fileURLToPath(new URL("../examples/", import.meta.url));
    for (const name of await readdir(folder)) {
      assertEquals(await askedFor([join(folder, name), "--fast"]), [], name);
    }
  });

  test("Nothing but what a task does asks for a permission", {
    timeout,
  }, async () => {
    await withFolder(async (folder) => {
      const file = join(folder, "program.mjs");
      const run = async (body: string) => {
        await writeFile(
          file,
          `import * as module from ${JSON.stringify(moduleUrl)};\n` +
            `const { Process, ProcessPool } = module;\n${body}`,
        );
        return await askedFor(["--unstable-worker-options", file]);
      };
      assertEquals(
        await run(`
          const process = new Process(() => {}, { permissions: "none" });
          process.start();
          await process.join();
          await using pool = new ProcessPool(2, { permissions: "none" });
          await pool.apply(() => 1);
          await using one = new ProcessPool(1);
          await one.apply(() => 1, [], { timeout: 1000 });
          await one.apply(() => process.exit(1)).catch(() => {});
          await one.apply(() => new Date());
        `),
        [],
      );
      assertEquals(
        await run(`
          await using pool = new ProcessPool(1);
          const { state } = await Deno.permissions.query({ name: "env" });
          if (state !== "prompt") throw new Error(state);
          await pool.apply(() => process.env.HOME).catch(() => {});
        `),
        ["env"],
      );
    });
  });
}
