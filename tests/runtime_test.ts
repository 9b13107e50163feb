// What differs between runtimes: that one folder asks, and what is done where
// something is missing.

import { test } from "node:test";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { runInNewContext } from "node:vm";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Event, Process, ProcessPool } from "../mod.ts";
import { isGlobalWorker } from "../_internal/runtime/which.ts";
import {
  execute,
  type Module,
  moduleUrl,
  type ProgramResult,
  runArgs,
  withFolder,
} from "./_program.ts";
import { double } from "./testdata/tasks.ts";

const timeout = 40_000;
const root = new URL("../", import.meta.url);

/** What only the files of `_internal/runtime/` may say. */
const QUESTIONS = [
  /\b(?:Deno|Bun)\b/,
  /(?<![.\w"/])process\s*[.?[]/,
  /\b(?:navigator|document|location|WorkerGlobalScope|importScripts)\b/,
  /\bgetBuiltinModule\b|["']node:/,
  /\btypeof\s+[A-Z]/,
  /\btypeof\s+[\w.]+\s*[!=]==\s*"undefined"/,
  /\b(?:runtime|userAgent)\s*[!=]==/,
];

/** A source without comments and messages, line by line. */
function codeOf(source: string): string[] {
  return source
    .replace(/\/\*[^]*?\*\//g, (it) => it.replace(/[^\n]/g, ""))
    .replace(/^\s*\/\/.*$|\s\/\/ .*$/gm, "")
    .split("\n")
    .map((line) => line.replace(/`[^`$]*`/g, "``"));
}

test("No file outside _internal/runtime asks which runtime it runs on", {
  timeout,
}, async () => {
  const internal = new URL("_internal/", root);
  const names = [
    ...await readdir(root),
    ...(await readdir(internal, { recursive: true }))
      .map((name) => "_internal/" + name.replaceAll("\\", "/")),
  ].filter((name) =>
    name.endsWith(".ts") && !name.startsWith("_internal/runtime/") &&
    name !== "_internal/worker/program.ts"
  );
  const asking: string[] = [];
  for (const name of names) {
    const source = await readFile(new URL(name, root), "utf8");
    codeOf(source).forEach((line, i) => {
      if (QUESTIONS.some((question) => question.test(line))) {
        asking.push(`${name}:${i + 1}: ${line.trim()}`);
      }
    });
  }
  assert(names.length > 40);
  assertEquals(asking, []);
});

test("The test above sees a question", { timeout }, async () => {
  const source = await readFile(
    new URL("_internal/runtime/which.ts", root),
    "utf8",
  );
  const found = codeOf(source)
    .filter((line) => QUESTIONS.some((question) => question.test(line)));
  assert(found.length > 10, found.join("\n"));
});

/** Runs a function as a program from which shared memory is hidden. */
function runWithoutSharedMemory(
  main: (module: Module) => unknown,
  missing: string,
): Promise<ProgramResult> {
  return withFolder(async (folder) => {
    const file = join(folder, "program.mjs");
    await writeFile(
      file,
      `delete globalThis.${missing};\n` +
        `const module = await import(${JSON.stringify(moduleUrl)});\n` +
        `await (${main})(module);\n`,
    );
    // A specifier that is not analysed needs permission to read, on Deno.
    const args = runArgs.length > 0 ? [...runArgs, "--allow-read"] : [];
    return await execute(process.execPath, [...args, file]);
  });
}

for (const missing of ["SharedArrayBuffer", "Atomics.waitAsync"]) {
  test(`Without ${missing} pools and processes work by messages`, {
    timeout,
  }, async () => {
    const result = await runWithoutSharedMemory(async (module) => {
      const { Process, ProcessPool } = module;
      const pool = new ProcessPool(2);
      const numbers = Array.from({ length: 200 }, (_, i) => i);
      const squares = await pool.map((n: number) => n * n, numbers);
      console.log(squares.length, squares.at(-1));
      const calls = numbers.map((n) => pool.apply((n: number) => n + 1, [n]));
      console.log((await Promise.all(calls)).at(-1));
      const texts: string[] = [];
      for await (const text of pool.imap((n: number) => `<${n}>`, [1, 2, 3])) {
        texts.push(text);
      }
      console.log(texts.join());
      const name = (error: Error) => error.name;
      console.log(await pool.apply(() => self.close()).catch(name));
      const endless = () => {
        for (;;);
      };
      console.log(
        await pool.apply(endless, [], { timeout: 100 }).catch(name),
        await pool.apply((n: number) => n, [7]),
      );
      const ended = new Process(() => self.close());
      ended.start();
      const failed = new Process(() => Promise.reject(1));
      failed.start();
      const waiting = new Process(() => new Promise(() => {}));
      waiting.start();
      console.log(await ended.join(), await failed.join());
      waiting.terminate();
      console.log(await waiting.join());
      pool.close();
      await pool.join();
    }, missing);
    assertEquals(
      [result.code, result.stdout, result.stderr.includes("Error:")],
      [
        0,
        "200 39601\n200\n<1>,<2>,<3>\nWorkerExitError\nTimeoutError 7\n" +
        "0 1\n-15\n",
        false,
      ],
      result.stderr,
    );
  });

  test(`Without ${missing} Event() and Barrier() throw`, {
    timeout,
  }, async () => {
    const { code, stdout, stderr } = await runWithoutSharedMemory((module) => {
      for (
        const make of [() => new module.Event(), () => new module.Barrier(2)]
      ) {
        try {
          make();
        } catch (error) {
          console.log((error as Error).message);
        }
      }
    }, missing);
    assertEquals([code, stderr], [0, ""]);
    const lines = stdout.trim().split("\n");
    assertEquals(lines.length, 2);
    ["event", "barrier"].forEach((kind, i) => {
      const line = lines[i]!;
      assert(line.startsWith(`Cannot create ${kind} as `), line);
      assert(line.includes('"Cross-Origin-Opener-Policy: same-origin"'), line);
      assert(
        line.includes('"Cross-Origin-Embedder-Policy: require-corp"'),
        line,
      );
    });
  });
}

test("ProcessPool and Process start from the file that workerUrl names", {
  timeout,
}, async () => {
  const workerUrl = new URL("worker.ts", root);
  await using pool = new ProcessPool(2, { workerUrl });
  assertEquals(await pool.map(double, [1, 2, 3]), [2, 4, 6]);
  assertEquals(await pool.map((n: number) => n + 1, [1, 2]), [2, 3]);
  const event = new Event();
  const child = new Process((event: Event) => event.set(), {
    args: [event],
    workerUrl: workerUrl.href,
  });
  child.start();
  assert(await event.wait({ timeout: 10_000 }));
  assertEquals(await child.join(), 0);
});

if (!isGlobalWorker()) {
  test("The worker's program is refused where there is no worker", {
    timeout,
  }, async () => {
    await assertRejects(
      () => import(new URL("worker.ts", root).href),
      Error,
      "pass its URL as the option workerUrl",
    );
  });
}

if (process.versions.bun === undefined) { // JavaScriptCore has no such flag
  test("Tasks run in a program that may compile no text, and others say why", {
    timeout,
  }, async () => {
    const tasks = new URL("./testdata/tasks.ts", import.meta.url).href;
    const flag = "--disallow-code-generation-from-strings";
    const flags = "Deno" in globalThis
      ? [`--v8-flags=${flag}`, "--allow-read"]
      : [flag];
    const { code, stdout, stderr } = await withFolder(async (folder) => {
      const file = join(folder, "program.mjs");
      await writeFile(
        file,
        `import { ProcessPool, task } from ${JSON.stringify(moduleUrl)};
        await using pool = new ProcessPool(2);
        const double = task(${JSON.stringify(tasks)}, "double");
        console.log(await pool.map(double, [1, 2, 3]));
        await pool.apply(() => 1).catch(({ message }) => console.log(message));
        console.log(await pool.apply(double, [4]));`,
      );
      return await execute(process.execPath, [...runArgs, ...flags, file]);
    });
    assertEquals([code, stderr], [0, ""]);
    const [doubled, why, last] = stdout.split("\n");
    assertEquals([doubled, last], ["[ 2, 4, 6 ]", "8"]);
    assertStringIncludes(why!, "anonymous function");
    assertStringIncludes(why!, "with task()");
  });
}

test("ProcessPool and Process refuse a workerUrl that is none", {
  timeout,
}, () => {
  for (const workerUrl of ["./worker.ts", "", 7, null, {}] as string[]) {
    for (
      const make of [
        () => new Process(() => {}, { workerUrl }),
        () => new ProcessPool(1, { workerUrl }),
      ]
    ) assertThrows(make, TypeError, "workerUrl must be a URL");
  }
});

test("ProcessPool rejects its calls when workerUrl leads nowhere", {
  timeout,
}, async () => {
  const workerUrl = new URL("tests/missing.ts", root);
  const pool = new ProcessPool(2, { workerUrl });
  const error = await pool.apply((n: number) => n, [1]).catch((it) => it);
  assertEquals(error.name, "WorkerExitError");
  assert(error.message.includes("before it was ready"), error.message);
  pool.terminate();
  await pool.join();
});

if ("Deno" in globalThis) {
  // Deno's global Worker is a browser's in what matters here: it tells nobody
  // of its end. The real ones are in tests/browser.
  test("Where only the web's own means are, threads are those of browsers", {
    timeout,
  }, () =>
    withFolder(async (folder) => {
      const main = async (
        { Event, Process, ProcessPool }: Module,
        workerUrl: string,
      ) => {
        const name = (error: Error) => error.name;
        await using pool = new ProcessPool(2);
        console.log((await pool.map((n: number) => n * n, [1, 2, 3])).join());
        console.log(await pool.apply(() => self.close()).catch(name));
        const endless = () => new Promise(() => {});
        console.log(
          await pool.apply(endless, [], { timeout: 50 }).catch(name),
          await pool.apply((text: string) => text + "é", ["è"]),
        );
        const event = new Event();
        for (
          const target of [
            (event: typeof Event.prototype) => event.set(),
            () => self.close(),
            () => Promise.reject("on purpose"),
          ]
        ) {
          for (const options of [{}, { workerUrl }]) {
            const process = new Process(target, { args: [event], ...options });
            process.start();
            console.log(await process.join());
          }
        }
        console.log(event.isSet());
        for (
          const fails of [
            () => event.waitSync({ timeout: 1 }),
            () => new Process(endless, { permissions: "none" }),
          ]
        ) {
          try {
            fails();
          } catch (error) {
            console.log((error as Error).message.replace(/ as .*/, ""));
          }
        }
        const lost = new Process(endless, { workerUrl: workerUrl + ".none" });
        lost.start();
        console.log(await lost.join());
      };
      const file = join(folder, "program.mjs");
      await writeFile(
        file,
        `delete globalThis.Deno;\ndelete globalThis.process;\n` +
          `const module = await import(${JSON.stringify(moduleUrl)});\n` +
          `await (${main})(module, ${
            JSON.stringify(new URL("worker.ts", root).href)
          });\n`,
      );
      const result = await execute(process.execPath, [
        ...runArgs,
        "--allow-read",
        file,
      ]);
      assertEquals(
        [result.code, result.stdout.trim().split("\n")],
        [0, [
          "1,4,9",
          "WorkerExitError",
          "TimeoutError èé",
          ..."0 0 0 0 1 1".split(" "),
          "true",
          "Cannot wait for event with waitSync()",
          "Cannot create process with permissions",
          "1",
        ]],
        result.stderr,
      );
    }));
}

test("An error of another global is sent as an error", {
  timeout,
}, async () => {
  const error = runInNewContext("new RangeError('of another global')");
  await using pool = new ProcessPool(1);
  const told = await pool.apply(
    (error: Error) => [error instanceof Error, error.name, error.message],
    [error],
  );
  assertEquals(told, [true, "RangeError", "of another global"]);
});

test("An error of another global is thrown as one of its class", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const error = await assertRejects(() =>
    pool.apply(() => {
      // deno-lint-ignore no-explicit-any
      const { process } = globalThis as any;
      throw process.getBuiltinModule("node:vm").runInNewContext(
        "new TypeError('of another global')",
      );
    }), TypeError);
  assertEquals(error.message, "of another global");
  const own = await assertRejects(() =>
    pool.apply(() => {
      class RangeError extends Error {}
      throw new RangeError("not the real one");
    }), Error);
  assert(!(own instanceof RangeError), "it goes by its class, not by its name");
});
