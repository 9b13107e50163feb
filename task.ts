/**
 * Functions that are sent by name.
 *
 * @module
 */

import {
  type AnyFunction,
  keyOf,
  mark,
  ownName,
  reviveCallable,
} from "./_internal/callable.ts";
import { shown } from "./_internal/check.ts";
import { realm } from "./_internal/realm.ts";

export type { AnyFunction };

/**
 * Marks a function of a module, so that it is sent as the module's URL and its
 * name: the other thread imports the module, and the function may use what the
 * module imports and keeps. The function need not be exported.
 *
 * As with Python's spawn, the top level of the module runs again in each
 * worker, where `currentProcess().id` is not 0 and `import.meta.main` not `true`:
 * what only the program should do belongs in an `if` of one of these. While a
 * worker loads the module, it cannot start the module's tasks in further threads.
 *
 * Mark the function at the module's top level, under no condition: if the worker
 * does not come to the mark, the call rejects. On Deno the import needs read (or
 * import) permission for the module and what it imports.
 *
 * @example Usage
 * ```ts
 * import { task } from "@multi/processing";
 * import { assertEquals } from "@std/assert";
 *
 * function double(n: number): number {
 *   return n * 2;
 * }
 * task(import.meta.url, double);
 * assertEquals(double(2), 4);
 * ```
 *
 * @typeParam F The function's type.
 * @param module The module's URL: `import.meta.url`.
 * @param fn The function, which must have a name. Bundlers that minify leave the
 * names of declarations alone, and take those of expressions away.
 * @returns The same function, marked.
 * @throws {TypeError} If `fn` is neither a function nor a name, if the function
 * has no name, if another function of the module was marked with that name, or if
 * `module` is not an absolute URL.
 * @see {@link https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods}
 */
export function task<F extends AnyFunction>(module: string | URL, fn: F): F;
/**
 * Names an export of a module that this thread may never load.
 *
 * Calling the result directly imports the module, calls the export and returns a
 * promise, whatever `F` says; it rejects if there is no such module or export.
 *
 * @example Usage
 * ```ts
 * import { task } from "@multi/processing";
 * import { assertEquals } from "@std/assert";
 *
 * const join = task<(...parts: string[]) => string>("node:path", "join");
 * assertEquals(await join("a", "b"), "a/b");
 * ```
 *
 * @typeParam F The export's type.
 * @param module The module's URL.
 * @param exportName The name of the export.
 * @returns A function that stands for it.
 * @throws {TypeError} If `exportName` is empty, or `module` not an absolute URL.
 */
export function task<F extends AnyFunction>(
  module: string | URL,
  exportName: string,
): F;
export function task<F extends AnyFunction>(
  module: string | URL,
  target: F | string,
): F {
  const url = absolute(module);
  if (typeof target === "string") {
    if (target === "") {
      throw new TypeError("Cannot name task as exportName is empty");
    }
    const reference = { module: url, name: target };
    const key = keyOf(reference);
    const known = realm.stubs.get(key);
    if (known !== undefined) return known as F;
    const stub = async (...args: unknown[]) =>
      await (await reviveCallable({ kind: "task", ...reference }))(...args);
    mark(stub, reference);
    realm.stubs.set(key, stub);
    return stub as F;
  }
  if (typeof target !== "function") {
    throw new TypeError(
      `Cannot mark task as it must be a function or the name of an export: ` +
        `received ${shown(target)}`,
    );
  }
  const name = ownName(target);
  if (name === "") {
    throw new TypeError(
      `Cannot mark task as the function has no name: declare it first, as in ` +
        `"function name() {}" (a bundler that minifies takes the names of other ` +
        `functions away)`,
    );
  }
  const key = keyOf({ module: url, name });
  const marked = realm.tasks.get(key);
  if (marked !== undefined && marked !== target) {
    throw new TypeError(
      `Cannot mark task "${name}" as another function of module "${url}" is ` +
        `marked with that name: rename one of them, or, if the module was loaded ` +
        `anew, as for hot reload, restart the program`,
    );
  }
  realm.tasks.set(key, target);
  mark(target, { module: url, name });
  return target;
}

function absolute(module: string | URL): string {
  try {
    return new URL(module).href;
  } catch {
    throw new TypeError(
      `Cannot mark task as module must be an absolute URL: received ` +
        `${JSON.stringify(String(module))}; pass import.meta.url, or what ` +
        `import.meta.resolve() returns`,
    );
  }
}
