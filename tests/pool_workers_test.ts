// Workers that die, are replaced, and run an initializer.

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
  Barrier,
  Event,
  Process,
  ProcessPool,
  task,
  ThreadPool,
  WorkerExitError,
} from "../mod.ts";
import { travel } from "../_internal/dispatcher.ts";
import { LaneCell } from "../_internal/protocol.ts";
import { cores, mayBlock } from "../_internal/runtime/which.ts";
import { runProgram } from "./_program.ts";
import {
  abandonsBusyThreads,
  drained,
  exposedPool,
  outcomes,
  POOLS,
  reached,
  sharedCells,
  started,
  until,
  watchSharedMemory,
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

/** Ways for a call to end its worker, and the exit codes. */
const deaths: [string, () => unknown, number][] = [
  ["process.exit(7)", () => (globalThis as Any).process.exit(7), 7],
  ["process.exit()", () => (globalThis as Any).process.exit(), 0],
  ["self.close()", () => {
    self.close();
    return new Promise(() => {});
  }, 0],
  ["an uncaught error", () => {
    setTimeout(() => {
      throw new Error("a bug of the test");
    });
    return new Promise(() => {});
  }, 1],
  ["an unhandled rejection", () => {
    Promise.reject(new Error("a bug of the test"));
    return new Promise(() => {});
  }, 1],
];
if (abandonsBusyThreads) {
  deaths.push(["Deno.exit(9)", () => (globalThis as Any).Deno.exit(9), 9]);
}

for (const [how, die, code] of deaths) {
  test(`ProcessPool replaces a worker that ends by ${how}`, {
    timeout,
  }, async () => {
    await using pool = new ProcessPool(1);
    const error = await assertRejects(
      () => pool.apply(die),
      WorkerExitError,
      `exit code ${code}`,
    );
    assertEquals(error.exitCode, code);
    assertEquals(error.name, "WorkerExitError");
    assertEquals(await pool.apply(double, [1]), 2);

    // What waits for it moves on, whatever lane it takes.
    const date = new Date(0);
    const calls = [
      pool.apply(die),
      pool.apply(double, [1]),
      pool.apply((it: Date) => it, [date]),
      pool.map(double, [1, 2, 3], { chunkSize: 1 }),
      pool.map(die, [1]),
      pool.apply(double, [2]),
    ];
    const died = "WorkerExitError";
    assertEquals(await outcomes(calls), [died, 2, date, [2, 4, 6], died, 4]);
    const { respawned, failed, busy, queued, abandoned } = pool.stats();
    assertEquals([respawned, failed, busy, queued, abandoned], [3, 3, 0, 0, 0]);
  });
}

test("ProcessPool survives a stack overflow", { timeout }, async () => {
  await using pool = new ProcessPool(1);
  const overflow = (n: number): number => {
    const deeper = (n: number): number => 1 + deeper(n + 1);
    return deeper(n);
  };
  const error = await pool.apply(overflow, [0]).catch((it) => it);
  assert(error instanceof RangeError, String(error));
  assertEquals(await pool.apply(double, [1]), 2);
});

test("ProcessPool loses an imap item with its worker, and no other", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const dieAt3 = (n: number) => {
    if (n === 3) (globalThis as Any).process.exit(5);
    return n;
  };
  const { values, error } = await drained(pool.imap(dieAt3, [1, 2, 3, 4]));
  assertEquals(values, [1, 2]);
  assertEquals((error as WorkerExitError).exitCode, 5);
  const failed = await pool.map(dieAt3, [1, 2, 3, 4]).catch((it) => it);
  assert(failed instanceof WorkerExitError);
  assertEquals(await pool.map(double, [1, 2, 3]), [2, 4, 6]);
});

test("ProcessPool replaces a worker that dies while it is idle", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  await pool.apply(() => void setTimeout(() => self.close(), 20));
  await until(() => pool.stats().respawned === 1);
  assertEquals(await pool.apply(double, [1]), 2);
  assertEquals(pool.stats().failed, 0);
});

/** Works until a time or till all is over. */
const workUntil = (end: number): void => {
  const over: Int32Array = (globalThis as Any).over;
  while (Date.now() < end && Atomics.load(over, 0) === 0);
};

/** A pool that knows `workUntil` for a quick function. */
async function poolOfQuickCalls(
  processes: number,
  over = sharedCells(),
): Promise<ProcessPool> {
  const pool = new ProcessPool(processes, {
    initializer: (over: Int32Array) => void ((globalThis as Any).over = over),
    initargs: [over],
  });
  for (let i = 0; i < 20; i++) {
    await Promise.all(Array.from(
      { length: 100 },
      () => pool.apply(workUntil, [0]),
    ));
  }
  return pool;
}

test("ProcessPool lets quick calls pass one that is not, for once", {
  timeout,
}, async () => {
  const over = sharedCells();
  await using pool = await poolOfQuickCalls(2, over);
  for (const pause of [0, 0, 20]) {
    let isOver = false;
    const slow = pool.apply(workUntil, [Date.now() + 10_000]);
    void slow.then(() => isOver = true);
    if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    await Promise.all(Array.from(
      { length: 200 },
      () => pool.apply(workUntil, [0]),
    ));
    assert(!isOver, "they waited for the slow call");
    Atomics.store(over, 0, 1);
    await slow;
    Atomics.store(over, 0, 0);
  }
});

test(
  "ProcessPool lets quick calls pass although every core is at one that is not",
  {
    timeout,
  },
  async () => {
    const over = sharedCells();
    await using pool = await poolOfQuickCalls(cores + 1, over);
    /** Works for so many microseconds, or till all is over. */
    const work = (time: number): void => {
      const over: Int32Array = (globalThis as Any).over;
      const end = performance.now() + time / 1000;
      while (performance.now() < end && Atomics.load(over, 0) === 0);
    };
    const quick = (count: number) =>
      Array.from({ length: count }, () => pool.apply(work, [20]));
    for (let i = 0; i < 10; i++) await Promise.all(quick(500 * cores));
    for (let i = 0; i < 5; i++) {
      const some = quick(300 * cores);
      let isOver = false;
      const slow = Array.from(
        { length: cores },
        () => pool.apply(work, [10_000_000]).then(() => isOver = true),
      );
      await Promise.all([...some, ...quick(1000 * cores)]);
      assert(!isOver, "they waited for the slow calls");
      Atomics.store(over, 0, 1);
      await Promise.all(slow);
      Atomics.store(over, 0, 0);
    }
  },
);

test("A worker that waits for room for an answer knows what calls take", {
  timeout,
}, async () => {
  const { sizes } = travel;
  travel.sizes = { ...sizes, calls: 1 << 12, answers: 256 };
  try {
    const { pool, cells } = exposedPool();
    const isKnown = () => Atomics.load(cells, LaneCell.Paces) !== 0;
    const twice = (n: number) => 2 * n;
    const some = (n: number) =>
      Array.from({ length: n }, () => pool.apply(twice, [1]));
    // A call may take long for once, when the machine does something else.
    for (let known = false, i = 0; !known; i++) {
      assert(i < 100, "what calls take is forgotten");
      while (!isKnown()) await Promise.all(some(100));
      const calls = some(50);
      const end = performance.now() + 10_000;
      while (Atomics.load(cells, LaneCell.WorkerBlocked) === 0) {
        assert(performance.now() < end, "there was room for all answers");
      }
      const later = performance.now() + 2; // it has said so before it sleeps
      while (performance.now() < later);
      known = isKnown();
      assertEquals(await Promise.all(calls), Array(50).fill(2));
    }
    pool.terminate();
    await pool.join();
  } finally {
    travel.sizes = sizes;
  }
});

test("ProcessPool runs calls in parallel that have been quick till then", {
  timeout,
}, async () => {
  const over = sharedCells();
  await using pool = await poolOfQuickCalls(3, over);
  const end = Date.now() + 20_000;
  const work = pool.map(workUntil, [end, end, end], { chunkSize: 1 });
  await until(() => pool.stats().busy === 3);
  Atomics.store(over, 0, 1);
  await work;
});

test("ProcessPool loses what was transferred with its worker", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const cells = sharedCells();
  const first = pool.apply(() => (globalThis as Any).process.exit(3));
  const buffer = new ArrayBuffer(8);
  const second = pool.apply(
    (buffer: ArrayBuffer, cells: Int32Array) => {
      Atomics.add(cells, 0, 1);
      return buffer.byteLength;
    },
    [buffer, cells],
    { transfer: [buffer] },
  );
  const [died, other] = await outcomes([first, second]);
  assertEquals(died, "WorkerExitError");
  // It went down with the worker, or waited for the next one.
  if (other === "WorkerExitError") assertEquals(cells[0], 0);
  else assertEquals([other, cells[0]], [8, 1]);
  assertEquals(await pool.apply(double, [1]), 2);
});

test("ProcessPool replaces a worker after maxTasksPerChild tasks", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1, { maxTasksPerChild: 2 });
  const who = () => self.name;
  const names = [];
  for (let i = 0; i < 6; i++) names.push(await pool.apply(who));
  for (const i of [0, 2, 4]) assertEquals(names[i], names[i + 1]);
  assertEquals(new Set(names).size, 3);
  // A chunk is a task.
  const many = await pool.map(who, Array(12).fill(0), { chunkSize: 3 });
  assertEquals(new Set(many).size, 2);
  const all = await Promise.all(
    Array.from({ length: 9 }, () => pool.apply(who)),
  );
  assertEquals(new Set(all).size, 5);
  const { completed, respawned, abandoned } = pool.stats();
  assertEquals([completed, respawned, abandoned], [19, 0, 0]);
});

test("ProcessPool runs its initializer once in each worker", {
  timeout,
}, async () => {
  const cells = sharedCells();
  await using pool = new ProcessPool(2, {
    initializer: async (cells: Int32Array, greeting: string) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      Atomics.add(cells, 0, 1);
      (globalThis as Any).greeting = greeting;
    },
    initargs: [cells, "hello"],
  });
  const greet = () => (globalThis as Any).greeting as string;
  const greetings = await pool.map(greet, Array(20).fill(0), { chunkSize: 1 });
  assertEquals(greetings, Array(20).fill("hello"));
  await until(() => cells[0] === 2);
  await outcomes([pool.apply(() => self.close())]);
  assertEquals(await pool.apply(greet), "hello");
  await until(() => cells[0] === 3);
  await pool.map(greet, Array(20).fill(0), { chunkSize: 1 });
  assertEquals(cells[0], 3);
});

test("ThreadPool runs its initializer once", { timeout }, async () => {
  const seen: unknown[] = [];
  await using pool = new ThreadPool(3, {
    initializer: async (...args: unknown[]) => {
      await Promise.resolve();
      seen.push(args);
    },
    initargs: [1, "two"],
  });
  await pool.map(() => seen.push("call"), [1, 2]);
  assertEquals(seen, [[1, "two"], "call", "call"]);
});

for (const Pool of POOLS) {
  const { name } = Pool;

  test(`${name} rejects all calls when its initializer throws`, {
    timeout,
  }, async () => {
    const initializer = (message: string) => {
      throw new EvalError(message);
    };
    const pool = new Pool(2, { initializer, initargs: ["no database"] });
    const early = Array.from({ length: 20 }, () => pool.apply(double, [1]));
    const calls = [...early, pool.map(double, [1, 2])];
    for (const result of await Promise.allSettled<unknown>(calls)) {
      const { reason } = result as PromiseRejectedResult;
      assertEquals([reason.name, reason.message], ["EvalError", "no database"]);
    }
    await assertRejects(() => pool.apply(double, [1]), EvalError);
    await assertRejects(() => pool.map(double, [1, 2]), EvalError);
    await assertRejects(() => pool.imap(double, [1, 2]).next(), EvalError);
    assertEquals(pool.stats().respawned, 0);
    pool.close();
    await pool.join();
  });

  test(`${name} fails any number of calls after its initializer`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1, {
      initializer: () => Promise.reject(new EvalError("no")),
    });
    const calls = Array.from({ length: 20_000 }, () => pool.apply(double, [1]));
    const names = new Set(await outcomes(calls));
    assertEquals([...names], ["EvalError"]);
  });

  test(`${name} refuses an initializer that is none`, { timeout }, () => {
    for (const initializer of [1, "f", {}, null]) {
      assertThrows(() => new Pool(1, { initializer } as Any), TypeError);
    }
    for (const initargs of [1, "f", {}, null]) {
      assertThrows(
        () => new Pool(1, { initializer: () => {}, initargs } as Any),
        TypeError,
        "initargs",
      );
    }
  });
}

test("ProcessPool rejects all calls when its initializer ends the worker", {
  timeout,
}, async () => {
  const cells = sharedCells();
  const initializer = (cells: Int32Array) => {
    Atomics.add(cells, 0, 1);
    (globalThis as Any).process.exit(4);
  };
  await using pool = new ProcessPool(2, { initializer, initargs: [cells] });
  const calls = [pool.apply(double, [1]), pool.map(double, [1, 2, 3])];
  for (const result of await Promise.allSettled(calls)) {
    const error = (result as PromiseRejectedResult).reason;
    assert(error instanceof WorkerExitError);
    assertEquals(error.exitCode, 4);
  }
  await assertRejects(() => pool.apply(double, [1]), WorkerExitError);
  assert(cells[0]! <= 2, `${cells[0]} workers`);
});

test("ProcessPool refuses what it cannot send to the initializer", {
  timeout,
}, () => {
  const initializer = (_: unknown) => {};
  const error = assertThrows(
    () => new ProcessPool(1, { initializer, initargs: [{ a: [() => {}] }] }),
    DOMException as Any,
    "initargs[0].a[0]",
  );
  assertEquals(error.name, "DataCloneError");
  const clash = assertThrows(
    () => new ProcessPool(1, { initializer, initargs: [new WeakMap()] }),
    DOMException as Any,
    "initargs[0]",
  );
  assertEquals(clash.name, "DataCloneError");
  const platform = assertThrows(
    () =>
      new ProcessPool(1, { initializer, initargs: [[new ReadableStream()]] }),
    DOMException as Any,
    'initargs[0][0] of function "initializer"',
  );
  assertEquals(platform.name, "DataCloneError");
  assertThrows(
    () => new ProcessPool(1, { initializer: initializer.bind(null) }),
    TypeError,
    "bound",
  );
});

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

test("A pool whose last worker cannot be started ends the others", {
  timeout,
}, () => {
  const { made, stop } = watchSharedMemory();
  const rings = () =>
    made.filter(({ byteLength }) => byteLength === travel.sizes.calls).length;
  const { SharedArrayBuffer: watched } = globalThis;
  globalThis.SharedArrayBuffer = new Proxy(watched, {
    construct(target, args) {
      // The definitions of functions are of the same size.
      if (args[0] === travel.sizes.calls && rings() === 3) {
        throw new RangeError("no more memory");
      }
      return new target(...args as [number]);
    },
  });
  try {
    assertThrows(() => new ProcessPool(3), RangeError, "no more memory");
    // By this word a thread learns that it is to end.
    const lives = made.filter(({ byteLength }) => byteLength === 4);
    const ended = lives.filter((life) => new Int32Array(life)[0] === 1);
    assertEquals(ended.length, 2);
  } finally {
    stop();
  }
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

test("ProcessPool lets no short call wait behind a long one", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  await pool.map(double, [1, 2], { chunkSize: 1 });
  const cells = sharedCells();
  const block = (cells: Int32Array) => {
    const until = Date.now() + 10_000;
    while (Atomics.load(cells, 0) === 0 && Date.now() < until);
  };
  const tiny = () =>
    Array.from({ length: 200 }, (_, i) => pool.apply(double, [i]));
  for (const before of [() => [], tiny]) {
    const times: number[] = [];
    do { // again if the machine was busy with something else
      const earlier = before();
      let longIsDone = false;
      Atomics.store(cells, 0, 0);
      const long = pool.apply(block, [cells]).then(() => longIsDone = true);
      const began = performance.now();
      await Promise.all([...earlier, ...tiny()]);
      times.push(performance.now() - began);
      assert(!longIsDone, "tiny calls waited for the long one");
      Atomics.store(cells, 0, 1);
      await long;
    } while (times.at(-1)! >= 100 && times.length < 10);
    assert(times.at(-1)! < 100, `${times} ms`);
  }
});

test("ProcessPool lets no call starve while no worker is idle", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const gate = new Event();
  const long = pool.apply((gate: Event) => gate.wait(), [gate]);
  const short = () => new Promise<void>((resolve) => setTimeout(resolve, 2));
  let done = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let i = 0; i < 100; i++) {
        const before = done;
        await pool.apply(short);
        most = Math.max(most, done++ - before);
      }
    }),
  );
  gate.set();
  assert(await long);
  assert(most < 100, `${most} calls came before one that was older`);
});

test("ProcessPool begins calls in about the order of their submission", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const gate = new Event();
  const begun = sharedCells();
  const begin = async (n: number, gate: Event, begun: Int32Array) => {
    const place = Atomics.add(begun, 0, 1);
    if (n === 0) await gate.wait();
    else await new Promise((resolve) => setTimeout(resolve, 1));
    return place;
  };
  const calls = Array.from(
    { length: 2000 },
    (_, n) => pool.apply(begin, [n, gate, begun]),
  );
  const places = await Promise.all(calls.slice(1));
  gate.set();
  await calls[0];
  const late = places.map((place, i) => Math.abs(place - (i + 1)));
  const most = Math.max(...late);
  assert(most < 500, `a call had ${most} places too many before or after it`);
});

test("ProcessPool lets a worker's own timers and messages have their turn", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  await pool.apply(() => {
    (globalThis as Any).ticks = 0;
    setInterval(() => (globalThis as Any).ticks++, 1);
  });
  const spin = () => {
    const until = performance.now() + 0.2;
    while (performance.now() < until);
  };
  await Promise.all(Array.from({ length: 500 }, () => pool.apply(spin)));
  const ticks = await pool.apply(() => (globalThis as Any).ticks as number);
  assert(ticks > 10, `${ticks} ticks`);
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

test("ProcessPool runs no call of a map that was given up", {
  timeout: 60_000,
}, async () => {
  const over = sharedCells();
  const pool = await poolOfQuickCalls(4, over);
  const endless = Array(120).fill(Infinity);
  for (let round = 0; round < 3; round++) {
    const controller = new AbortController();
    const { signal } = controller;
    const mapping = pool.map(workUntil, endless, { chunkSize: 1, signal });
    await until(() => pool.stats().busy > 0);
    controller.abort(new Error("given up"));
    await assertRejects(() => mapping, Error, "given up");
    await until(() => pool.stats().busy === 0);
    assertEquals(pool.stats().queued, 0);
    assertEquals(await pool.map(double, [1, 2]), [2, 4]);
  }
  pool.terminate();
  Atomics.store(over, 0, 1);
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

test("ProcessPool has no more workers than it was made with", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1, { maxTasksPerChild: 2 });
  const hang = (n: number) => n === 0 ? n : new Promise<number>(() => {});
  const run = (cells: Int32Array) => {
    const running = Atomics.add(cells, 0, 1) + 1;
    if (running > cells[1]!) cells[1] = running;
    return new Promise<void>((resolve) =>
      setTimeout(() => {
        Atomics.sub(cells, 0, 1);
        resolve();
      }, 20)
    );
  };
  // Given up by a callback, when the worker's last call has just begun.
  for (let i = 0; i < 3; i++) {
    const controller = new AbortController();
    await pool.map(hang, [0, 1], {
      chunkSize: 1,
      signal: controller.signal,
      onProgress: () => controller.abort("enough"),
    }).catch(() => {});
    const cells = sharedCells(2);
    await Promise.all(
      Array.from({ length: 6 }, () => pool.apply(run, [cells])),
    );
    assertEquals(cells[1], 1);
  }
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

test("ProcessPool lets a worker's timers have their turn between async calls", {
  timeout,
}, async () => {
  const cells = sharedCells();
  await using pool = new ProcessPool(1, {
    initializer: (cells: Int32Array) => {
      setInterval(() => Atomics.add(cells, 0, 1), 5);
    },
    initargs: [cells],
  });
  const work = async (milliseconds: number): Promise<void> => {
    const end = Date.now() + milliseconds;
    while (Date.now() < end);
    await Promise.resolve();
  };
  await Promise.all(Array.from({ length: 200 }, () => pool.apply(work, [2])));
  assert(cells[0]! >= 10, `${cells[0]} turns`);
});

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

test("ProcessPool's workers end after a process.exit() that failed", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const exit = () => (globalThis as Any).process.exit("no code");
  const close = () => {
    self.close();
    return new Promise(() => {});
  };
  assertEquals(await outcomes([pool.apply(exit)]), ["TypeError"]);
  assertEquals(await outcomes([pool.apply(close)]), ["WorkerExitError"]);
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

test("ProcessPool goes on after a chunk that failed while its thread blocks", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  await pool.apply(double, [1]);
  const event = new Event();
  const fail = (): never => {
    throw new Error("a bug of the test");
  };
  const mapping = outcomes([pool.map(fail, [1, 2, 3], { chunkSize: 1 })]);
  const call = pool.apply((event: Event) => event.set(), [event]);
  assert(event.waitSync({ timeout: 10_000 }));
  assertEquals(await mapping, ["Error"]);
  await call;
  const { completed, failed } = pool.stats();
  assertEquals([completed, failed], [2, 1]);
});

for (const bad of [0, 1]) {
  test(
    `ProcessPool begins no chunk after chunk ${bad} while its thread blocks`,
    {
      timeout,
    },
    async () => {
      await using pool = new ProcessPool(2);
      await started(pool);
      const [begun, failed, done] = [new Event(), new Event(), new Event()];
      const cells = sharedCells(2);
      // One of the first two chunks fails while the other runs in the other worker.
      const work = (isBad: boolean, cells: Int32Array, ...events: Event[]) => {
        const [begun, failed] = events as [Event, Event];
        Atomics.add(cells, 0, 1);
        if (isBad) {
          begun.waitSync();
          throw new Error("on purpose");
        }
        begun.set();
        failed.waitSync();
      };
      // Comes after the chunks of its worker.
      const next = (cells: Int32Array, failed: Event, done: Event) => {
        failed.set();
        if (Atomics.add(cells, 1, 1) === 1) done.set();
      };
      const items = Array.from(
        { length: 20 },
        (
          _,
          n,
        ): [boolean, Int32Array, Event, Event] => [
          n === bad,
          cells,
          begun,
          failed,
        ],
      );
      const mapping = outcomes([pool.starmap(work, items, { chunkSize: 1 })]);
      const calls = [0, 1].map(() => pool.apply(next, [cells, failed, done]));
      assert(done.waitSync({ timeout: 10_000 }));
      assertEquals(cells[0], 2);
      assertEquals(await mapping, ["Error"]);
      await Promise.all(calls);
    },
  );
}

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

/** A call that has begun and ends only by its signal. */
async function stuckCall(
  pool: ProcessPool,
): Promise<{ stuck: Promise<unknown>; controller: AbortController }> {
  const begun = new Event();
  const controller = new AbortController();
  const stuck = pool.apply(
    (begun: Event) => {
      begun.set();
      return new Promise(() => {});
    },
    [begun],
    { signal: controller.signal },
  );
  await begun.wait();
  return { stuck, controller };
}

test("ProcessPool starts another worker at once for a call that waits", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const event = new Event();
  const { stuck, controller } = await stuckCall(pool);
  const call = pool.apply((event: Event) => event.set(), [event]);
  controller.abort();
  assert(event.waitSync({ timeout: 10_000 }));
  assertEquals(await outcomes([stuck, call]), ["AbortError", undefined]);
  assertEquals(pool.stats().respawned, 1);
});

test(
  "ProcessPool starts another worker at once, whoever waits as one is stopped",
  {
    timeout,
  },
  async () => {
    const begun = sharedCells();
    await using pool = new ProcessPool(1, {
      initializer: (cells: Int32Array) =>
        void ((globalThis as Any).begun = cells),
      initargs: [begun],
    });
    await pool.apply(double, [1]);
    const event = new Event();
    let isSet: boolean | undefined;
    const source = function* () {
      yield* [1, 2, 3, 4];
      void pool.apply((event: Event) => event.set(), [event]);
      isSet = event.waitSync({ timeout: 10_000 });
      yield 5;
    };
    const doubled = pool.imap(double, source()); // reads four ahead
    const firsts = [doubled.next(), doubled.next()];
    const controller = new AbortController();
    const { signal } = controller;
    const stuck = outcomes([
      pool.apply(
        () => {
          Atomics.store((globalThis as Any).begun, 0, 1);
          return new Promise(() => {});
        },
        [],
        { signal },
      ),
    ]);
    // The answers before it are there, and are read as the worker is stopped.
    while (Atomics.load(begun, 0) === 0);
    controller.abort();
    assertEquals(await stuck, ["AbortError"]);
    assertEquals(isSet, true);
    const values = (await Promise.all(firsts)).map(({ value }) => value);
    assertEquals(values, [2, 4]);
    assertEquals((await drained(doubled)).values, [6, 8, 10]);
  },
);

test("ProcessPool fails a call for which no other worker can be made", {
  timeout,
}, async () => {
  const buffer = new ArrayBuffer(8);
  const initializer = (_: ArrayBuffer) => {};
  await using pool = new ProcessPool(1, { initializer, initargs: [buffer] });
  const { stuck, controller } = await stuckCall(pool);
  structuredClone(buffer, { transfer: [buffer] }); // it cannot be sent again
  controller.abort();
  const call = pool.apply(() => 1);
  assertEquals(await outcomes([stuck, call]), ["AbortError", "DataCloneError"]);
});

test("ProcessPool counts no worker as replaced that is not", {
  timeout,
}, async () => {
  const pool = new ProcessPool(1);
  const { stuck, controller } = await stuckCall(pool);
  pool.close();
  controller.abort();
  assertEquals(await outcomes([stuck]), ["AbortError"]);
  await pool.join();
  assertEquals(pool.stats().respawned, 0);
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

const { lane } = travel;
for (const way of ["shared", "plain"] as const) {
  test(
    `ProcessPool begins nothing after an item that cannot be sent (${way})`,
    {
      timeout,
    },
    async () => {
      travel.lane = way;
      await using pool = new ProcessPool(1);
      travel.lane = lane;
      const cells = sharedCells();
      const count = (_: unknown, cells: Int32Array) => {
        Atomics.add(cells, 0, 1);
      };
      const lists: [unknown, Int32Array][] = [
        [0, cells],
        [Symbol("not to be sent"), cells],
        [2, cells],
        [3, cells],
      ];
      const error = await pool.starmap(count, lists, { chunkSize: 1 })
        .catch((error) => error);
      assertEquals(error.name, "DataCloneError");
      await pool.apply(double, [1]);
      assert(cells[0]! <= 1, `${cells[0]} began`);
    },
  );
}

for (const way of ["shared", "plain"] as const) {
  test(
    `ProcessPool loses no answer of a worker that ends right after it (${way})`,
    { timeout: 60_000 },
    async () => {
      travel.lane = way;
      await using pool = new ProcessPool(1);
      travel.lane = lane;
      const answerAndEnd = (n: number) => {
        setTimeout(() => self.close()); // in the turn after the answer
        return n;
      };
      for (let i = 0; i < 40; i++) {
        assertEquals(await pool.apply(answerAndEnd, [i]), i);
        await until(() => pool.stats().respawned === i + 1);
      }
    },
  );
}

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

for (const blocks of [false, true]) {
  const when = blocks ? "after its thread has blocked" : "at once";
  test(`ProcessPool sends no call behind one that may wait for it, ${when}`, {
    timeout,
  }, async () => {
    await using pool = new ProcessPool(2);
    const wait = async (event: Event) => {
      await event.wait();
    };
    const set = (event: Event) => event.set();
    const [gate, one, two] = [new Event(), new Event(), new Event()];
    const held = [pool.apply(wait, [gate]), pool.apply(wait, [gate])];
    await until(() => pool.stats().busy === 2);
    const calls = [
      pool.apply(wait, [one]),
      pool.apply(() => {}),
      pool.apply(set, [one]),
      pool.apply(wait, [two]),
      pool.apply(set, [two]),
    ];
    if (blocks && mayBlock) assertFalse(new Event().waitSync({ timeout: 1 }));
    await null; // what was sent before it blocked comes back
    gate.set();
    await Promise.all([...held, ...calls]);
  });
}

test("ProcessPool runs what may wait for each other side by side", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const meet = (barrier: Barrier | null) => barrier ? barrier.waitSync() : -1;
  // Both workers are there, and the function is known to be quick.
  const both = new Barrier(2);
  await pool.map(meet, [both, both], { chunkSize: 1 });
  for (let i = 0; i < 20; i++) {
    await Promise.all(Array(20).fill(0).map(() => pool.apply(meet, [null])));
  }
  // This thread sees nothing while it blocks.
  const barrier = new Barrier(3);
  const calls = [1, 2].map(() => pool.apply(meet, [barrier]));
  const index = barrier.waitSync({ timeout: 10_000 });
  assertEquals([index, ...await Promise.all(calls)].sort(), [0, 1, 2]);
});

test("ProcessPool replaces any number of workers that end once", {
  timeout: 60_000,
}, async () => {
  const processes = 20;
  const [begun, end] = [sharedCells(), new Event()];
  await using pool = new ProcessPool(processes, {
    initializer: (begun: Int32Array, end: Event) => {
      if (!end.isSet()) void end.wait().then(() => self.close());
      Atomics.add(begun, 0, 1);
    },
    initargs: [begun, end],
  });
  await reached(begun, 0, processes);
  end.set();
  await reached(begun, 0, 2 * processes);
  assertEquals(await pool.apply(double, [1]), 2);
  assertEquals(pool.stats().respawned, processes);
});

test("ProcessPool does not replace for ever a worker that is of no use", {
  timeout: 60_000,
}, async () => {
  const ends = sharedCells();
  const pool = new ProcessPool(1, {
    // What it leaves behind ends the worker when it is ready.
    initializer: (ends: Int32Array) => {
      setTimeout(() => {
        Atomics.add(ends, 0, 1);
        self.close();
      }, 1);
    },
    initargs: [ends],
  });
  // Each has its time: under coverage a worker takes long to start.
  for (let n = 1; n <= 17; n++) await reached(ends, 0, n);
  const call = () => pool.apply(() => 1);
  await assertRejects(call, WorkerExitError, "before it was of use");
  assertEquals(ends[0], 17);
  pool.terminate();
  await pool.join();
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

test("ProcessPool counts no chunk for maxTasksPerChild that has not begun", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1, { maxTasksPerChild: 5 });
  const nameOf = () => self.name;
  const name = await pool.apply(nameOf);
  const fail = () => {
    throw new Error("the first");
  };
  const items = Array.from({ length: 8 }, (_, i) => i);
  const all = pool.map(fail, items, { chunkSize: 1 });
  await assertRejects(() => all, Error, "the first");
  assertEquals(await pool.apply(nameOf), name);
});

/** Takes its turn, and stays for a while; the first stays until it may go. */
const takeTurn = async (cells: Int32Array, number: number) => {
  const turn = Atomics.add(cells, 0, 1);
  const rest = (time: number) =>
    new Promise<void>((resolve) => setTimeout(resolve, time));
  await rest(60);
  while (number === 0 && Atomics.load(cells, 1) === 0) await rest(1);
  return turn;
};

test("ProcessPool begins calls in the order of their submission", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  for (let round = 0;; round++) {
    assert(round < 60, "this thread was held up in every round");
    const cells = sharedCells(2);
    let [last, longest] = [performance.now(), 0];
    const watch = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    const calls = Array.from(
      { length: 8 },
      (_, i) => pool.apply(takeTurn, [cells, i]),
    );
    await Promise.all(calls.slice(1));
    clearInterval(watch);
    Atomics.store(cells, 1, 1);
    const turns = await Promise.all(calls);
    if (longest > 20) continue; // then some may be sent ahead
    assertEquals(turns.slice(0, 2).sort(), [0, 1]);
    assertEquals(turns.slice(2), [2, 3, 4, 5, 6, 7]);
    break;
  }
});

test("ProcessPool goes on with calls that take long while its thread is busy", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const cells = sharedCells(1);
  const work = (cells: Int32Array) => {
    Atomics.add(cells, 0, 1);
    const until = performance.now() + 5;
    while (performance.now() < until);
  };
  const calls = Array.from({ length: 400 }, () => pool.apply(work, [cells]));
  // Of each worker it is free for one that is sent as its last is answered.
  for (let most = 0; most <= pool.processes;) {
    const before = Atomics.load(cells, 0);
    assert(before < calls.length, "no more than one a turn");
    const until = performance.now() + 40;
    while (performance.now() < until);
    most = Atomics.load(cells, 0) - before;
    await new Promise((resolve) => setTimeout(resolve));
  }
  pool.terminate();
  await outcomes(calls);
});

test(
  "ProcessPool sends no call behind one that waits before its thread blocks",
  {
    timeout,
  },
  async () => {
    await using pool = new ProcessPool(2);
    const [here, go, done] = [new Event(), new Event(), new Event()];
    const waiting = pool.apply(
      async (here: Event, go: Event, done: Event) => {
        here.set();
        await go.wait();
        done.set();
      },
      [here, go, done],
    );
    await here.wait();
    const cells = sharedCells();
    const spin = (cells: Int32Array) => {
      Atomics.store(cells, 0, 1);
      const until = performance.now() + 20;
      while (performance.now() < until);
    };
    const spinning = pool.apply(spin, [cells]);
    await reached(cells, 0, 1);
    const going = pool.apply((go: Event) => go.set(), [go]);
    assert(done.waitSync({ timeout: 20_000 }));
    await Promise.all([waiting, spinning, going]);
  },
);

test("ProcessPool sends what is in its queue before its thread blocks", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const gate = new Event();
  const long = pool.apply((gate: Event) => gate.wait(), [gate]);
  const short = () => new Promise<void>((resolve) => setTimeout(resolve, 1));
  // What waits behind the long call comes back, and few are sent ahead now.
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let i = 0; i < 20; i++) await pool.apply(short);
    }),
  );
  const done = new Event();
  const others = Array.from({ length: 100 }, () => pool.apply(short));
  const last = pool.apply((done: Event) => done.set(), [done]);
  assert(done.waitSync({ timeout: 20_000 }));
  gate.set();
  await Promise.all([long, last, ...others]);
});

for (
  const [what, count, results] of [
    ["calls", 6000, ["small"]],
    ["results", 60, ["small", "x".repeat(30_000)]],
    ["messages", 60, ["x".repeat(30_000), "x".repeat(60_000), new Date(0)]],
  ] as const
) {
  test(`ProcessPool has room for any ${what} while its thread blocks`, {
    timeout,
  }, async () => {
    await using pool = new ProcessPool(2);
    await started(pool);
    const make = (result: unknown, _: number) => result;
    const calls = Array.from(
      { length: count },
      (_, i) => pool.apply(make, [results[i % results.length], i]),
    );
    const { completed } = pool.stats();
    const done = new Event();
    const last = pool.apply((done: Event) => done.set(), [done]);
    assert(done.waitSync({ timeout: 20_000 }));
    // Nobody is told of an answer while the thread blocks.
    assertEquals(pool.stats().completed, completed);
    assertEquals(
      await Promise.all(calls),
      calls.map((_, i) => results[i % results.length]),
    );
    await last;
    assertEquals(pool.stats().completed, completed + count + 1);
  });
}

/** Keeps all workers of a pool busy until `go` is set, though this thread blocks then. */
async function occupied(
  pool: ProcessPool,
  workers: number,
): Promise<{ go: Event; busy: Promise<unknown>[] }> {
  const [go, gate] = [new Event(), new Event()];
  const here = new Barrier(workers + 2);
  // In a browser it does not begin while this thread blocks.
  const opener = new Process(
    async (here: Barrier, go: Event, gate: Event) => {
      await here.wait();
      await go.wait();
      gate.set();
    },
    { args: [here, go, gate] },
  );
  opener.start();
  const calls = Array.from(
    { length: workers },
    () =>
      pool.apply(async (here: Barrier, gate: Event) => {
        await here.wait();
        await gate.wait();
      }, [here, gate]),
  );
  await here.wait();
  return { go, busy: [...calls, opener.join()] };
}

test("ProcessPool sends buffers too before its thread blocks", {
  timeout,
}, async () => {
  for (const workers of [1, 2]) {
    await using pool = new ProcessPool(workers);
    const { go, busy } = await occupied(pool, workers);
    // No worker is idle, nor does this thread see when one is.
    const buffer = new ArrayBuffer(8);
    const options = { transfer: [buffer] };
    const size = (buffer: ArrayBuffer) => buffer.byteLength;
    const moved = pool.apply(size, [buffer], options);
    const done = new Event();
    const last = pool.apply((done: Event) => done.set(), [done]);
    assertEquals(pool.stats().queued, 2);
    go.set();
    assert(done.waitSync({ timeout: 20_000 }));
    assertEquals([await moved, buffer.byteLength], [8, 0]);
    await Promise.all([...busy, last]);
  }
});

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

test("ProcessPool loses no buffers that were sent ahead with another's call", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const { stuck, controller } = await stuckCall(pool);
  const buffer = new ArrayBuffer(8);
  const size = (buffer: ArrayBuffer) => buffer.byteLength;
  const moved = pool.apply(size, [buffer], { transfer: [buffer] });
  if (mayBlock) {
    assertFalse(new Event().waitSync({ timeout: 1 }));
    assertEquals(buffer.byteLength, 0);
  }
  controller.abort();
  assertEquals(await outcomes([stuck]), ["AbortError"]);
  assertEquals(await moved, 8);
});

test("ProcessPool sends no call ahead behind one that may wait for it", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const { go, busy } = await occupied(pool, 2);
  const [first, done] = [new Event(), new Event()];
  // All three are sent behind others, so none of their workers is idle.
  const last = pool.apply((first: Event, done: Event) => {
    first.waitSync();
    done.set();
  }, [first, done]);
  const between = pool.apply(double, [1]);
  const next = pool.apply((first: Event) => first.set(), [first]);
  go.set();
  assert(done.waitSync({ timeout: 20_000 }));
  await Promise.all([...busy, last, between, next]);
});

test("ProcessPool gives an idle worker what waits while its thread blocks", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  await started(pool);
  const [first, other, done] = [new Event(), new Event(), new Event()];
  const waiting = pool.apply((first: Event, done: Event) => {
    first.waitSync();
    done.set();
  }, [first, done]);
  const spinning = pool.apply((_: Event) => {
    const end = performance.now() + 50;
    while (performance.now() < end);
  }, [other]);
  // It is sent behind the first, which waits for it.
  const last = pool.apply((first: Event) => first.set(), [first]);
  assert(done.waitSync({ timeout: 20_000 }));
  await Promise.all([waiting, spinning, last]);
});

test(
  "ProcessPool starts another worker at once behind one that is to be stopped",
  {
    timeout,
  },
  async () => {
    await using pool = new ProcessPool(1);
    await pool.apply(double, [1]);
    const begun = sharedCells();
    const controller = new AbortController();
    // The worker is not stopped before this answer, which is a message, was read.
    const answer = pool.apply(() => new Date(1));
    const stuck = pool.apply(
      (begun: Int32Array) => {
        Atomics.store(begun, 0, 1);
        Atomics.notify(begun, 0);
        return new Promise(() => {});
      },
      [begun],
      { signal: controller.signal },
    );
    const ended = outcomes([stuck]);
    Atomics.wait(begun, 0, 0);
    controller.abort();
    const done = new Event();
    const call = pool.apply((done: Event) => done.set(), [done]);
    assert(done.waitSync({ timeout: 20_000 }));
    assertEquals(await answer, new Date(1));
    assertEquals(await ended, ["AbortError"]);
    await call;
    assertEquals(await pool.map(double, [1, 2, 3], { chunkSize: 1 }), [
      2,
      4,
      6,
    ]);
    await until(() => pool.stats().respawned === 1);
  },
);

test(
  "ProcessPool starts another worker at once for calls past its task limit",
  {
    timeout,
  },
  async () => {
    const count = (cells: Int32Array) => void Atomics.add(cells, 0, 1);
    const countAndPost = (cells: Int32Array) =>
      new Date(Atomics.add(cells, 0, 1)); // a message that is heard later
    for (
      const [maxTasksPerChild, calls, task] of [
        [1, 3, count],
        [2, 3, count],
        [1, 40, count],
        [2, 40, countAndPost],
      ] as const
    ) {
      await using pool = new ProcessPool(1, { maxTasksPerChild });
      const cells = sharedCells();
      const others = Array.from(
        { length: calls },
        () => pool.apply<typeof count | typeof countAndPost>(task, [cells]),
      );
      const done = new Event();
      const last = pool.apply((done: Event) => done.set(), [done]);
      assert(done.waitSync({ timeout: 20_000 }));
      await Promise.all([...others, last]);
      const names = Array.from(
        { length: 6 },
        () => pool.apply(() => self.name),
      );
      const ran = new Map<string, number>();
      for (const name of await Promise.all(names)) {
        ran.set(name, (ran.get(name) ?? 0) + 1);
      }
      for (const n of ran.values()) assert(n <= maxTasksPerChild);
      assertEquals(cells[0], calls);
      assertEquals(pool.stats().respawned, 0);
    }
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

test(
  "ProcessPool tells of what its initializer threw, whatever else ends the worker",
  {
    timeout,
  },
  async () => {
    for (let i = 0; i < 20; i++) {
      const initializer = () => {
        const { process } = globalThis as Any;
        if (process) setTimeout(() => process.exit(7));
        throw new RangeError("of the initializer");
      };
      await using pool = new ProcessPool(1, { initializer });
      await assertRejects(
        () => pool.apply(() => 1),
        RangeError,
        "of the initializer",
      );
    }
  },
);

test("A call that others passed may end while one is to be given up", {
  timeout,
}, async () => {
  const program = await runProgram(async ({ Event, ProcessPool }) => {
    const pool = new ProcessPool(2);
    await Promise.all([pool.apply(() => 1), pool.apply(() => 2)]);
    const [end, here, go] = [new Event(), new Event(), new Event()];
    const controller = new AbortController();
    const long = pool.map((end: Event) => end.wait(), [end], {
      onProgress: () => controller.abort(),
    });
    const short = (_: Event) =>
      new Promise<void>((resolve) => setTimeout(resolve, 1));
    // The other worker runs all of these.
    const shorts = Array.from({ length: 30 }, () => pool.apply(short, [here]));
    await Promise.all(shorts);
    const held = pool.apply((here: Event, go: Event) => {
      here.set();
      go.waitSync();
    }, [here, go]);
    await here.wait();
    const behind = pool.apply(short, [here]);
    const options = { signal: controller.signal };
    const given = pool.apply(short, [here], options)
      .catch((error: Error) => error.name);
    setTimeout(() => end.set(), 20);
    console.log(JSON.stringify([await long, await given]));
    go.set();
    await Promise.all([held, behind]);
    pool.close();
    await pool.join();
  });
  const { code, stdout, stderr } = program;
  assertEquals([code, stdout, stderr], [0, '[[true],"AbortError"]\n', ""]);
});
