// The module as users get it: from JSR, as the package that JSR makes for npm,
// from a bundle, in a compiled program.

import { test } from "node:test";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import process from "node:process";
import { assertEquals } from "@std/assert";
import {
  execute,
  moduleUrl,
  type ProgramResult,
  runArgs,
  withFolder,
} from "./_program.ts";

const timeout = 120_000;
const root = new URL("../", import.meta.url);
const runtime = "Deno" in globalThis
  ? "deno"
  : "Bun" in globalThis
  ? "bun"
  : "node";

/** Every part of the module, as a program uses it. */
function programText(from: string, taskText: string): string {
  return `
    import { Barrier, currentProcess, Event, Process, ProcessPool, task }
      from ${JSON.stringify(from)};
    ${taskText}
    if (currentProcess().id === 0) {
      const event = new Event();
      const barrier = new Barrier(2, { action() { return Math.PI; } });
      const target = {
        async "turn by turn"(event, barrier) {
          await barrier.wait();
          event.set();
        },
      };
      const args = [event, barrier];
      const child = new Process(target["turn by turn"], { args });
      child.start();
      await barrier.wait();
      console.log(await child.join(), await event.wait());
      const pool = new ProcessPool(2);
      console.log((await pool.map((n) => n * n, [1, 2, 3])).join());
      console.log((await pool.map(triple, [1, 2, 3])).join());
      pool.close();
      await pool.join();
    }`;
}

/** A task of the program's own; minifiers keep a declaration's name unique. */
const OWN_TASK = `
  const factor = 3;
  function triple(n) { return n * factor; }
  task(import.meta.url, triple);`;

/** A package with a task that needs what is around it. */
function taskPackage(from: string): string {
  return `import { task } from ${JSON.stringify(from)};
    const factor = 3;
    export const triple = task(import.meta.url, function triple(n) {
      return n * factor;
    });`;
}

function assertPrinted({ code, stdout, stderr }: ProgramResult): void {
  // A minified line would hide what it says.
  const said = stderr.replace(/.{500,}/g, "...");
  assertEquals([code, stdout, said], [0, "0 true\n1,4,9\n3,6,9\n", ""]);
}

/** The files of the published package. */
async function sources(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const folders = ["", "_internal/", "_internal/runtime/", "_internal/worker/"];
  for (const folder of folders) {
    for (const name of await readdir(new URL(folder || ".", root))) {
      if (!name.endsWith(".ts")) continue;
      const path = folder + name;
      files.set(path, await readFile(new URL(path, root), "utf8"));
    }
  }
  return files;
}

async function write(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

/** Takes the types out, with what this runtime has for it. */
async function transpiler(): Promise<(source: string) => string> {
  if (runtime === "bun") {
    const { Bun } = globalThis as unknown as {
      Bun: {
        Transpiler: new (options: { loader: string }) => {
          transformSync(source: string): string;
        };
      };
    };
    const bun = new Bun.Transpiler({ loader: "ts" });
    return (source) => bun.transformSync(source);
  }
  const { stripTypeScriptTypes } = await import("node:module");
  return (source) => stripTypeScriptTypes(source);
}

/** Makes the package that JSR makes for npm, and one that uses it. */
async function installPackages(folder: string): Promise<void> {
  const strip = await transpiler();
  const home = join(folder, "node_modules/@multi/processing");
  for (const [path, source] of await sources()) {
    const text = strip(source).replace(
      /((?:\bfrom|\bimport)\s*"\.[^"]*)\.ts"/g,
      '$1.js"',
    );
    await write(join(home, path.replace(/\.ts$/, ".js")), text);
  }
  const manifest = (exports: Record<string, string>) =>
    JSON.stringify({ version: "0.1.0", type: "module", exports });
  await write(
    join(home, "package.json"),
    manifest({ ".": "./mod.js", "./worker": "./worker.js" }),
  );
  const tasks = join(folder, "node_modules/tasks");
  await write(join(tasks, "package.json"), manifest({ ".": "./index.js" }));
  await write(join(tasks, "index.js"), taskPackage("@multi/processing"));
}

/** Publishes packages on a registry of their own while `use` runs. */
async function withRegistry<T>(
  packages: Record<string, { files: Map<string, string>; main: string }>,
  use: (url: string) => Promise<T>,
): Promise<T> {
  const answers = new Map<string, string>();
  for (const [name, { files, main }] of Object.entries(packages)) {
    const manifest: Record<string, { size: number; checksum: string }> = {};
    for (const [path, text] of files) {
      const hash = createHash("sha256").update(text).digest("hex");
      manifest[`/${path}`] = {
        size: new TextEncoder().encode(text).length,
        checksum: `sha256-${hash}`,
      };
      answers.set(`/${name}/0.1.0/${path}`, text);
    }
    const exports = { ".": `./${main}` };
    answers.set(
      `/${name}/meta.json`,
      JSON.stringify({ latest: "0.1.0", versions: { "0.1.0": {} } }),
    );
    answers.set(
      `/${name}/0.1.0_meta.json`,
      JSON.stringify({ manifest, exports }),
    );
  }
  const server = createServer((request, response) => {
    const text = answers.get(request.url!);
    const type = request.url!.endsWith(".json")
      ? "application/json"
      : "application/typescript";
    response.writeHead(text === undefined ? 404 : 200, {
      "Content-Type": type,
    });
    response.end(text);
  });
  await new Promise<void>((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve())
  );
  const { port } = server.address() as AddressInfo;
  try {
    return await use(`http://127.0.0.1:${port}/`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Makes a bundle of a program with a task of its own, and runs it. */
function bundleAndRun(
  bundle: (input: string, output: string) => [string, ...string[]],
  run: (output: string) => [string, ...string[]] = (output) => [
    process.execPath,
    ...runArgs,
    // A task's module must be read again.
    ...runtime === "deno" ? [`--allow-read=${output}`] : [],
    output,
  ],
): Promise<void> {
  return withFolder(async (folder) => {
    const input = join(folder, "input.mjs");
    const output = join(folder, "output", "bundle.mjs");
    await write(input, programText(new URL(moduleUrl).pathname, OWN_TASK));
    await mkdir(dirname(output));
    const [bundler, ...options] = bundle(input, output);
    const bundled = await execute(bundler, options, { timeout, cwd: folder });
    assertEquals(bundled.code, 0, bundled.stdout + bundled.stderr);
    const [command, ...args] = run(output);
    assertPrinted(await execute(command, args, { cwd: dirname(output) }));
  });
}

if (runtime === "deno") {
  test(
    "From JSR, with no permission",
    { timeout },
    () =>
      withFolder(async (folder) => {
        const tasks = new Map([
          ["mod.ts", taskPackage("jsr:@multi/processing@0.1.0")],
        ]);
        const packages = {
          "@multi/processing": { files: await sources(), main: "mod.ts" },
          "@multi/tasks": { files: tasks, main: "mod.ts" },
        };
        await withRegistry(packages, async (url) => {
          const file = join(folder, "program.mjs");
          const from = "jsr:@multi/processing@0.1.0";
          const task = 'import { triple } from "jsr:@multi/tasks@0.1.0";';
          await write(file, programText(from, task));
          // Loaded first, as a download is printed.
          const environment = [`JSR_URL=${url}`, `DENO_DIR=${folder}/cache`];
          const deno = (...args: string[]) =>
            execute("env", [
              ...environment,
              process.execPath,
              ...args,
              "--quiet",
              "--no-lock",
              "--minimum-dependency-age=0",
              file,
            ], { timeout, cwd: folder });
          assertPrinted(await deno("run", "--no-prompt"));
        });
      }),
  );

  test(
    "A bundle of deno bundle",
    { timeout },
    () =>
      bundleAndRun((input, output) => [
        process.execPath,
        "bundle",
        "--quiet",
        "-o",
        output,
        input,
      ]),
  );

  test(
    "A bundle of deno bundle --minify",
    { timeout },
    () =>
      bundleAndRun((input, output) => [
        process.execPath,
        "bundle",
        "--quiet",
        "--minify",
        "-o",
        output,
        input,
      ]),
  );
} else {
  test(
    "The package that JSR makes for npm",
    { timeout },
    () =>
      withFolder(async (folder) => {
        await installPackages(folder);
        const file = join(folder, "program.mjs");
        const task = 'import { triple } from "tasks";';
        await write(file, programText("@multi/processing", task));
        assertPrinted(await execute(process.execPath, [file], { cwd: folder }));
      }),
  );
}

if (runtime === "bun") {
  test(
    "A bundle of bun build --minify",
    { timeout },
    () =>
      bundleAndRun((input, output) => [
        process.execPath,
        "build",
        "--minify",
        "--target=bun",
        `--outfile=${output}`,
        input,
      ]),
  );

  test("A program of bun build --compile", { timeout }, () =>
    bundleAndRun(
      (input, output) => [
        process.execPath,
        "build",
        "--compile",
        "--minify",
        `--outfile=${output}`,
        input,
      ],
      (output) => [output],
    ));
}

if (runtime === "node") {
  for (const minify of [[], ["--minify"]]) {
    test(
      ["A bundle of esbuild", ...minify].join(" "),
      { timeout },
      () =>
        bundleAndRun((input, output) => [
          "npx",
          "-y",
          "esbuild",
          "--bundle",
          "--format=esm",
          ...minify,
          `--outfile=${output}`,
          input,
        ]),
    );
  }

  test(
    "Loaded where the globals are others, as by some test runners",
    { timeout },
    () =>
      withFolder(async (folder) => {
        const output = join(folder, "bundle.cjs");
        const input = new URL(moduleUrl).pathname;
        const bundled = await execute("npx", [
          "-y",
          "esbuild",
          "--bundle",
          "--format=cjs",
          `--outfile=${output}`,
          input,
        ], { timeout, cwd: folder });
        assertEquals(bundled.code, 0, bundled.stdout + bundled.stderr);
        const program = join(folder, "program.mjs");
        await write(program, RUNNER);
        const { code, stdout, stderr } = await execute(process.execPath, [
          program,
          output,
        ]);
        assertEquals([code, stdout, stderr], [0, "true true fine\n", ""]);
      }),
  );
}

/** Has ECMAScript's globals of its own and the platform's of the program, as Jest. */
const RUNNER = `
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { createContext, runInContext } from "node:vm";
const context = createContext({});
const scope = runInContext("globalThis", context);
for (const name of Object.getOwnPropertyNames(globalThis)) {
  if (name === "console" || !(name in scope)) {
    Object.defineProperty(
      scope, name, Object.getOwnPropertyDescriptor(globalThis, name));
  }
}
scope.module = { exports: {} };
scope.require = createRequire(import.meta.url);
runInContext(await readFile(process.argv[2], "utf8"), context);
runInContext(\`(async () => {
  const { Event, ProcessPool } = module.exports;
  const pool = new ProcessPool(1);
  const event = new Event();
  const same = (value) => value;
  const map = await pool.apply(same, [new Map([["event", event]])]);
  const set = await pool.apply(same, [new Set([event])]);
  const message = await pool.apply((e) => e.message, [new TypeError("fine")]);
  console.log(map.get("event") === event, set.has(event), message);
  pool.terminate();
  await pool.join();
})()\`, context);
`;
