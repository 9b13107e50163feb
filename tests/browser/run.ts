/**
 * Runs the tests in headless Chromium, or in Firefox where the environment variable
 * BROWSER is `firefox`: `deno task test:browser`. BROWSER_COMMAND is the command, if
 * that has another name than the browser.
 *
 * A test that does not apply in a browser says which row of the table in
 * ARCHITECTURE.md it goes by; a reason without a row is a failure.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Orders } from "./page.ts";
import { serve } from "./server.ts";

const root = new URL("../../", import.meta.url);

/** Files of which no test applies: the key of the row that says why. */
const BESIDE: Record<string, string> = {
  "examples_test.ts": "programs",
  "inspect_test.ts": "programs",
  "lifetime_test.ts": "programs",
  "model_test.ts": "models",
  "package_test.ts": "programs",
  "runtime_test.ts": "programs",
};

/** Tests that do not apply, part of their names: the key of the row that says why. */
const BESIDE_BY_NAME: Record<string, string> = {
  "process.exit": "process.exit",
  // They call it inside.
  "loses an imap item with its worker": "process.exit",
  "loses what was transferred with its worker": "process.exit",
  "when its initializer ends the worker": "process.exit",
  // Where a thread blocks, none that it starts begins.
  "starts another worker at once": "blocking",
  "begins though a worker has just died": "blocking",
  "storm of calls for which a thread blocks": "blocking",
  "past calls whose time is up while its thread blocks": "blocking",
  "idle workers that have ended while its thread blocked": "blocking",
  "any number of workers that were of use": "blocking",
};

/** How long a page may say nothing. */
const SILENCE_MS = 70_000;

interface Message {
  file?: string;
  name?: string;
  error?: string;
  beside?: string;
  milliseconds?: number;
  done?: boolean;
}

/** A page to be opened. */
interface Scenario extends Omit<Orders, "beside"> {
  /** Which headers it has: see server.ts. */
  kind: string;
}

/** How a browser is started that shows nothing on a screen. */
interface Browser {
  command: string;
  args: (profile: string) => string[];
}

/** By what the environment variable BROWSER says. */
const BROWSERS: Record<string, Browser> = {
  chromium: {
    command: "chromium",
    args: (profile) => [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--disable-dev-shm-usage",
      `--user-data-dir=${profile}`,
    ],
  },
  firefox: {
    command: "firefox",
    args: (profile) => ["--headless", "--no-remote", "--profile", profile],
  },
};
const { BROWSER = "chromium", BROWSER_COMMAND } = process.env;
if (!Object.hasOwn(BROWSERS, BROWSER)) {
  throw new Error(
    `Cannot run tests as BROWSER must be one of ${
      Object.keys(BROWSERS).join(", ")
    }: received "${BROWSER}"`,
  );
}
const { command, args } = BROWSERS[BROWSER]!;

let passed = 0;
let failed = 0;
const reasons = new Map<string, number>();

function beside(reason: string): void {
  reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
}

/** Counts what a page says, and prints it. */
function receive(message: Message, print: (line: string) => void): void {
  const { file, name, error, beside: reason, milliseconds } = message;
  if (file !== undefined) print(`  ${file}`);
  if (name === undefined && error === undefined) return;
  if (reason !== undefined) {
    beside(reason);
    print(`    - ${name} (does not apply: ${reason})`);
  } else if (error === undefined) {
    passed++;
    print(`    ✓ ${name} (${milliseconds} ms)`);
  } else {
    failed++;
    print(`    ✗ ${name ?? "the page"}\n${error.replace(/^/gm, "      ")}`);
  }
}

/**
 * Opens a page, and closes the browser when it says that it is done. Prints all
 * of it then, as others may run beside it.
 */
async function run({ kind, ...scenario }: Scenario): Promise<void> {
  const orders: Orders = { ...scenario, beside: BESIDE_BY_NAME };
  const lines = [`\n${kind} page, tests in the ${orders.in}`];
  const hear = (message: Message) =>
    receive(message, (line) => lines.push(line));
  let over = false;
  let finish = () => {};
  let timer: ReturnType<typeof setTimeout> | undefined;
  const fail = (error: string) => {
    hear({ error });
    finish();
  };
  const watch = () => {
    clearTimeout(timer);
    timer = setTimeout(
      () => fail(`the page said nothing for ${SILENCE_MS} ms`),
      SILENCE_MS,
    );
  };
  const finished = new Promise<void>((resolve) => finish = resolve);
  const stop = () => fail(`the tests were stopped by ${stopped.reason}`);
  stopped.addEventListener("abort", stop);
  const server = await serve((message: Message) => {
    watch();
    hear(message);
    if (message.done) finish();
  });
  const profile = await mkdtemp(join(tmpdir(), "multi-processing-"));
  const page = `${server.origin}/${kind}/tests/browser/page.html`;
  const browser = spawn(BROWSER_COMMAND ?? command, [
    ...args(profile),
    `${page}#${encodeURIComponent(JSON.stringify(orders))}`,
  ], { stdio: "ignore", detached: true });
  watch();
  browser.on("error", (error) => fail(String(error)));
  browser.on("exit", (code, signal) => {
    if (!over) fail(`the browser ended, by ${signal ?? `exit code ${code}`}`);
  });
  await finished;
  over = true;
  stopped.removeEventListener("abort", stop);
  clearTimeout(timer);
  console.log(lines.join("\n"));
  await end(browser);
  server.close();
  await rm(profile, { recursive: true, force: true, maxRetries: 5 });
}

/** Ends a browser with all processes of its group. */
async function end(browser: ChildProcess): Promise<void> {
  if (browser.pid === undefined) return;
  const ended = browser.exitCode !== null || browser.signalCode !== null
    ? undefined
    : new Promise((resolve) => browser.once("exit", resolve));
  try {
    process.kill(-browser.pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
  await ended;
}

/** Ends the browsers that run, and with them the tests. */
const stopping = new AbortController();
const stopped = stopping.signal;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => stopping.abort(signal));
}

const wanted = process.argv.slice(2);
const files = (await readdir(new URL("tests/", root)))
  .filter((name) => name.endsWith("_test.ts")).sort();
const common: string[] = [];
for (const name of files) {
  if (BESIDE[name] !== undefined) beside(BESIDE[name]);
  else common.push(`tests/${name}`);
}
const own = (name: string) => `tests/browser/${name}_test.ts`;
const scenarios: Scenario[] = [
  { kind: "isolated", in: "page", files: [own("page"), ...common] },
  { kind: "isolated", in: "worker", files: common },
  { kind: "plain", in: "page", files: [own("plain")] },
  { kind: "plain", in: "worker", files: [own("plain")] },
  { kind: "policy", in: "page", files: [own("policy")] },
  { kind: "strict", in: "page", files: [own("strict")] },
];
const rest = scenarios.values();
async function open(): Promise<void> {
  for (const scenario of rest) {
    const files = wanted.length === 0
      ? scenario.files
      : scenario.files.filter((file) =>
        wanted.some((it) => `${scenario.kind} ${scenario.in} ${file}`.match(it))
      );
    if (files.length > 0 && !stopped.aborted) await run({ ...scenario, files });
  }
}
// Two at once, as their tests wait more than they work.
await Promise.all([open(), open()]);

const table = await readFile(new URL("ARCHITECTURE.md", root), "utf8")
  .catch(() => "");
for (const [reason, count] of reasons) {
  if (new RegExp(`^\\| \`${reason}\` +\\|`, "m").test(table)) {
    console.log(`${count} not applying: ${reason}, see ARCHITECTURE.md`);
    continue;
  }
  failed++;
  console.log(`✗ ARCHITECTURE.md has no row for the reason "${reason}"`);
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
