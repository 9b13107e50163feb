/**
 * Tells which lines and branches of the module the tests reach: `deno task
 * coverage`. Fails below the floors.
 *
 * The workers of these tests start from `worker.ts` and not from the generated
 * program, so that the files which they run count too (`coverage_preload.ts`),
 * and so do the programs that tests start. What ran in a worker that was stopped
 * from outside does not count, as V8 is not asked any more, nor does what only
 * Bun needs. V8 counts the branches of functions that were called.
 *
 * Under coverage a worker takes up to a second to start. So storms and many
 * starts in a row are left out, and a test that fails, as one does that measures
 * time, only leaves a note here: `deno task test` is the judge of that.
 *
 * @module
 */

/** Tests that run in their own thread and its workers. */
const TESTS = [
  "barrier",
  "event",
  "frame",
  "pool",
  "pool_errors",
  "pool_imap",
  "pool_limits",
  "pool_workers",
  "process",
  "values",
];
/** All of them but 200 starts in a row. */
const FEW_STARTS =
  "/^(?:[^P]|P[^r]|Pro[^c]|Process[^ ]|Process [^t]|Process t[^a]|Process takes [^2])/";
/** Tests of programs that they start, and the names of those that count. */
const PROGRAMS = ["hostile", "runtime"];
const COUNTING = "/permissions|Without|workerUrl|web's own/";
const FLOORS = { lines: 95, branches: 90 };
/** Not code: what is generated, and lists of names and types. */
const LEFT_OUT = /^(_internal\/worker\/program|_internal\/protocol|mod)\.ts$/;

const root = new URL("../", import.meta.url);

/** Hits, by line or by branch. */
type Hits = Map<string, number>;

/** What was reached of a file. */
interface FileHits {
  lines: Hits;
  branches: Hits;
}

const folder = await Deno.makeTempDir({ prefix: "coverage-" });

/** Runs Deno; tells what it printed, and what it complained of if it failed. */
async function run(
  args: string[],
  env = {},
): Promise<{ printed: string; complaint: string | undefined }> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: root,
    env,
  }).output();
  const [printed, complaint] = [stdout, stderr].map((it) =>
    new TextDecoder().decode(it)
  ) as [string, string];
  return { printed, complaint: success ? undefined : complaint };
}

async function collected(): Promise<Map<string, FileHits>> {
  const { printed, complaint } = await run(["coverage", "--lcov", folder]);
  if (complaint !== undefined) throw new Error(complaint);
  const files = read(printed);
  if (files.size === 0) throw new Error("Cannot find any coverage");
  return files;
}

async function test(names: string[], filter: string, env = {}): Promise<void> {
  const args = [
    "test",
    "-A",
    "--quiet",
    "--no-check",
    "--preload=_tools/coverage_preload.ts",
    "--import-map=tests/import_map.json",
    `--coverage=${folder}`,
    "--coverage-raw-data-only",
    `--filter=${filter}`,
    ...names.map((name) => `tests/${name}_test.ts`),
  ];
  const { printed } = await run(args, env);
  for (const [line] of printed.matchAll(/^.* \.\.\. FAILED .*$/gm)) {
    console.log(`under coverage: ${line}`);
  }
}

/** Reads a report in the format of lcov; of several, the sum. */
function read(report: string): Map<string, FileHits> {
  const files = new Map<string, FileHits>();
  let file: FileHits = { lines: new Map(), branches: new Map() };
  const add = (hits: Hits, key: string, count: string) =>
    hits.set(key, (hits.get(key) ?? 0) + (Number(count) || 0));
  for (const line of report.split("\n")) {
    const [, kind, rest = ""] = /^(SF|DA|BRDA):(.*)$/.exec(line) ?? [];
    const [a = "", b = "", c = "", d = ""] = rest.split(",");
    if (kind === "SF") {
      const path = decodeURI(new URL(`file://${rest}`).href)
        .slice(decodeURI(root.href).length);
      file = files.get(path) ?? { lines: new Map(), branches: new Map() };
      files.set(path, file);
    } else if (kind === "DA") add(file.lines, a, b);
    else if (kind === "BRDA") add(file.branches, `${a},${b},${c}`, d);
  }
  return files;
}

const isOurs = (path: string) =>
  /^(_internal\/.*|\w+)\.ts$/.test(path) && !LEFT_OUT.test(path);

try {
  const units: string[] = [];
  for await (const { name } of Deno.readDir(new URL("tests", root))) {
    const [, unit] = /^(unit_.*)_test\.ts$/.exec(name) ?? [];
    if (unit !== undefined) units.push(unit);
  }
  await test([...TESTS, ...units.sort()], FEW_STARTS);
  await test(PROGRAMS, COUNTING, { DENO_COVERAGE_DIR: folder });
  const files = [...await collected()]
    .filter(([path]) => isOurs(path))
    .sort(([a], [b]) => a < b ? -1 : 1);

  const total = { lines: [0, 0], branches: [0, 0] };
  const percent = ([hit, all]: number[]) => all === 0 ? 100 : hit! / all! * 100;
  const row = (name: string, lines: number[], branches: number[]) =>
    `${name.padEnd(32)} ${percent(lines).toFixed(1).padStart(6)} % ` +
    `${percent(branches).toFixed(1).padStart(6)} %`;
  console.log(`${"".padEnd(32)}    lines branches  not reached`);
  for (const [path, file] of files) {
    const counted = (["lines", "branches"] as const).map((kind) => {
      const hits = [...file[kind].values()];
      const counts = [hits.filter((it) => it > 0).length, hits.length];
      total[kind] = total[kind].map((sum, i) => sum + counts[i]!);
      return counts;
    });
    const missed = [...file.lines].filter(([, hits]) => hits === 0)
      .map(([line]) => line).join(" ");
    console.log(`${row(path, counted[0]!, counted[1]!)}  ${missed}`);
  }
  console.log(row("all", total.lines, total.branches));
  for (const kind of ["lines", "branches"] as const) {
    if (percent(total[kind]) >= FLOORS[kind]) continue;
    console.log(`fewer than ${FLOORS[kind]} % of the ${kind}`);
    Deno.exitCode = 1;
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
