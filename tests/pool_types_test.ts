/**
 * What the compiler knows of a call: results come out as the function gives
 * them, and arguments that do not fit are refused.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import { test } from "node:test";
import {
  type AsyncResult,
  type Pool,
  ProcessPool,
  type ProcessPoolOptions,
  ThreadPool,
  type ThreadPoolOptions,
} from "../mod.ts";
import { POOLS } from "./_pools.ts";
import * as tasks from "./testdata/tasks.ts";

const timeout = 30_000;

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends
  (<T>() => T extends B ? 1 : 2) ? true : false;

/** Compiles if the value's type is this one, no wider and no narrower. */
function isOf<A>() {
  return <B>(_value: B, ..._same: Same<A, B> extends true ? [] : [never]) => {};
}

const double = (n: number) => n * 2;
const later = async (text: string) => await text.length;
const pair = (n: number, text: string): [number, string] => [n, text];
const optional = (n: number, text?: string) => text ?? n;

for (const PoolClass of POOLS) {
  test(`${PoolClass.name} gives results of the function's type`, {
    timeout,
  }, async () => {
    await using pool: Pool & AsyncDisposable = new PoolClass(1);
    isOf<Promise<number>>()(pool.apply(double, [1]));
    isOf<Promise<number>>()(pool.apply(later, ["a"]));
    isOf<AsyncResult<number>>()(pool.applyAsync(later, ["a"]));
    isOf<Promise<number[]>>()(pool.map(double, [1]));
    isOf<Promise<number[]>>()(pool.map(later, new Set(["a"])));
    isOf<AsyncResult<number[]>>()(pool.mapAsync(later, ["a"]));
    isOf<Promise<[number, string][]>>()(pool.starmap(pair, [[1, "a"]]));
    isOf<AsyncResult<[number, string][]>>()(pool.starmapAsync(pair, [[1, ""]]));
    const fixed = [[1, "a"], [2, "b"]] as const;
    isOf<Promise<[number, string][]>>()(pool.starmap(pair, fixed));
    isOf<AsyncIterableIterator<number>>()(pool.imap(later, ["a"]));
    isOf<AsyncIterableIterator<number>>()(pool.imapUnordered(double, [1]));
    isOf<Promise<string | number>>()(pool.apply(optional, [1]));
    isOf<Promise<void>>()(pool.apply(() => {}));
    isOf<number>()(await pool.applyAsync(double, [1]));
    isOf<number>()(await pool.applyAsync(double, [1]).get());
    isOf<number[]>()(await pool.mapAsync(later, ["a"]).get({ timeout: 5_000 }));
    for await (const item of pool.imap(double, [1])) isOf<number>()(item);
    isOf<Promise<number>>()(pool.apply(tasks.double, [1]));
    // Promises in the input, async iterables, promises of results.
    async function* source() {
      yield await 1;
    }
    assertEquals(await pool.map(double, [1, Promise.resolve(2)]), [2, 4]);
    assertEquals(await pool.map(double, source()), [2]);
    pool.applyAsync(later, ["a"], {
      callback: (length) => isOf<number>()(length),
      errorCallback: (error) => isOf<unknown>()(error),
    });
    pool.mapAsync(later, ["a"], {
      callback: (lengths) => isOf<number[]>()(lengths),
      onProgress: ({ done, total }) => {
        isOf<number>()(done);
        isOf<number | undefined>()(total);
      },
    });
    assertEquals(await pool.apply(optional, [1, "a"]), "a");
  });

  test(`${PoolClass.name} takes arguments of the function's types alone`, {
    timeout,
  }, async () => {
    await using pool: Pool & AsyncDisposable = new PoolClass(1);
    const calls: PromiseLike<unknown>[] = [
      // @ts-expect-error: the argument is a number
      pool.apply(double, ["1"]),
      // @ts-expect-error: there is one argument
      pool.apply(double, [1, 2]),
      // @ts-expect-error: it must be there
      pool.apply(double, []),
      // @ts-expect-error: the second is a text
      pool.applyAsync(pair, [1, 2]),
      // @ts-expect-error: the items are numbers
      pool.map(double, ["1"]),
      // @ts-expect-error: and promises of numbers
      pool.mapAsync(double, [Promise.resolve("1")]),
      // @ts-expect-error: the lists have two items
      pool.starmap(pair, [[1]]),
      // @ts-expect-error: of these types
      pool.starmapAsync(pair, [["a", 1]]),
      // @ts-expect-error: a text is no number
      pool.imap(double, "text").next(),
      // @ts-expect-error: a function of two arguments is given one
      pool.imapUnordered(pair, [1]).next(),
      // @ts-expect-error: the callback is given the result
      pool.applyAsync(double, [1], { callback: (_: string) => {} }),
      // @ts-expect-error: there is no such option
      pool.map(double, [1], { chunksize: 1 }),
    ];
    await Promise.allSettled(calls);
    const bad: [call: () => Promise<unknown>, error: typeof TypeError][] = [
      // @ts-expect-error: milliseconds are a number
      [() => pool.apply(double, [1], { timeout: "1" }), TypeError],
      // @ts-expect-error: a number is not iterable
      [() => pool.map(double, 1), TypeError],
      // @ts-expect-error: a text is no function
      [() => pool.apply("double"), TypeError],
    ];
    for (const [call, error] of bad) await assertRejects(call, error);
  });
}

test("One kind of pool takes the options of the other", {
  timeout,
}, async () => {
  const options = {
    initializer: (n: number) => {
      (globalThis as unknown as { started: number }).started = n;
    },
    initargs: [1],
    maxTasksPerChild: 5,
    name: "either",
  };
  for (
    const pool of [new ProcessPool(1, options), new ThreadPool(1, options)]
  ) {
    assertEquals(await pool.apply(double, [1]), 2);
    pool.close();
    await pool.join();
  }
  // Those of a configuration are of the type by its name.
  const typed: ProcessPoolOptions & ThreadPoolOptions = {
    initializer: (n: number) => void n,
    initargs: [1],
  };
  new ProcessPool(1, typed).terminate();
  await using pool = new ThreadPool(1, { permissions: "none", name: "one" });
  assertEquals(await pool.apply(double, [1]), 2);
  // @ts-expect-error: there is no such option
  new ThreadPool(1, { maxTasks: 1 }).terminate();
});
