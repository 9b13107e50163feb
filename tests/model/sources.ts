/**
 * A copy of the module's sources, so that they can be loaded beside the module
 * itself, and with a mistake in them.
 *
 * @module
 */

import {
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** A change of one file; what is replaced must stand there once. */
export interface Edit {
  file: string;
  find: string;
  replace: string;
}

/**
 * What a model leaves out: threads that spin, long histories, gaps in memory,
 * promises of the platform's, and messages that never come.
 */
const BOUNDS: Edit[] = [
  {
    file: "_internal/barrier_state.ts",
    find: "const HISTORY_LENGTH = 8192;",
    replace: "const HISTORY_LENGTH = 4;",
  },
  {
    file: "_internal/promises.ts",
    find: "return apply(then, promise, [onValue, onError]) as",
    replace: "return promise.then(onValue, onError) as unknown as",
  },
  {
    file: "_internal/worker/shared_lane.ts",
    find: "if (!this.#watching) this.#watch();",
    replace: "",
  },
  {
    file: "_internal/shared_channel.ts",
    find: "later(RING_AGAIN_MS, () => {",
    replace: "((..._: unknown[]) => 0)(RING_AGAIN_MS, () => {",
  },
  {
    file: "_internal/protocol.ts",
    find: "const LINE = 16;",
    replace: "const LINE = 1;",
  },
  {
    file: "_internal/runtime/which.ts",
    find: "scope.navigator?.hardwareConcurrency",
    replace: "1",
  },
  {
    file: "_internal/turn.ts",
    find: "isTurnOverdue(): boolean {",
    replace: "isTurnOverdue(): boolean {\n  return false;",
  },
  {
    file: "_internal/runtime/this_thread.ts",
    find: "export function catchStrayErrors(",
    replace: "export function catchStrayErrors(_: unknown): void {}\n" +
      "export function catchStrayErrorsOfThreads(",
  },
];

let copies = 0;

/** Modules of one copy, by their path in the repository. */
export interface Sources {
  // deno-lint-ignore no-explicit-any
  load(path: string): Promise<any>;
}

/**
 * Copies the sources and gives the copy to `use`.
 *
 * @param edits Mistakes to make.
 * @param use Loads what it needs.
 */
export async function withSources<T>(
  edits: readonly Edit[],
  use: (sources: Sources) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "multi-processing-model-"));
  try {
    const files = [
      "event.ts",
      "barrier.ts",
      "_internal",
      "_internal/runtime",
      "_internal/worker",
    ];
    for (const file of files) {
      if (file.endsWith(".ts")) await cp(join(root, file), join(folder, file));
      else {
        await mkdir(join(folder, file));
        for (const name of await readdir(join(root, file))) {
          if (!name.endsWith(".ts")) continue;
          await cp(join(root, file, name), join(folder, file, name));
        }
      }
    }
    const apart: Edit = {
      file: "_internal/realm.ts",
      find: 'Symbol.for("@multi/processing@4")',
      replace: `Symbol.for("@multi/processing model ${++copies}")`,
    };
    for (const { file, find, replace } of [...BOUNDS, apart, ...edits]) {
      const path = join(folder, file);
      await mkdir(dirname(path), { recursive: true });
      const text = await readFile(path, "utf8");
      if (text.split(find).length !== 2) {
        throw new Error(
          `Cannot change ${file} as it must hold this once: ${find}`,
        );
      }
      await writeFile(path, text.replace(find, () => replace));
    }
    return await use({
      load: (path) => import(pathToFileURL(join(folder, path)).href),
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
