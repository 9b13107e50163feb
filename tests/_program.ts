/**
 * Runs a function as a program of its own, with the runtime that runs the
 * tests and without any permission.
 *
 * @module
 */

import process from "node:process";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The public interface, as a program is given it. */
export type Module = typeof import("../mod.ts");

/** How a program ended. */
export interface ProgramResult {
  /** The exit code; `null` if it did not end in time. */
  code: number | null;
  stdout: string;
  stderr: string;
  /** From its start to its end. */
  milliseconds: number;
}

/** The URL of the module under test. */
export const moduleUrl: string = new URL("../mod.ts", import.meta.url).href;

const isDeno = "Deno" in globalThis;

/**
 * The arguments that make this runtime run a file without permissions. Deno gives
 * all to a Deno that it spawns by `node:child_process`, unless it sees a flag that
 * is about permissions (denoland/deno#35443).
 */
export const runArgs: string[] = isDeno
  ? ["run", "--no-prompt", "--deny-ffi"]
  : [];

/** What lets a program call `gc()`; Bun has its own. */
export const gcArgs: string[] = isDeno
  ? ["--v8-flags=--expose-gc"]
  : process.versions.bun
  ? []
  : ["--expose-gc"];

/** A folder that is gone after `use`. */
export async function withFolder<T>(
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "multi-processing-"));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Runs a command to its end, or kills it. */
export function execute(
  command: string,
  args: string[],
  options: {
    timeout?: number;
    cwd?: string;
    env?: Record<string, string>;
  } = {},
): Promise<ProgramResult> {
  const { timeout = 20_000, cwd, env } = options;
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      ...cwd === undefined ? {} : { cwd },
      ...env === undefined ? {} : { env: { ...process.env, ...env } },
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => stdout += chunk);
    child.stderr.on("data", (chunk) => stderr += chunk);
    const timer = setTimeout(() => child.kill("SIGKILL"), timeout);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      const milliseconds = performance.now() - started;
      resolve({ code, stdout, stderr, milliseconds });
    });
  });
}

/**
 * Runs a function as a program.
 *
 * @param main Gets the module and sees nothing else from here.
 */
export function runProgram(
  main: (module: Module) => unknown,
  options: { timeout?: number; args?: string[] } = {},
): Promise<ProgramResult> {
  const { args = [] } = options;
  return withFolder(async (folder) => {
    const file = join(folder, "program.mjs");
    await writeFile(
      file,
      `import * as module from ${JSON.stringify(moduleUrl)};\n` +
        `await (${main})(module);\n`,
    );
    return await execute(
      process.execPath,
      [...runArgs, ...args, file],
      options,
    );
  });
}
