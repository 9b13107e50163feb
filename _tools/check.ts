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

const steps = [
  ["fmt", "--check", "--quiet"],
  ["lint", "--quiet"],
  ["check", "--quiet", ...imports, "."],
  ["doc", "--quiet", "--lint", "mod.ts", "worker.ts"],
  ["run", "--quiet", "-A", "_tools/build_worker.ts", "--check"],
  // The tests, and every example of the documentation.
  ["test", "-A", "--doc", ...imports],
];

const failed: string[] = [];
for (const args of steps) {
  const command = `deno ${args.join(" ")}`;
  console.log(`\n> ${command}`);
  const { success } = await new Deno.Command(Deno.execPath(), {
    args,
    // What is not a terminal's business: deno doc prints all it has found.
    stdout: args[0] === "doc" ? "null" : "inherit",
    stderr: "inherit",
  }).output();
  if (!success) failed.push(command);
}
{
  const args = ["publish", "--dry-run", "--allow-dirty"];
  const command = `deno ${args.join(" ")}`;
  console.log(`\n> ${command}`);
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    env: { NO_COLOR: "1" },
    stdout: "null",
    stderr: "piped",
  }).output();
  const printed = new TextDecoder().decode(stderr);
  // A warning does not fail it.
  if (!success || /^warning/m.test(printed)) {
    console.log(printed);
    failed.push(command);
  }
}

for (const command of failed) console.log(`failed: ${command}`);
if (failed.length > 0) Deno.exit(1);
