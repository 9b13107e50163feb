// What both pools do with calls, and how they begin and end.

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  AsyncResult,
  Event,
  PoolClosedError,
  ProcessPool,
  ThreadPool,
} from "../mod.ts";
import {
  drained,
  outcomes,
  POOLS,
  reached,
  sharedCells,
  until,
} from "./_pools.ts";

const timeout = 30_000;

// deno-lint-ignore no-explicit-any
type Any = any;

const double = (n: number) => n * 2;
const same = <T>(it: T) => it;
const add = (a: number, b: number) => a + b;
const failOn = (n: number, bad: number) => {
  if (n === bad) throw new RangeError(`no ${n}`);
  return n;
};

for (const Pool of POOLS) {
  const { name } = Pool;

  test(`${name}.apply() calls a function`, { timeout }, async () => {
    await using pool = new Pool(2);
    assertEquals(await pool.apply(add, [1, 2]), 3);
    assertEquals(await pool.apply(() => "no arguments"), "no arguments");
    assertEquals(await pool.apply(async () => await "awaited"), "awaited");
    assertEquals(await pool.apply(() => {}), undefined);
    assertEquals(await pool.apply((...all) => all.length, [1, 2, 3]), 3);
    await assertRejects(() => pool.apply(failOn, [1, 1]), RangeError, "no 1");
    const promise = pool.apply(double, [1]);
    assert(promise instanceof Promise);
    await promise;
  });

  test(`${name}.applyAsync() calls back once`, { timeout }, async () => {
    await using pool = new Pool(2);
    const seen: unknown[] = [];
    const options = {
      callback: (value: unknown) => void seen.push(value),
      errorCallback: (error: unknown) => void seen.push((error as Error).name),
    };
    const good = pool.applyAsync(double, [2], options);
    assert(good instanceof AsyncResult);
    assertEquals(seen, []); // not before it returns
    assertEquals(await good, 4);
    const bad = pool.applyAsync(failOn, [1, 1], options);
    assert(await bad.wait());
    await until(() => seen.length >= 2);
    await bad.wait();
    assertEquals(seen, [4, "RangeError"]);
  });

  test(`AsyncResult of ${name} tells how the call stands`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const gate = sharedCells();
    const result = pool.applyAsync(async (gate: Int32Array) => {
      while (Atomics.load(gate, 0) === 0) {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      return "done";
    }, [gate]);
    assertFalse(result.ready());
    assertThrows(() => result.successful(), Error, "has not ended");
    assertStrictEquals(await result.wait({ timeout: 0 }), false);
    assertStrictEquals(await result.wait({ timeout: 10 }), false);
    const late = await assertRejects(
      () => result.get({ timeout: 10 }),
      DOMException as Any,
    );
    assertEquals(late.name, "TimeoutError");
    await assertRejects(() => result.get({ timeout: -1 }), RangeError);
    await assertRejects(() => result.wait({ timeout: NaN }), RangeError);
    assertFalse(result.ready());
    Atomics.store(gate, 0, 1);
    assertStrictEquals(await result.wait(), true);
    assert(result.ready());
    assert(result.successful());
    assertEquals(await result.get(), "done");
    assertEquals(await result.get({ timeout: 0 }), "done");
    assertEquals(await result.get({ timeout: Infinity }), "done");
    assertEquals(await result.then((it) => it + "!"), "done!");

    const bad = pool.applyAsync(failOn, [1, 1]);
    assertStrictEquals(await bad.wait({ timeout: 2 ** 40 }), true);
    assertStrictEquals(bad.successful(), false);
    await assertRejects(() => bad.get(), RangeError, "no 1");
    await assertRejects(async () => await bad, RangeError, "no 1");
    assertEquals(await bad.then(null, (e) => (e as Error).name), "RangeError");
  });

  test(`${name}.map() and starmap() keep the order of the input`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const items = Array.from({ length: 1000 }, (_, i) => i);
    const doubled = items.map(double);
    for (const chunkSize of [undefined, 1, 7, 1000, 5000]) {
      const options = chunkSize === undefined ? {} : { chunkSize };
      assertEquals(await pool.map(double, items, options), doubled);
    }
    assertEquals(await pool.map(async (n: number) => await n, items), items);
    assertEquals(await pool.map(double, []), []);
    assertEquals(await pool.mapAsync(double, items), doubled);
    assertEquals(await pool.starmap(add, [[1, 2], [3, 4]]), [3, 7]);
    assertEquals(await pool.starmapAsync(add, [[1, 2], [3, 4]]), [3, 7]);
    assertEquals(await pool.starmap(() => 1, [[], []]), [1, 1]);
    assertEquals(await pool.map((_: unknown) => undefined, [1, 2]), [
      undefined,
      undefined,
    ]);
    // The function is given the item and nothing else.
    const count = (...all: unknown[]) => all.length;
    assertEquals(await pool.map(count, [1, 2]), [1, 1]);
    // What comes late does not change the order.
    const wait = (ms: number) =>
      new Promise<number>((resolve) => setTimeout(() => resolve(ms), ms));
    assertEquals(
      await pool.map(wait, [40, 1, 20, 5], { chunkSize: 1 }),
      [40, 1, 20, 5],
    );
  });

  test(`${name}.map() takes any iterable`, { timeout }, async () => {
    await using pool = new Pool(2);
    async function* slow() {
      for (let i = 0; i < 5; i++) {
        await Promise.resolve();
        yield i;
      }
    }
    function* promised() {
      yield 1;
      yield Promise.resolve(2);
      yield 3;
    }
    assertEquals(await pool.map(double, new Set([1, 2])), [2, 4]);
    assertEquals(await pool.map(double, new Uint8Array([1, 2])), [2, 4]);
    assertEquals(await pool.map(double, promised()), [2, 4, 6]);
    assertEquals(await pool.map(double, slow()), [0, 2, 4, 6, 8]);
    assertEquals(await pool.map(double, slow(), { chunkSize: 2 }), [
      0,
      2,
      4,
      6,
      8,
    ]);
    assertEquals(await pool.map((s: string) => s + s, "aß𝄞"), [
      "aa",
      "ßß",
      "𝄞𝄞",
    ]);
    assertEquals(await pool.starmap(add, new Map([[1, 2], [3, 4]])), [3, 7]);
    const lists: unknown = [
      [1, 2].values(),
      new Set([3, 4]),
      new Uint8Array([5, 6]),
      function* () {
        yield* [7, 8];
      }(),
    ];
    const sums = pool.starmap(add, lists as [number, number][]);
    assertEquals(await sums, [3, 7, 11, 15]);
    assertEquals(
      // deno-lint-ignore no-sparse-arrays
      await pool.map((n: unknown) => String(n), [1, , 3] as number[]),
      ["1", "undefined", "3"],
    );
  });

  test(`${name}.map() rejects when its input does`, { timeout }, async () => {
    await using pool = new Pool(2);
    function* broken() {
      yield 1;
      throw new EvalError("input");
    }
    async function* asyncBroken() {
      yield await 1;
      throw new EvalError("input");
    }
    await assertRejects(() => pool.map(double, broken()), EvalError, "input");
    await assertRejects(() => pool.map(double, asyncBroken()), EvalError);
    await assertRejects(
      () => pool.map(double, [1, Promise.reject(new EvalError("input"))]),
      EvalError,
    );
    assertEquals(await pool.apply(double, [1]), 2);
  });

  test(`${name}.map() lets no promise of its input be unhandled`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const gate = Promise.withResolvers<number>();
    const mapping = pool.map(double, [
      gate.promise,
      Promise.reject(new Error("the second")),
      Promise.reject(new Error("the third")),
    ]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    gate.resolve(1);
    await assertRejects(() => mapping, Error, "the second");
  });

  test(`${name}.map() rejects when its input has no iterator to give`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const fail = () => {
      throw new Error("no iterator");
    };
    for (
      const input of [{ [Symbol.iterator]: fail }, {
        [Symbol.asyncIterator]: fail,
      }]
    ) {
      const calls = [
        pool.map(double, input as Iterable<number>),
        pool.imap(double, input as Iterable<number>).next(),
      ];
      for (const call of calls) {
        await assertRejects(() => call, Error, "no iterator");
      }
    }
  });

  test(`${name}.map() rejects with the first error and begins no more`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const cells = sharedCells();
    const items = Array.from({ length: 100 }, (_, i) => [i, cells] as const);
    const error = await assertRejects(
      () =>
        pool.map(
          async ([n, cells]: readonly [number, Int32Array]) => {
            Atomics.add(cells, 0, 1);
            if (n === 3) throw new RangeError("three");
            if (n < 3) return;
            // All of them would take longer than the news of the error.
            await new Promise((resolve) => setTimeout(resolve, 5));
            throw new TypeError("later");
          },
          items,
          { chunkSize: 1 },
        ),
      RangeError,
      "three",
    );
    assertEquals(error.name, "RangeError");
    assertEquals(await pool.apply(double, [1]), 2);
    const begun = cells[0]!;
    assert(begun < 100, `${begun} of 100 begun`);
    await pool.apply(double, [1]);
    assertEquals(cells[0], begun);
  });

  test(`${name}.map() reports progress`, { timeout }, async () => {
    await using pool = new Pool(2);
    const known: unknown[] = [];
    await pool.map(double, [1, 2, 3, 4, 5], {
      chunkSize: 2,
      onProgress: ({ done, total }) => void known.push([done, total]),
    });
    assertEquals(known.length, 3);
    assertEquals(known.at(-1), [5, 5]);
    const unknown: unknown[] = [];
    await pool.starmap(
      add,
      (function* (): Generator<[number, number]> {
        yield [1, 2];
        yield [3, 4];
      })(),
      {
        chunkSize: 1,
        onProgress: ({ done, total }) => void unknown.push([done, total]),
      },
    );
    assertEquals(unknown, [[1, undefined], [2, undefined]]);
    const items = [1, 2, 3];
    const entries = items.map((n): [number, number] => [n, n]);
    const own = Object.assign(items.slice(), {
      [Symbol.iterator]: () => items.values(),
    });
    const inputs: [Iterable<unknown>, number?][] = [
      [items, 3],
      [Float64Array.from(items), 3],
      [new Set(items), 3],
      [new Map(entries), 3],
      [items.values()],
      [own],
    ];
    for (const [input, length] of inputs) {
      const totals: unknown[] = [];
      await pool.map((it: unknown) => it, input, {
        onProgress: ({ total }) => void totals.push(total),
      });
      assertEquals(totals, Array(3).fill(length));
    }
  });

  test(`${name} runs one call after another in each place`, {
    timeout,
  }, async () => {
    await using pool = new Pool(3);
    const cells = sharedCells(2); // running now, most ever
    await pool.map(
      async (cells: Int32Array) => {
        const running = Atomics.add(cells, 0, 1) + 1;
        for (let most; running > (most = Atomics.load(cells, 1));) {
          Atomics.compareExchange(cells, 1, most, running);
        }
        await new Promise((resolve) => setTimeout(resolve, 2));
        Atomics.sub(cells, 0, 1);
      },
      Array.from({ length: 60 }, () => cells),
      { chunkSize: 1 },
    );
    assertEquals(cells[0], 0);
    assert(cells[1]! <= 3, `${cells[1]} at once`);
    assert(cells[1]! > 1, "never two at once");
  });

  test(`${name}.stats() counts`, { timeout }, async () => {
    await using pool = new Pool(1);
    const idle = { processes: 1, busy: 0, queued: 0 };
    const no = { completed: 0, failed: 0, respawned: 0, abandoned: 0 };
    assertEquals(pool.stats(), { ...idle, ...no });
    const cells = sharedCells(2);
    const slow = pool.apply(async (cells: Int32Array) => {
      Atomics.store(cells, 0, 1);
      while (Atomics.load(cells, 1) === 0) {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }, [cells]);
    const others = [pool.apply(double, [1]), pool.apply(failOn, [1, 1])];
    await reached(cells, 0, 1);
    assertEquals(pool.stats(), { ...idle, busy: 1, queued: 2, ...no });
    Atomics.store(cells, 1, 1);
    await slow;
    assertEquals(await outcomes(others), [2, "RangeError"]);
    await pool.map(double, [1, 2, 3], { chunkSize: 2 });
    assertEquals(pool.stats(), { ...idle, ...no, completed: 4, failed: 1 });
    assertEquals(pool.processes, 1);
  });

  test(`${name} reads every input as a loop does`, { timeout }, async () => {
    await using pool = new Pool(2);
    class Twice extends Array<number> {
      override *[Symbol.iterator](): ArrayIterator<number> {
        for (let i = 0; i < this.length; i++) yield this[i]! * 2;
      }
    }
    class Odd extends Set<number> {
      override *[Symbol.iterator](): SetIterator<number> {
        for (const it of super.values()) if (it % 2 === 1) yield it;
      }
    }
    const notAsync = {
      [Symbol.asyncIterator]: null,
      *[Symbol.iterator]() {
        yield 7;
      },
    } as unknown as Iterable<number>;
    const inputs: [input: Iterable<number>, items: number[]][] = [
      [Twice.from([1, 2, 3]), [2, 4, 6]],
      [new Odd([1, 2, 3]), [1, 3]],
      [notAsync, [7]],
    ];
    for (const [input, items] of inputs) {
      const totals: unknown[] = [];
      const onProgress = ({ total }: { total: unknown }) => totals.push(total);
      assertEquals(await pool.map(same, input, { onProgress }), items);
      assertEquals(await drained(pool.imap(same, input)), { values: items });
      assertEquals(new Set(totals), new Set([undefined]));
    }
    // JavaScriptCore's own clone looks at every hole.
    const length = "Bun" in globalThis ? 2 ** 20 : 2 ** 32 - 1;
    const holes = new Array(length);
    holes[7] = 1;
    const [back] = await pool.map(same, [holes]);
    assertEquals([back!.length, Object.keys(back!)], [length, ["7"]]);
  });

  test(`${name} asks what has a then() once, and not ahead of its turn`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    let asked = 0;
    class Query implements PromiseLike<number> {
      readonly then = <A, B>(
        onValue?: ((value: number) => A | PromiseLike<A>) | null,
        onError?: ((reason: unknown) => B | PromiseLike<B>) | null,
      ): Promise<A | B> => {
        asked++;
        return Promise.resolve(1).then(onValue, onError);
      };
    }
    const queries = Array.from({ length: 1000 }, () => new Query());
    assertEquals(await pool.map(same, queries.slice(0, 10)), Array(10).fill(1));
    assertEquals(asked, 10);
    for await (const it of pool.imap(same, queries)) {
      assertEquals(it, 1);
      break;
    }
    assert(asked < 20, `${asked} were asked`);
  });

  test(`${name}.map() leaves nothing of a call whose input closes the pool`, {
    timeout,
  }, async () => {
    const pool = new Pool(1);
    const input = {
      get [Symbol.asyncIterator]() {
        pool.close();
        return async function* () {
          yield 1;
        };
      },
    };
    const controller = new AbortController();
    const { signal } = controller;
    const call = pool.map(same, input, { timeout: 10, signal });
    assertEquals(await outcomes([call]), ["PoolClosedError"]);
    controller.abort(); // an error of a listener would be an uncaught one
    await pool.join();
  });

  test(`${name} results can be polled with timeout 0 in a loop`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const result = pool.applyAsync(double, [1]);
    while (!await result.wait({ timeout: 0 }));
    assertEquals(await result.get({ timeout: 0 }), 2);
    const event = new Event();
    setTimeout(() => event.set(), 1);
    while (!await event.wait({ timeout: 0 }));
  });

  test(`${name}.map() ends as it should when its input ends the pool`, {
    timeout,
  }, async () => {
    const inputs = (end: () => void) => [
      (function* () {
        yield 1;
        end();
        yield 2;
      })(),
      (function* () {
        yield Promise.resolve(1);
        end();
        yield 2;
      })(),
      {
        async *[Symbol.asyncIterator]() {
          yield 1;
          end();
          yield 2;
        },
      },
      {
        [Symbol.asyncIterator]() {
          end();
          return [1, 2].map((it) => Promise.resolve(it)).values();
        },
      } as unknown as AsyncIterable<number>,
    ];
    for (let i = 0; i < inputs(() => {}).length; i++) {
      const closed = new Pool(1);
      const all = closed.map(double, inputs(() => closed.close())[i]!);
      assertEquals(await all, [2, 4]);
      await closed.join();

      const ended = new Pool(1);
      const none = ended.map(double, inputs(() => ended.terminate())[i]!);
      assertEquals(await outcomes([none]), ["PoolClosedError"]);
      await ended.join();

      const pool = new Pool(1);
      const controller = new AbortController();
      const { signal } = controller;
      const input = inputs(() => controller.abort())[i]!;
      const aborted = pool.map(double, input, { signal });
      assertEquals(await outcomes([aborted]), ["AbortError"]);
      pool.close();
      await pool.join();
    }
  });

  test(`${name}.close() lets finish what was submitted`, {
    timeout,
  }, async () => {
    const pool = new Pool(2);
    const cells = sharedCells();
    const slow = (cells: Int32Array) =>
      new Promise<number>((resolve) =>
        setTimeout(() => resolve(Atomics.add(cells, 0, 1)), 20)
      );
    const one = pool.applyAsync(slow, [cells]);
    const many = pool.mapAsync(slow, [cells, cells, cells], { chunkSize: 1 });
    const late = pool.mapAsync(
      double,
      (async function* () {
        for (let i = 0; i < 3; i++) {
          await new Promise((resolve) => setTimeout(resolve, 30));
          yield i;
        }
      })(),
    );
    pool.close();
    pool.close();
    assertThrows(() => pool.applyAsync(double, [1]), PoolClosedError);
    assertThrows(() => pool.mapAsync(double, [1]), PoolClosedError);
    assertThrows(() => pool.starmapAsync(add, [[1, 2]]), PoolClosedError);
    assertThrows(() => pool.imap(double, [1]), PoolClosedError);
    assertThrows(() => pool.imapUnordered(double, [1]), PoolClosedError);
    await assertRejects(() => pool.apply(double, [1]), PoolClosedError);
    await assertRejects(() => pool.map(double, [1]), PoolClosedError);
    await assertRejects(() => pool.starmap(add, [[1, 2]]), PoolClosedError);
    await Promise.all([pool.join(), pool.join()]);
    assert(one.ready() && many.ready() && late.ready());
    assert(one.successful() && many.successful());
    assertEquals(await late, [0, 2, 4]);
    assertEquals(cells[0], 4);
    await pool.join();
    pool.terminate(); // has nothing to do
    await pool.join();
  });

  test(`${name}.terminate() rejects everything unfinished`, {
    timeout,
  }, async () => {
    const pool = new Pool(1);
    const cells = sharedCells();
    const begun = pool.apply((cells: Int32Array) => {
      Atomics.store(cells, 0, 1);
      return new Promise(() => {});
    }, [cells]);
    const stuck = async function* () {
      yield 1;
      await new Promise(() => {});
    };
    const calls = [
      begun,
      pool.apply(double, [1]),
      pool.map(double, [1, 2]),
      pool.map(double, stuck()),
      pool.imap(double, [1]).next(),
      pool.imapUnordered(double, stuck()).next(),
    ];
    const all = outcomes(calls);
    await reached(cells, 0, 1);
    pool.terminate();
    pool.terminate();
    pool.close();
    assertEquals(await all, calls.map(() => "PoolClosedError"));
    assertThrows(() => pool.applyAsync(double, [1]), PoolClosedError);
    await pool.join();
    await pool.join();
    assertEquals(pool.stats().busy, Pool === ThreadPool ? 1 : 0);
  });

  test(`${name}.join() rejects while the pool is open`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const error = await assertRejects(() => pool.join(), Error, "it is open");
    assertFalse((error as unknown) instanceof PoolClosedError);
    assertEquals(await pool.apply(double, [1]), 2);
  });

  test(`${name} is terminated by await using`, { timeout }, async () => {
    let endless;
    {
      await using pool = new Pool(1);
      endless = pool.apply(() => new Promise(() => {}));
      endless.catch(() => {});
      assertEquals(await new Pool(1)[Symbol.asyncDispose](), undefined);
    }
    await assertRejects(() => endless, PoolClosedError);
  });

  test(`${name} closed at once or never used is joined`, {
    timeout,
  }, async () => {
    for (let i = 0; i < 3; i++) {
      const closed = new Pool(2);
      closed.close();
      const terminated = new Pool(2);
      terminated.terminate();
      const busy = new Pool(1);
      const result = busy.applyAsync(double, [21]);
      busy.close();
      await Promise.all([closed.join(), terminated.join(), busy.join()]);
      assert(result.ready());
      assertEquals(await result, 42);
    }
  });

  test(`${name} is made with as many processes as processors`, {
    timeout,
  }, async () => {
    await using pool = new Pool();
    assertEquals(pool.processes, navigator.hardwareConcurrency);
    assertEquals(pool.stats().processes, navigator.hardwareConcurrency);
  });
}

test("ThreadPool takes closures and passes by reference", {
  timeout,
}, async () => {
  await using pool = new ThreadPool(2);
  const object = { calls: 0 };
  const returned = await pool.apply((it: typeof object) => {
    object.calls++;
    return it;
  }, [object]);
  assertStrictEquals(returned, object);
  assertEquals(object.calls, 1);
  const bound = function (this: { n: number }) {
    return this.n;
  }.bind({ n: 7 });
  assertEquals(await pool.apply(bound), 7);
  assertEquals(await pool.map(Math.abs, [-1, 2]), [1, 2]);
});

test("ProcessPool runs calls at the same time, each in a worker", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(3);
  const cells = sharedCells();
  // Each blocks its thread until all three have come.
  const meet = (cells: Int32Array) => {
    const before = Atomics.add(cells, 0, 1);
    Atomics.notify(cells, 0);
    for (let n; (n = Atomics.load(cells, 0)) < 3;) Atomics.wait(cells, 0, n);
    return [before, self.name] as const;
  };
  const met = await pool.map(meet, [cells, cells, cells], { chunkSize: 1 });
  assertEquals(met.map(([n]) => n).sort(), [0, 1, 2]);
  assertEquals(new Set(met.map(([, name]) => name)).size, 3);
});

test("ProcessPool names its workers", { timeout }, async () => {
  await using named = new ProcessPool(1, { name: "kitchen" });
  assertEquals(await named.apply(() => self.name), "kitchen-1");
  await using unnamed = new ProcessPool(1);
  assert(/^ProcessPool-\d+-1$/.test(await unnamed.apply(() => self.name)));
});

test("A chunk of an async function ends soon after its last item", {
  timeout,
}, async () => {
  await using pool = new ThreadPool(1);
  let microtasks = 0;
  let over = false;
  const count = () => {
    if (over) return;
    microtasks++;
    queueMicrotask(count);
  };
  const last = 999;
  const f = async (n: number) => {
    if (n === last) queueMicrotask(count);
    return await n;
  };
  const items = Array.from({ length: last + 1 }, (_, i) => i);
  assertEquals(await pool.map(f, items, { chunkSize: items.length }), items);
  over = true;
  assert(microtasks > 0 && microtasks < 100, `took ${microtasks} microtasks`);
});

test("Buffers move with transfer and transferResult, and are copied without", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const wrap = (bytes: Uint8Array, way: string) => {
    (globalThis as Any).kept = bytes;
    switch (way) {
      case "alone":
        return bytes;
      case "in an object":
        return { list: [bytes.buffer] };
      default:
        return new Map([[way, new DataView(bytes.buffer)]]);
    }
  };
  const left = () => (globalThis as Any).kept.byteLength as number;
  for (const way of ["alone", "in an object", "in a map"]) {
    const bytes = new Uint8Array(1000).fill(7);
    const copy = await pool.apply(wrap, [bytes, way]);
    assertEquals([bytes.byteLength, await pool.apply(left)], [1000, 1000]);
    const moved = await pool.apply(wrap, [bytes, way], {
      transfer: [bytes.buffer],
      transferResult: true,
    });
    assertEquals([bytes.byteLength, await pool.apply(left)], [0, 0]);
    assertEquals(moved, copy);
  }
  const make = (n: number) => (globalThis as Any).kept = new Uint8Array(n);
  const options = { transferResult: true };
  assertEquals(await pool.map(make, [9], options), [new Uint8Array(9)]);
  assertEquals(await pool.apply(left), 0);
  for await (const bytes of pool.imap(make, [9], options)) {
    assertEquals(bytes, new Uint8Array(9));
  }
  assertEquals(await pool.apply(left), 0);
});
