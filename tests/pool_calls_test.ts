// How calls get to workers, and what they may carry.

import { AsyncLocalStorage } from "node:async_hooks";
import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Barrier, Event, ProcessPool, task, ThreadPool } from "../mod.ts";
import { realm } from "../_internal/realm.ts";
import {
  outcomes,
  POOLS,
  reached,
  sharedCells,
  started,
  stuckCall,
  until,
} from "./_pools.ts";
import {
  knowsClasses,
  makeEvent,
  markedLate,
  useInside,
} from "./testdata/pool_tasks.ts";

const timeout = 30_000;
const poolTasks = new URL("./testdata/pool_tasks.ts", import.meta.url);

// deno-lint-ignore no-explicit-any
type Any = any;

const double = (n: number) => n * 2;

test(
  "ProcessPool refuses functions that cannot be sent, at once where it can",
  {
    timeout,
  },
  async () => {
    await using pool = new ProcessPool(1);
    const bound = (() => {}).bind(null);
    for (
      const submit of [
        () => pool.applyAsync(bound),
        () => pool.mapAsync(bound, []),
        () => pool.starmapAsync(bound, []),
        () => pool.imap(bound, []),
        () => pool.imapUnordered(bound, []),
      ]
    ) assertThrows(submit, TypeError, "bound");
    for (
      const submit of [
        () => pool.apply(bound),
        () => pool.map(bound, []),
        () => pool.starmap(bound, []),
      ]
    ) await assertRejects(submit, TypeError, "bound");
    assertEquals(await pool.apply(() => 1), 1);
  },
);

test("A call that cannot be sent fails alone, however busy its worker is", {
  timeout,
}, async () => {
  for (const processes of [1, 2]) {
    await using pool = new ProcessPool(processes);
    // Now a worker is known to be awake, and the function to be quick.
    for (let i = 0; i < 200; i++) await pool.apply(double, [i]);
    const list = (get: () => number) =>
      Object.defineProperty([0], 0, { get }) as [number];
    const many = () =>
      Array.from({ length: 50 }, (_, i) => pool.apply(double, [i]));
    const calls = many();
    const bad = [
      pool.apply(parseInt, ["1"]),
      pool.apply(
        double,
        list(() => {
          throw new RangeError("from a getter");
        }),
      ),
    ];
    const inner: Promise<number>[] = [];
    calls.push(pool.apply(
      double,
      list(() => {
        inner.push(pool.apply(double, [50]));
        return 50;
      }),
    ));
    calls.push(...many());
    assertEquals(await outcomes(bad), ["TypeError", "RangeError"]);
    const doubled = Array.from({ length: 51 }, (_, i) => 2 * i);
    assertEquals(await Promise.all(calls), [
      ...doubled,
      ...doubled.slice(0, -1),
    ]);
    assert(inner.length > 0);
    for (const it of inner) assertEquals(await it, 100);
    assertEquals(pool.stats().queued, 0);
  }
});

test("A pool may end while a call is sent", { timeout }, async () => {
  const pool = new ProcessPool(2);
  for (let i = 0; i < 200; i++) await pool.apply(double, [i]);
  const before = pool.apply(double, [1]);
  const args = Object.defineProperty([0], 0, {
    get() {
      pool.terminate();
      return 2;
    },
  }) as [number];
  const closed = "PoolClosedError";
  const [first, second] = await outcomes([before, pool.apply(double, args)]);
  assert(first === 2 || first === closed);
  assertEquals(second, closed);
  await pool.join();
});

test("ProcessPool carries blobs and files", { timeout }, async () => {
  await using pool = new ProcessPool(1);
  const join = async (blob: Blob, { file }: { file: File }) =>
    new Blob([await blob.text(), await file.text(), file.name]);
  const blob = await pool.apply(join, [
    new Blob(["a"]),
    { file: new File(["b"], "c") },
  ]);
  assertEquals(await blob.text(), "abc");
});

test("ProcessPool takes back a call that had not begun", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1, {
    initializer: () => new Promise((resolve) => setTimeout(resolve, 100)),
  });
  const cells = sharedCells(2);
  const count = (cells: Int32Array, at: number, _?: unknown) =>
    Atomics.add(cells, at, 1);
  const buffer = new ArrayBuffer(8);
  const dropped = [
    pool.apply(count, [cells, 0], { timeout: 20 }),
    pool.apply(count, [cells, 0, new Date()], { timeout: 20 }),
    pool.apply(count, [cells, 0, buffer], { timeout: 20, transfer: [buffer] }),
  ];
  const kept = [
    pool.apply(count, [cells, 1]),
    pool.apply(count, [cells, 1, new Date()]),
  ];
  assertEquals(await outcomes(dropped), dropped.map(() => "TimeoutError"));
  assertEquals(await outcomes(kept), [0, 1]);
  await reached(cells, 1, 2);
  assertEquals([...cells], [0, 2]);
});

test("ProcessPool counts a call once that a getter gives up", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const controller = new AbortController();
  const item = {
    get n(): number {
      controller.abort(new Error("by a getter"));
      throw new Error("and it throws");
    },
  };
  const { signal } = controller;
  const mapping = pool.map((it) => it, [item], { chunkSize: 1, signal });
  await assertRejects(() => mapping, Error, "by a getter");
  assertEquals(await pool.apply(double, [1]), 2);
  const { completed, failed } = pool.stats();
  assertEquals([completed, failed], [1, 1]);
});

test("ProcessPool drops a stream that ends while its items are sent", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const controller = new AbortController();
  const items = [{ n: 0 }, { n: 1 }, {
    get n() {
      controller.abort(new Error("by a getter"));
      return 1;
    },
  }];
  const hang = ({ n }: { n: number }) => n || new Promise<number>(() => {});
  const stream = pool.imap(hang, items, { signal: controller.signal });
  await assertRejects(() => stream.next(), Error, "by a getter");
  await until(() => pool.stats().busy === 0);
  assertEquals(pool.stats().queued, 0);
  assertEquals(await pool.apply(double, [1]), 2);
});

test(
  "ProcessPool counts each call once in its stats",
  { timeout },
  async () => {
    await using pool = new ProcessPool(2);
    const controller = new AbortController();
    const hang = (n: number) => n < 6 ? n : new Promise<number>(() => {});
    await pool.map(hang, [0, 1, 2, 3, 4, 5, 6, 7], {
      chunkSize: 1,
      signal: controller.signal,
      onProgress: () => controller.abort("enough"),
    }).catch(() => {});
    const { completed, failed } = pool.stats();
    assertEquals(completed + failed, 8);
  },
);

test("ProcessPool runs calls although an answer waits for a module", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  // Its answer names a task of a module that takes its time to load here.
  const slow = `data:text/javascript,
    await new Promise((resolve) => setTimeout(resolve, 400));
    export const one = () => 1;`;
  const give = task(poolTasks, "taskOf") as (url: string) => Promise<() => 1>;
  const answer = pool.apply(give, [slow]);
  await until(() => pool.stats().busy === 0 && pool.stats().queued === 0);
  assertEquals(await pool.map(double, [1, 2, 3, 4], { chunkSize: 1 }), [
    2,
    4,
    6,
    8,
  ]);
  assertEquals(typeof await answer, "function");
  const last = pool.apply(give, [slow + "//"]);
  await until(() => pool.stats().busy === 0 && pool.stats().queued === 0);
  pool.terminate();
  assertEquals(await outcomes([last]), ["PoolClosedError"]);
});

test("ProcessPool.join() waits for no answer that was given up", {
  timeout,
}, async () => {
  const pool = new ProcessPool(1);
  const never = `data:text/javascript,
    await new Promise(() => {});
    export const one = () => 1;`;
  const give = task(poolTasks, "taskOf") as (url: string) => Promise<() => 1>;
  const controller = new AbortController();
  const answer = pool.apply(give, [never], { signal: controller.signal });
  // Once it is here, it waits for the module.
  await until(() => pool.stats().busy === 0 && pool.stats().queued === 0);
  await pool.apply(double, [1]);
  controller.abort();
  assertEquals(await outcomes([answer]), ["AbortError"]);
  pool.close();
  await pool.join();
});

test("ProcessPool gives tasks what is of the classes that they know", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const [event, barrier] = [new Event(), new Barrier(2)];
  barrier.abort();
  const knows = [true, true, true];
  // Also in the first call, when the module has yet to be loaded.
  assertEquals(await pool.apply(knowsClasses, [event, barrier]), knows);
  assertEquals(await pool.apply(knowsClasses, [event, barrier]), knows);
});

test("ProcessPool takes no new event for a barrier that could not be made", {
  timeout,
}, async () => {
  class Maker {
    #made = 0;
    make() {
      return new Barrier(1, { action: () => void this.#made++ });
    }
  }
  await using pool = new ProcessPool(1);
  const barrier = new Maker().make();
  const take = (_: Barrier) => {};
  await assertRejects(() => pool.apply(take, [barrier]), SyntaxError);
  const event = await pool.apply(makeEvent);
  assert(event instanceof Event);
});

test("ProcessPool takes a task that it was sent, and sends it on", {
  timeout,
}, async () => {
  const url = `data:text/javascript,
    const base = 10;
    export const addBase = (n) => base + n;`;
  type Add = (n: number) => number;
  const add = task<Add>(url, "addBase");
  assertStrictEquals(task<Add>(url, "addBase"), add);
  await using pool = new ProcessPool(1);
  assertStrictEquals(await pool.apply((add: Add) => add, [add]), add);
  assertEquals(await pool.apply(useInside, [add, 5]), [15, 15]);
});

test("ProcessPool begins no chunk of a map after one that failed", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const fail = (n: number) => {
    const scope = globalThis as Any;
    scope.begun = (scope.begun ?? 0) + 1;
    if (n === 0) throw new Error("the first");
    return n;
  };
  const begun = () => (globalThis as Any).begun;
  const items = Array.from({ length: 1000 }, (_, n) => n);
  for (const chunkSize of [1, 7]) {
    const before = await pool.apply(begun) ?? 0;
    await assertRejects(() => pool.map(fail, items, { chunkSize }), Error);
    assertEquals(await pool.apply(begun), before + 1);
  }
});

test("ProcessPool begins no chunk of a map while results wait for a module", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const module = "data:text/javascript,export const one = () => 1;";
  const give = task(poolTasks, "taskOf") as (url: string) => Promise<() => 1>;
  const urls = [module, "no URL", ...Array(20).fill(module)];
  await assertRejects(() => pool.map(give, urls, { chunkSize: 2 }), Error);
  await until(() => pool.stats().busy === 0);
  const { completed, failed, queued } = pool.stats();
  assertEquals([completed, failed, queued], [0, 1, 0]);
});

test("ProcessPool begins no chunk that had to wait for its module", {
  timeout,
}, async () => {
  const gate = new Event();
  await using pool = new ProcessPool(2, {
    initializer: (gate: Event) => void ((globalThis as Any).gate = gate),
    initargs: [gate],
  });
  await started(pool);
  // In the second worker it is loaded after the first chunk has failed.
  const gated = new URL("./testdata/gated.ts", import.meta.url);
  const fail = task(gated, "fail") as typeof import("./testdata/gated.ts").fail;
  const [cells, go] = [sharedCells(2), new Event()];
  const items = [0, 1].map((): [Int32Array, Event] => [cells, go]);
  const mapping = outcomes([pool.starmap(fail, items, { chunkSize: 1 })]);
  await until(() => pool.stats().busy === 2 && Atomics.load(cells, 0) === 1);
  go.set();
  assertEquals(await mapping, ["Error"]);
  gate.set();
  await until(() => pool.stats().busy + pool.stats().queued === 0);
  assertEquals([...cells], [1, 0]);
});

test("ProcessPool takes the list of what is transferred as it is at the call", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const buffer = new ArrayBuffer(8);
  const transfer = [buffer];
  const size = (buffer: ArrayBuffer) => buffer.byteLength;
  const calls = [
    pool.apply(double, [1]),
    pool.apply(size, [buffer], { transfer }),
  ];
  transfer.length = 0;
  assertEquals(await Promise.all(calls), [2, 8]);
  assertEquals(buffer.byteLength, 0);
});

test("ProcessPool transfers streams where the platform can", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const stream = () =>
    new ReadableStream<number>({
      start(controller) {
        controller.enqueue(7);
        controller.close();
      },
    });
  const read = async ({ stream }: { stream: ReadableStream<number> }) =>
    (await stream.getReader().read()).value;
  let canTransfer = true;
  try {
    const probe = stream();
    structuredClone(probe, { transfer: [probe] });
  } catch {
    canTransfer = false;
  }
  const sent = stream();
  const call = pool.apply(read, [{ stream: sent }], { transfer: [sent] });
  if (canTransfer) assertEquals(await call, 7);
  else assertEquals(await outcomes([call]), ["DataCloneError"]);
  assertEquals(
    await outcomes([pool.apply(read, [{ stream: stream() }])]),
    ["DataCloneError"],
  );
});

test("ProcessPool names the argument whose buffer was transferred before", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const size = (_: string, view: Uint8Array) => view.length;
  const view = new Uint8Array(8);
  const call = () => pool.apply(size, ["", view], { transfer: [view.buffer] });
  assertEquals(await call(), 8);
  const error = await assertRejects(call, DOMException);
  assertEquals(error.name, "DataCloneError");
  assertStringIncludes(
    error.message,
    'Cannot send args[1] of function "size": ',
  );
});

test("ProcessPool ends although calls could not be sent", {
  timeout,
}, async () => {
  const pool = new ProcessPool(2, { maxTasksPerChild: 50 });
  const size = (map: Map<number, number>) => map.size;
  const map = new Map([[1, 2]]);
  const buffer = new ArrayBuffer(8);
  const unsendable = () =>
    pool.apply(size, [map], { transfer: [buffer, buffer] }); // one buffer twice
  for (let i = 0; i < 20; i++) {
    const calls = Array.from(
      { length: 30 },
      (_, i) => i % 3 === 0 ? unsendable() : pool.apply(size, [map]),
    );
    assertEquals(
      await outcomes(calls),
      calls.map((_, i) => i % 3 === 0 ? "DataCloneError" : 1),
    );
  }
  const { completed, failed, queued } = pool.stats();
  assertEquals([completed, failed, queued], [400, 200, 0]);
  const last = outcomes([unsendable(), pool.apply(size, [map])]);
  pool.close();
  await pool.join();
  assertEquals(await last, ["DataCloneError", 1]);
});

test("ProcessPool knows as many functions as it is given", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const make = (i: number): () => number => (0, eval)(`() => ${i}`);
  const functions = Array.from({ length: 1200 }, (_, i) => make(i));
  for (let round = 0; round < 2; round++) {
    const results = await Promise.all(functions.map((fn) => pool.apply(fn)));
    assertEquals(results, functions.map((_, i) => i));
  }
});

test(
  "Functions of any length get to every worker, and to those that come later",
  {
    timeout,
  },
  async () => {
    await using pool = new ProcessPool(2, { maxTasksPerChild: 3 });
    const lengths = [10, 30_000, 300_000, 40_000, 20];
    const functions = lengths.map((length) =>
      new Function(`return "${"x".repeat(length)}".length`) as () => number
    );
    for (let round = 0; round < 3; round++) {
      assertEquals(
        await Promise.all(functions.map((fn) => pool.apply(fn))),
        lengths,
      );
    }
  },
);

test(
  "ProcessPool sends a function as a task that was marked after its first use",
  {
    timeout,
  },
  async () => {
    await using pool = new ProcessPool(1);
    const module = new URL("./testdata/pool_tasks.ts", import.meta.url);
    await assertRejects(() => pool.apply(markedLate), ReferenceError, "task()");
    task(module, markedLate);
    assertEquals(await pool.apply(markedLate), 42);
  },
);

test(
  "Event and Barrier have their names in a worker",
  { timeout },
  async () => {
    await using pool = new ProcessPool(1);
    const nameOf = (it: Event | Barrier) => it.constructor.name;
    const names = [
      await pool.apply(nameOf, [new Event()]),
      await pool.apply(nameOf, [new Barrier(1)]),
    ];
    assertEquals(names, ["Event", "Barrier"]);
  },
);

test("ProcessPool posts a payload once, whoever waits and gives up", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const { stuck, controller } = await stuckCall(pool);
  let reads = 0;
  const map = new Map([[1, 2]]);
  const values = {
    get map() {
      reads++;
      return map;
    },
  };
  const sizes = [1, 2, 3].map(() =>
    pool.apply(({ map }: { map: Map<number, number> }) => map.size, [values])
  );
  const atFirst = reads;
  for (let i = 0; i < 20; i++) {
    const controller = new AbortController();
    const { signal } = controller;
    const given = pool.apply(double, [1], { signal });
    controller.abort();
    assertEquals(await outcomes([given]), ["AbortError"]);
  }
  assertEquals(reads, atFirst);
  controller.abort();
  assertEquals(await outcomes([stuck]), ["AbortError"]);
  assertEquals(await Promise.all(sizes), [1, 1, 1]);
});

test("A pool that ends while a worker is chosen keeps nothing of its thread", {
  timeout,
}, async () => {
  const before = realm.whileBlocking.size;
  await using pool = new ProcessPool(2);
  for (let i = 0; i < 300; i++) await pool.apply(double, [1]); // that is quick
  const calls = Array.from({ length: 50 }, () => pool.apply(double, [1]));
  const args = Object.defineProperty([1], 0, {
    enumerable: true,
    get() {
      pool.terminate();
      return 1;
    },
  });
  calls.push(pool.apply(double, args as [number]));
  assertEquals((await outcomes(calls)).at(-1), "PoolClosedError");
  assertEquals(realm.whileBlocking.size, before);
});

for (const Pool of POOLS) {
  test(`${Pool.name} rejects a call whose options close the pool`, {
    timeout,
  }, async () => {
    const methods: ((pool: Any, options: object) => Promise<unknown>)[] = [
      (pool, options) => pool.apply(double, [1], options),
      (pool, options) => pool.map(double, [1], options),
      (pool, options) => pool.imap(double, [1], options).next(),
    ];
    for (const method of methods) {
      const pool = new Pool(1);
      const call = method(pool, {
        get timeout() {
          pool.close();
          return undefined;
        },
      });
      assertEquals(await outcomes([call]), ["PoolClosedError"], `${method}`);
      await pool.join();
    }
  });

  test(`${Pool.name}.starmap() begins no list whose reading has ended it`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const cells = sharedCells();
    const controller = new AbortController();
    const list: Iterable<[Int32Array]> = {
      *[Symbol.iterator](): Generator<Any> {
        controller.abort();
        yield cells;
      },
    };
    const count = (cells: Int32Array) => void Atomics.add(cells, 0, 1);
    const { signal } = controller;
    const call = pool.starmap(count, [list as Any], { signal });
    assertEquals(await outcomes([call]), ["AbortError"]);
    assertEquals(await pool.apply(double, [1]), 2); // after all that was sent
    assertEquals(cells[0], 0);
  });
}

test("ThreadPool runs a call in the context of who has made it", {
  timeout,
}, async () => {
  const storage = new AsyncLocalStorage<string>();
  await using pool = new ThreadPool(1); // each waits for the one before it
  const names = ["one", "two", "three"];
  const seen = names.map((name) =>
    storage.run(name, () =>
      pool.apply(async () => {
        const before = storage.getStore();
        await new Promise(setImmediate);
        return [before, storage.getStore()];
      }))
  );
  assertEquals(await Promise.all(seen), names.map((name) => [name, name]));
});

for (const Pool of POOLS) {
  test(`${Pool.name} tells of progress in the context of who has asked`, {
    timeout,
  }, async () => {
    const storage = new AsyncLocalStorage<string>();
    await using pool = new Pool(1);
    const seen: Record<string, Set<string | undefined>> = {};
    const mapped = ["map", "map", "imap", "imap"].map((method, i) => {
      const name = `${method} ${i}`;
      const all = seen[name] = new Set();
      const options = {
        chunkSize: 1,
        onProgress: () => void all.add(storage.getStore()),
      };
      const later = async (n: number) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        return n;
      };
      return storage.run(name, async () => {
        if (method === "map") return await pool.map(later, [1, 2], options);
        const results: number[] = [];
        for await (const n of pool.imap(later, [1, 2], options)) {
          results.push(n);
        }
        return results;
      });
    });
    assertEquals(await Promise.all(mapped), mapped.map(() => [1, 2]));
    for (const [name, all] of Object.entries(seen)) {
      assertEquals([...all], [name]);
    }
  });
}
