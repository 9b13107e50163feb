/**
 * Checks everything: `deno task test`. Goes on after a failure, so that one
 * run tells all of them.
 *
 * @module
 */

const JSR = "https://jsr.io/@std/assert/meta.json";
const PROBE_MS = 3000;

/** Whether `@std/assert` can be had. */
async function isJsrReachable(): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(PROBE_MS);
    const response = await fetch(JSR, { signal });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

const reachable = await isJsrReachable();
console.log(
  reachable
    ? "JSR can be reached: @std/assert and @std/async come from there"
    : "JSR cannot be reached: tests/std stands in for @std/assert and @std/async",
);
const imports = reachable ? [] : ["--import-map", "tests/import_map.json"];

/** A command of Deno's. */
interface Step {
  args: string[];
  /** Whether a warning fails it too: what it says is read, and printed if it has. */
  strict?: boolean;
}

const steps: Step[] = [
  { args: ["fmt", "--check", "--quiet"] },
  { args: ["lint", "--quiet"] },
  { args: ["check", "--quiet", ...imports, "."] },
  { args: ["doc", "--quiet", "--lint", "mod.ts", "worker.ts"] },
  { args: ["run", "--quiet", "-A", "_tools/build_worker.ts", "--check"] },
  // The tests, and every example of the documentation.
  { args: ["test", "-A", "--doc", ...imports] },
  { args: ["publish", "--dry-run", "--allow-dirty"], strict: true },
];

const failed: string[] = [];
for (const { args, strict = false } of steps) {
  const command = `deno ${args.join(" ")}`;
  console.log(`\n> ${command}`);
  const output = await new Deno.Command(Deno.execPath(), {
    args,
    env: strict ? { NO_COLOR: "1" } : {},
    // deno doc prints all it has found, and deno publish all files.
    stdout: strict || args[0] === "doc" ? "null" : "inherit",
    stderr: strict ? "piped" : "inherit",
  }).output();
  const printed = strict ? new TextDecoder().decode(output.stderr) : "";
  if (output.success && !/^warning/m.test(printed)) continue;
  if (strict) console.log(printed);
  failed.push(command);
}

for (const command of failed) console.log(`failed: ${command}`);
if (failed.length > 0) Deno.exit(1);
