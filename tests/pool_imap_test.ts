// imap and imapUnordered: order, look-ahead, and an end at any time.

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { Event, PoolClosedError, ProcessPool } from "../mod.ts";
import { runProgram } from "./_program.ts";
import {
  drained,
  endInTurn,
  outcomes,
  POOLS,
  reached,
  sharedCells,
  type Turn,
  until,
} from "./_pools.ts";

const timeout = 30_000;

// deno-lint-ignore no-explicit-any
type Any = any;

const double = (n: number) => n * 2;
const pause = (ms: number) =>
  new Promise<number>((resolve) => setTimeout(() => resolve(ms), ms));
const failAt3 = (n: number) => {
  if (n === 3) throw new RangeError("three");
  return n;
};

/** A source that counts what is read and says whether it was closed. */
function counted(end = Infinity) {
  const state = {
    read: 0,
    closed: 0,
    *[Symbol.iterator]() {
      try {
        while (state.read < end) yield state.read++;
      } finally {
        state.closed++;
      }
    },
  };
  return state;
}

for (const Pool of POOLS) {
  const { name } = Pool;

  test(`${name}.imap() gives results in the order of the input`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const items = [30, 1, 20, 2];
    for (const chunkSize of [1, 2, 3, 100]) {
      assertEquals(await drained(pool.imap(pause, items, { chunkSize })), {
        values: items,
      });
    }
    assertEquals(await drained(pool.imap(double, [])), { values: [] });
    assertEquals(await drained(pool.imap((it) => it, "")), { values: [] });
    const it = pool.imap(double, [1]);
    assertEquals(it[Symbol.asyncIterator](), it);
    assertEquals(await it.next(), { done: false, value: 2 });
    assertEquals(await it.next(), { done: true, value: undefined });
    assertEquals(await it.next(), { done: true, value: undefined });
  });

  test(`${name}.imap() closes its source if an item is a broken promise`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const broken = [
      () => Promise.reject(new RangeError("it broke")),
      () => ({
        then() {
          throw new RangeError("it broke");
        },
      }),
      () => ({
        get then(): never {
          throw new RangeError("it broke");
        },
      }),
    ];
    // A promise of the platform's whose properties were changed.
    const hostile = (key: string, property: PropertyDescriptor) => () =>
      Object.defineProperty(Promise.resolve(2), key, property);
    const get = () => {
      throw new RangeError("it broke");
    };
    broken.push(
      hostile("then", { value: get }) as never,
      hostile("constructor", { get }) as never,
    );
    for (const item of broken) {
      let closed = 0;
      const source = function* (): Generator<number | PromiseLike<number>> {
        try {
          yield 1;
          yield item() as PromiseLike<number>;
          yield 3;
        } finally {
          closed++;
        }
      };
      const { values, error } = await drained(pool.imap(double, source()));
      assertEquals(values, [2]);
      assertEquals((error as Error | undefined)?.message, "it broke");
      assertEquals(closed, 1);
    }
  });

  test(`${name}.imap() reads no further ahead, as its source sees it`, {
    timeout,
  }, async () => {
    for (const processes of [1, 2]) {
      for (const chunkSize of [1, 3]) {
        for (const method of ["imap", "imapUnordered"] as const) {
          await using pool = new Pool(processes);
          let received = 0;
          let most = 0;
          const source = function* () {
            for (let read = 1; read <= 60; read++) {
              most = Math.max(most, read - received);
              yield read;
            }
          };
          for await (const _ of pool[method](double, source(), { chunkSize })) {
            await Promise.resolve();
            received++;
          }
          assertEquals(received, 60);
          assertEquals(most, 4 * processes * chunkSize);
        }
      }
    }
  });

  test(`${name} refuses a source whose iterator gives no objects`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    // deno-lint-ignore no-explicit-any
    const next = () => 5 as any;
    const broken = { [Symbol.iterator]: () => ({ next }) };
    const brokenLater = { [Symbol.asyncIterator]: () => ({ next }) };
    for (const source of [broken, brokenLater]) {
      const { values, error } = await drained(pool.imap(double, source));
      assertEquals(values, []);
      assertInstanceOf(error, TypeError);
      await assertRejects(() => pool.map(double, source), TypeError);
    }
  });

  test(`${name}.imap() takes promises that are settled at once`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const COUNT = 20_000;
    for (const holder of [() => ({}), () => Promise.resolve()]) {
      const source = function* (): Generator<PromiseLike<number>> {
        for (let i = 0; i < COUNT; i++) {
          yield Object.assign(holder(), {
            // deno-lint-ignore no-explicit-any
            then: (onValue: any) => onValue(i),
          });
        }
      };
      const it = pool.imap(double, source(), { chunkSize: COUNT });
      const { values, error } = await drained(it);
      assertEquals(error, undefined);
      assertEquals(values.length, COUNT);
      assertEquals(values.at(-1), 2 * (COUNT - 1));
    }
  });

  test(`${name}.imapUnordered() gives results as they come`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const gate = new Event();
    const slowFirst = pool.imapUnordered(
      async ([n, gate]: [number, Event]) => {
        if (n === 0) await gate.wait();
        return n;
      },
      [0, 1, 2].map((n): [number, Event] => [n, gate]),
    );
    assertEquals((await slowFirst.next()).value, 1);
    assertEquals((await slowFirst.next()).value, 2);
    gate.set();
    assertEquals(await drained(slowFirst), { values: [0] });
    // What comes after a failure nobody is given, however slow the consumer.
    const one = new Pool(1);
    const values: number[] = [];
    await assertRejects(async () => {
      for await (const value of one.imapUnordered(failAt3, [1, 2, 3, 4, 5])) {
        values.push(value);
        await until(() => {
          const { completed, failed } = one.stats();
          return completed + failed >= 4; // the one after the failure too
        });
      }
    }, RangeError);
    assertEquals(values, [1, 2]);
    one.terminate();
    const many = Array.from({ length: 500 }, (_, i) => i);
    const found = await drained(
      pool.imapUnordered(double, many, { chunkSize: 7 }),
    );
    assertEquals(
      found.values.sort((a, b) => a - b),
      many.map(double),
    );
  });

  test(`${name}.imap() answers several next() at once`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const it = pool.imap(double, counted(3));
    const results = await Promise.all([1, 2, 3, 4, 5].map(() => it.next()));
    assertEquals(results.map((it) => it.value), [
      0,
      2,
      4,
      undefined,
      undefined,
    ]);
    assertEquals(results.map((it) => it.done), [
      false,
      false,
      false,
      true,
      true,
    ]);
  });

  test(
    `${name}.imap() gives more results asked for at once than it reads ahead`,
    {
      timeout,
    },
    async () => {
      await using pool = new Pool(1);
      const it = pool.imap(double, counted(50));
      const asked = Array.from({ length: 51 }, () => it.next());
      const values = (await Promise.all(asked)).map(({ value }) => value);
      assertEquals(
        values,
        [...Array(50).keys()].map(double).concat([undefined!]),
      );
    },
  );

  test(`${name}.imap() tells of no progress once it was left`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const gate = new Event();
    const passIf = async ([isFirst, gate]: [boolean, Event]) => {
      if (!isFirst) await gate.wait();
    };
    let isLeft = false;
    let late = 0;
    const onProgress = () => {
      if (isLeft) late++;
    };
    const items: [boolean, Event][] = [[true, gate], [false, gate]];
    for await (const _ of pool.imap(passIf, items, { onProgress })) break;
    isLeft = true;
    gate.set();
    await until(() => pool.stats().busy === 0);
    await pool.apply(double, [1]);
    assertEquals(late, 0);
  });

  test(`${name} lets run on what a loop that was left, or a map, has begun`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const cells = sharedCells(2); // how many have begun to wait, and ended
    const gate = new Event();
    type Item = [what: string, cells: Int32Array, gate: Event];
    const run = async ([what, cells, gate]: Item) => {
      if (what === "wait") {
        Atomics.add(cells, 0, 1);
        await gate.wait();
        Atomics.add(cells, 1, 1);
        return;
      }
      const others = what === "pass" ? 1 : 2;
      while (Atomics.load(cells, 0) < others) {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      if (what === "fail") throw new RangeError("fails");
    };
    const items = (first: string): Item[] => [
      [first, cells, gate],
      ["wait", cells, gate],
    ];
    for await (const _ of pool.imapUnordered(run, items("pass"))) break;
    gate.set();
    await reached(cells, 1, 1);
    gate.clear();
    await assertRejects(
      () => pool.map(run, items("fail"), { chunkSize: 1 }),
      RangeError,
    );
    gate.set();
    await reached(cells, 1, 2);
    assertEquals(pool.stats().respawned, 0);
  });

  test(`${name}.imap() reads at the first next(), and never far ahead`, {
    timeout,
  }, async () => {
    for (const chunkSize of [1, 3]) {
      await using pool = new Pool(2);
      const source = counted();
      const it = pool.imap(double, source, { chunkSize });
      await pool.apply(double, [1]);
      assertEquals(source.read, 0);
      const ahead = 4 * 2 * chunkSize;
      for (let given = 1; given <= 25; given++) {
        assertEquals((await it.next()).value, (given - 1) * 2);
        assert(source.read <= given + ahead, `${source.read} at ${given}`);
        await pool.apply(double, [1]);
        assert(source.read <= given + ahead, `${source.read} at ${given}`);
      }
      assertEquals(source.closed, 0);
      await it.return!();
      assertEquals(source.closed, 1);
    }
  });

  test(`${name}.imap() closes its source when the loop is left`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    for (const method of ["imap", "imapUnordered"] as const) {
      const source = counted();
      for await (const _ of pool[method](double, source)) break;
      assertEquals(source.closed, 1);
      const { read } = source;
      await pool.apply(double, [1]);
      assertEquals(source.read, read);

      const thrown = counted();
      await assertRejects(async () => {
        for await (const _ of pool[method](double, thrown)) {
          throw new EvalError("left");
        }
      }, EvalError);
      assertEquals(thrown.closed, 1);

      const untouched = counted();
      const it = pool[method](double, untouched);
      assertEquals(await it.return!(), { done: true, value: undefined });
      assertEquals(await it.next(), { done: true, value: undefined });
      assertEquals([untouched.read, untouched.closed], [0, 0]);
    }
  });

  test(`${name}.imap() does not wait for a source that is stuck`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    let closed = 0;
    const stuck = {
      [Symbol.asyncIterator]() {
        let n = 0;
        return {
          next: () =>
            n < 2
              ? Promise.resolve({ done: false, value: n++ })
              : new Promise<IteratorResult<number>>(() => {}),
          return: () => {
            closed++;
            return new Promise<IteratorResult<number>>(() => {});
          },
        };
      },
    };
    for await (const n of pool.imap(double, stuck)) if (n === 2) break;
    assertEquals(closed, 1);
    const it = pool.imap(double, stuck);
    assertEquals((await it.next()).value, 0);
    assertEquals((await it.next()).value, 2);
    const pending = it.next();
    await it.return!();
    assertEquals(await pending, { done: true, value: undefined });
    assertEquals(closed, 2);
  });

  test(`${name}.imap() drops what has not begun when the loop is left`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const cells = sharedCells();
    const count = (cells: Int32Array) => Atomics.add(cells, 0, 1);
    const gate = new Event();
    type Item = [number, Int32Array, Event];
    const it = pool.imap(
      async ([n, cells, gate]: Item) => {
        Atomics.add(cells, 0, 1);
        if (n === 1) await gate.wait();
      },
      Array.from({ length: 4 }, (_, i): Item => [i, cells, gate]),
    );
    await it.next();
    await reached(cells, 0, 2);
    await it.return!();
    gate.set();
    assertEquals(await pool.apply(count, [cells]), 2);
  });

  test(`${name}.imap() reads asynchronous sources and promises`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    async function* slow() {
      for (const n of [1, 2, 3]) {
        await Promise.resolve();
        yield n;
      }
    }
    const promises = [Promise.resolve(1), 2, Promise.resolve(3)];
    for (const source of [slow, () => promises]) {
      for (const chunkSize of [1, 2]) {
        assertEquals(
          await drained(pool.imap(double, source(), { chunkSize })),
          { values: [2, 4, 6] },
        );
      }
    }
    assertEquals(await drained(pool.imap((c: string) => c + c, "a𝄞")), {
      values: ["aa", "𝄞𝄞"],
    });
  });

  test(`${name}.imap() gives all before an input that fails`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const failing = [
      function* () {
        yield* [0, 1, 2, 3, 4];
        throw new EvalError("input");
      },
      async function* () {
        yield* [0, 1, 2, 3, 4];
        await Promise.reject(new EvalError("input"));
      },
      function* () {
        yield* [0, 1, 2, 3, 4];
        yield Promise.reject(new EvalError("input"));
      },
    ];
    for (const source of failing) {
      for (const chunkSize of [1, 2, 5, 9]) {
        const it = pool.imap(double, source(), { chunkSize });
        const { values, error } = await drained(it);
        assertEquals(values, [0, 2, 4, 6, 8]);
        assertEquals((error as Error)?.name, "EvalError");
        assertEquals(await it.next(), { done: true, value: undefined });
        const unordered = await drained(
          pool.imapUnordered(double, source(), { chunkSize }),
        );
        assertEquals(unordered.values.sort(), [0, 2, 4, 6, 8]);
        assertEquals((unordered.error as Error)?.name, "EvalError");
      }
    }
    const noIterator = {
      [Symbol.iterator](): Iterator<number> {
        throw new EvalError("input");
      },
    };
    assertEquals(
      (await drained(pool.imap(double, noIterator))).error,
      new EvalError("input"),
    );
  });

  test(`${name}.imap() gives all before an item that fails`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    for (const method of ["imap", "imapUnordered"] as const) {
      for (const chunkSize of [1, 4, 10]) {
        const source = counted();
        const it = pool[method](failAt3, source, { chunkSize });
        const { values, error } = await drained(it);
        if (method === "imap") assertEquals(values, [0, 1, 2]);
        for (const n of [0, 1, 2]) assert(values.includes(n), `no ${n}`);
        assertEquals((error as Error)?.message, "three");
        assertEquals(source.closed, 1);
        assertEquals(await it.next(), { done: true, value: undefined });
      }
    }
  });

  test(`${name}.imap() throws what its source does as the loop is left`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const refuse = new Error("of return()");
    const source = (): Iterable<number> => ({
      [Symbol.iterator]: () => ({
        next: () => ({ done: false, value: 1 }),
        return() {
          throw refuse;
        },
      }),
    });
    for (const method of ["imap", "imapUnordered"] as const) {
      const leave = async (error?: Error) => {
        for await (const _ of pool[method](double, source())) {
          if (error === undefined) break;
          throw error;
        }
      };
      assertEquals(await leave().catch((error) => error), refuse);
      // Another error is the reason: that one is thrown.
      const other = new Error("of the loop");
      assertEquals(await leave(other).catch((error) => error), other);
      const it = pool[method](double, source());
      await it.next();
      assertEquals(await it.return!().catch((error) => error), refuse);
      assertEquals(await it.return!(), { done: true, value: undefined });
      assertEquals(await it.next(), { done: true, value: undefined });
      const value = Promise.resolve(5);
      assertEquals(await it.return!(value), { done: true, value: 5 });
    }
    assertEquals(await pool.apply(double, [1]), 2);
  });

  test(`${name}.imap() tells of a promise in its input when its turn comes`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const late = new Error("late");
    const items = [1, 2, 3, 4, 5, 6, 7, 8, 9, Promise.reject(late)];
    for (const method of ["imap", "imapUnordered"] as const) {
      // It has rejected long before it is read.
      const slow = async (n: number) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        return n;
      };
      const { values, error } = await drained(pool[method](slow, items));
      assertEquals([values.length, error], [9, late]);
    }
  });

  test(`${name}.imap() goes on after close(), if it had begun`, {
    timeout,
  }, async () => {
    const pool = new Pool(2);
    const begun = pool.imap(double, counted(30), { chunkSize: 2 });
    const notBegun = pool.imap(double, counted());
    const first = await begun.next();
    pool.close();
    await assertRejects(() => notBegun.next(), PoolClosedError);
    const rest = await drained(begun);
    assertEquals(first.value, 0);
    assertEquals(rest, {
      values: Array.from({ length: 29 }, (_, i) => (i + 1) * 2),
    });
    await pool.join();
  });

  test(`${name}.join() does not wait for results to be taken`, {
    timeout,
  }, async () => {
    const pool = new Pool(2);
    const it = pool.imap(double, [1, 2, 3]);
    const first = it.next();
    pool.close();
    await pool.join();
    assertEquals((await first).value, 2);
    assertEquals(await drained(it), { values: [4, 6] });
  });

  test(`${name}.imap() never throws, whatever it is called on`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const iterator = pool.imap(double, [1]);
    for (const method of ["next", "return"] as const) {
      await assertRejects(
        () => iterator[method]!.call({} as typeof iterator),
        TypeError,
      );
    }
    assertEquals(await drained(iterator), { values: [2] });
  });

  test(`${name}.imap() ends with terminate()`, { timeout }, async () => {
    const pool = new Pool(2);
    const source = counted();
    const it = pool.imap(double, source);
    await it.next();
    pool.terminate();
    assertEquals(source.closed, 1);
    await assertRejects(() => it.next(), PoolClosedError);
    assertEquals(await it.next(), { done: true, value: undefined });
    await pool.join();
  });

  test(`${name}.imap() reports progress`, { timeout }, async () => {
    await using pool = new Pool(1);
    const seen: unknown[] = [];
    const onProgress = (it: unknown) => void seen.push(it);
    await drained(pool.imap(double, [1, 2, 3], { chunkSize: 2, onProgress }));
    await drained(pool.imap(double, counted(1), { onProgress }));
    assertEquals(seen, [
      { done: 2, total: 3 },
      { done: 3, total: 3 },
      { done: 1, total: undefined },
    ]);
  });

  test(`${name}.imap() ends while a source calls back into it`, {
    timeout,
  }, async () => {
    const pool = new Pool(1);
    const it = pool.imap(
      double,
      (function* () {
        yield 1;
        pool.terminate();
        yield 2;
      })(),
    );
    const { error } = await drained(it);
    assertEquals((error as Error).name, "PoolClosedError");
    await pool.join();
    await until(() => pool.stats().queued === 0);
  });

  test(`${name} does not close a source that has failed`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const failure = new Error("the source fails");
    const fail = () => {
      throw failure;
    };
    const nexts: (() => unknown)[] = [
      fail,
      () => Promise.reject(failure),
      () => Object.defineProperty({}, "done", { get: fail }),
      () => Object.defineProperty({ done: false }, "value", { get: fail }),
    ];
    for (const next of nexts) {
      let closed = 0;
      const iterator: Any = {
        next,
        return() {
          closed++;
          return { done: true };
        },
      };
      const source: AsyncIterable<number> = {
        [Symbol.asyncIterator]: () => iterator,
      };
      const { error } = await drained(pool.imap(double, source));
      assertStrictEquals(error, failure);
      const all = await pool.map(double, source).catch((error) => error);
      assertStrictEquals(all, failure);
      assertEquals(closed, 0);
    }
  });

  test(
    `${name}.imap() closes a source once it has given what it was asked for`,
    {
      timeout,
    },
    async () => {
      for (const leave of ["terminate", "return"] as const) {
        const pool = new Pool(1);
        const order: string[] = [];
        const it = pool.imap(double, {
          [Symbol.iterator]: () => ({
            next() {
              order.push("begin");
              if (leave === "terminate") pool.terminate();
              else it.return!();
              order.push("end");
              return { done: false, value: 1 };
            },
            return() {
              order.push("close");
              return { done: true, value: undefined };
            },
          }),
        });
        await drained(it);
        assertEquals(order, ["begin", "end", "close"]);
        pool.terminate();
        await pool.join();
      }
    },
  );

  test(`${name}.imap() closes a source that ends the pool as it opens`, {
    timeout,
  }, async () => {
    const pool = new Pool(1);
    const source = counted();
    const it = pool.imap(double, {
      [Symbol.iterator]() {
        pool.terminate();
        const iterator = source[Symbol.iterator]();
        iterator.next(); // one that has not begun has nothing to close
        return iterator;
      },
    });
    const { error } = await drained(it);
    assertEquals((error as Error).name, "PoolClosedError");
    assertEquals(source.closed, 1);
    await pool.join();
  });
}

test("ProcessPool.imap() gives what comes before an item that cannot be sent", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const identity = (it: unknown) => it;
  for (const chunkSize of [1, 2, 4]) {
    for (const method of ["imap", "imapUnordered"] as const) {
      const { values, error } = await drained(
        pool[method](identity, [0, 1, 2, () => {}, 4], { chunkSize }),
      );
      for (const n of [0, 1, 2]) assert(values.includes(n), `no ${n}`);
      assertEquals((error as Error).name, "DataCloneError");
    }
    const { values, error } = await drained(
      pool.imap((n: number) => n < 2 ? n : () => {}, [0, 1, 2, 3], {
        chunkSize,
      }),
    );
    assertEquals(values, [0, 1]);
    assertEquals((error as Error).name, "DataCloneError");
  }
});

test("A worker's last task may be one that cannot be sent as a whole", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1, { maxTasksPerChild: 1 });
  for (let i = 0; i < 5; i++) {
    const detached = new ArrayBuffer(8);
    structuredClone(detached, { transfer: [detached] });
    const items = [new Map([[1, 2]]), new Uint8Array(0), detached];
    const iterator = pool.imap((it: unknown) => typeof it, items, {
      chunkSize: 3,
    });
    const { values, error } = await drained(iterator);
    if (error !== undefined) {
      assertEquals(values, ["object", "object"]);
      assertEquals((error as Error).name, "DataCloneError");
    } else assertEquals(values.length, 3); // this platform sends it
    assertEquals(await pool.apply(() => 1), 1);
  }
});

test(
  "A source that fails as it is closed hides no error, and no rejection of its items is loose",
  {
    timeout,
  },
  async () => {
    const { code, stdout, stderr } = await runProgram(
      async ({ ProcessPool, ThreadPool }) => {
        for (const Pool of [ProcessPool, ThreadPool]) {
          const pool = new Pool(1);
          const fail = (n: number) => {
            throw new RangeError(`item ${n}`);
          };
          const source = function* () {
            try {
              for (let i = 0; i < 100; i++) yield i;
            } finally {
              // deno-lint-ignore no-unsafe-finally
              throw new Error("of the source");
            }
          };
          const slow = async function* () {
            try {
              for (let i = 0;; i++) {
                yield i;
                await new Promise((resolve) => setTimeout(resolve));
              }
            } finally {
              // deno-lint-ignore no-unsafe-finally
              throw new Error("of the source");
            }
          };
          const told: string[] = [];
          const tell = (error: Error) => void told.push(error.message);
          // map() reads what is not async to its end first.
          await pool.map(fail, slow()).catch(tell);
          for (const input of [source, slow]) {
            await pool.imap(fail, input()).next().catch(tell);
            await pool.imapUnordered(fail, input()).next().catch(tell);
          }
          const rejected = [1, 2].map((n) => Promise.reject(new Error(`${n}`)));
          const items = [0, ...Array(20).fill(Promise.resolve(1)), ...rejected];
          const it = pool.imap((n: number) => n, items);
          await it.next();
          await it.next();
          await new Promise((resolve) => setTimeout(resolve, 20));
          await it.return!();
          console.log(told.join());
          pool.terminate();
          await pool.join();
        }
      },
    );
    const line = "item 0,item 0,item 0,item 0,item 0\n";
    assertEquals([code, stdout, stderr], [0, line + line, ""]);
  },
);

test("imapUnordered() gives results in the order in which they came about", {
  timeout,
}, async () => {
  const wait = ({ name, turn }: Turn) => {
    if (name === "late") Atomics.wait(turn, 0, 0);
    return `${name} ${self.name}`;
  };
  await endInTurn(async (pool, items) => {
    const { values } = await drained(pool.imapUnordered(wait, items));
    assertEquals(values.length, 2);
    return values[0]!;
  });
});

test("ProcessPool.imap() reads on from a source that ends another call", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const cells = sharedCells();
  const wait = (cells: Int32Array) => {
    Atomics.store(cells, 0, 1);
    return new Promise(() => {});
  };
  const controller = new AbortController();
  const { signal } = controller;
  let call: Promise<unknown[]> | undefined;
  const source = function* () {
    yield 1;
    call = outcomes([pool.apply(wait, [cells], { signal })]);
    const end = performance.now() + 10_000;
    // Once it has begun the first item was answered, which the abort reads.
    while (Atomics.load(cells, 0) === 0 && performance.now() < end);
    controller.abort();
    yield 2;
    yield 3;
  };
  await pool.apply(double, [0]);
  const { values, error } = await drained(pool.imap(double, source()));
  assertEquals(error, undefined);
  assertEquals(values, [2, 4, 6]);
  assertEquals(await call, ["AbortError"]);
});
