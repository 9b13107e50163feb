// Programs that a bundler has been over.

import { test } from "node:test";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { assertEquals } from "@std/assert";
import { execute, runArgs, withFolder } from "./_program.ts";

const timeout = 60_000;
const program = fileURLToPath(
  new URL("./testdata/bundled.ts", import.meta.url),
);

/** Bundles the program with this runtime and runs what came out. */
function bundleAndRun(
  bundle: (output: string) => string[],
  run: (output: string) => [command: string, ...args: string[]],
): Promise<void> {
  return withFolder(async (folder) => {
    const output = join(folder, "output.mjs");
    const bundled = await execute(process.execPath, bundle(output));
    assertEquals(bundled.code, 0, bundled.stdout + bundled.stderr);
    const [command, ...args] = run(output);
    // Elsewhere, so that nothing of the sources can be found.
    const result = await execute(command, args, { cwd: folder });
    assertEquals(
      [result.code, result.stdout, result.stderr],
      [0, "together\ntrue 0\n", ""],
    );
  });
}

const run = (output: string): [string, ...string[]] => [
  process.execPath,
  ...runArgs,
  output,
];

if ("Deno" in globalThis) {
  test("deno bundle --minify", { timeout }, () =>
    bundleAndRun(
      (output) => ["bundle", "--quiet", "--minify", "-o", output, program],
      run,
    ));
} else if ("Bun" in globalThis) {
  test("bun build --minify", { timeout }, () =>
    bundleAndRun(
      (output) => [
        "build",
        "--minify",
        "--target=bun",
        `--outfile=${output}`,
        program,
      ],
      run,
    ));

  test("bun build --compile", { timeout }, () =>
    bundleAndRun(
      (output) => ["build", "--compile", `--outfile=${output}`, program],
      (output) => [output],
    ));
} else {
  test(
    "Node runs the program as it is",
    { timeout },
    () => bundleAndRun(() => ["--version"], () => run(program)),
  );
}
