// Workers that die, are replaced, and run an initializer.

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  Barrier,
  Event,
  ProcessPool,
  ThreadPool,
  WorkerExitError,
} from "../mod.ts";
import { Call } from "../_internal/call.ts";
import { travel } from "../_internal/dispatcher.ts";
import { nextTurn } from "../_internal/runtime/loop.ts";
import type { Port } from "../_internal/runtime/threads.ts";
import { runtime } from "../_internal/runtime/which.ts";
import { SharedChannel } from "../_internal/shared_channel.ts";
import { later } from "../_internal/wait.ts";
import {
  abandonsBusyThreads,
  drained,
  outcomes,
  POOLS,
  reached,
  sharedCells,
  started,
  stuckCall,
  until,
  watchSharedMemory,
} from "./_pools.ts";
import { endYoungPools } from "./testdata/pool_tasks.ts";

const timeout = 30_000;

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
    const isError = how.startsWith("an "); // that is its cause
    assertEquals(error.cause instanceof Error, isError);
    // Bun's test runner makes a text of it, with the line that threw.
    if (isError) assertStringIncludes(`${error.cause}`, "a bug of the test");
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
  const isOverflow = error instanceof RangeError ||
    error.name === "InternalError"; // Firefox
  assert(isOverflow, String(error));
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

/** Counts the workers that are made while `use` runs; none is after some. */
async function countWorkers(
  limit: { most: number },
  use: (count: () => number, made: SharedArrayBuffer[]) => unknown,
): Promise<void> {
  const { made, stop } = watchSharedMemory();
  const { calls } = travel.sizes;
  // The definitions of functions are of the same size.
  const count = () =>
    made.filter(({ byteLength }) => byteLength === calls).length - 1;
  const { SharedArrayBuffer: watched } = globalThis;
  globalThis.SharedArrayBuffer = new Proxy(watched, {
    construct(target, args) {
      if (args[0] === calls && count() === limit.most) {
        throw new RangeError("no more memory");
      }
      return new target(...args as [number]);
    },
  });
  try {
    await use(count, made);
  } finally {
    stop();
  }
}

test("A pool whose last worker cannot be started ends the others", {
  timeout,
}, async () => {
  await countWorkers({ most: 2 }, (_, made) => {
    assertThrows(
      () => new ProcessPool(3, { initializer: () => {} }),
      RangeError,
      "no more memory",
    );
    // By this word a thread learns that it is to end.
    const lives = made.filter(({ byteLength }) => byteLength === 4);
    const ended = lives.filter((life) => new Int32Array(life)[0] === 1);
    assertEquals(ended.length, 2);
  });
});

test("A pool goes on with the workers it has, and makes others once it can", {
  timeout,
}, async () => {
  const limit = { most: 1 };
  await countWorkers(limit, async (count) => {
    await using pool = new ProcessPool(2);
    const calls = [1, 2, 3].map((n) => pool.apply(double, [n]));
    assertEquals(await Promise.all(calls), [2, 4, 6]);
    assertEquals(count(), 1);
    limit.most = 2;
    await until(() => count() === 2);
    await started(pool);
    assertEquals(pool.stats().failed, 0);
  });
});

test("Calls fail if a pool has no worker left for long; later ones need not", {
  timeout,
}, async () => {
  const limit = { most: 1 };
  await countWorkers(limit, async (count) => {
    await using pool = new ProcessPool(1);
    assertEquals(await pool.apply(double, [1]), 2);
    const ended = pool.apply(() => self.close());
    const calls = [ended, pool.apply(double, [2])];
    assertEquals(await outcomes(calls), ["WorkerExitError", "RangeError"]);
    await assertRejects(() => pool.apply(double, [3]), RangeError, "memory");
    limit.most = 2;
    assertEquals(await pool.apply(double, [4]), 8);
    assertEquals([count(), pool.stats().failed], [2, 3]);
    // While this thread blocks too.
    limit.most = 3;
    const done = new Event();
    const gone = pool.apply(() => self.close());
    const call = pool.apply((done: Event) => done.set(), [done]);
    if (runtime !== "browser") {
      assert(done.waitSync({ timeout: 9000 }));
    }
    assertEquals(await outcomes([gone]), ["WorkerExitError"]);
    await call;
  });
});

test("Workers that are refused together count as one refusal", {
  timeout,
}, async () => {
  const limit = { most: 8 };
  await countWorkers(limit, async () => {
    await using pool = new ProcessPool(8);
    await started(pool);
    const controller = new AbortController();
    const { signal } = controller;
    const stuck = Array.from(
      { length: 8 },
      () => pool.apply(() => new Promise(() => {}), [], { signal }),
    );
    await until(() => pool.stats().busy === 8);
    const call = pool.apply(double, [1]);
    controller.abort();
    assertEquals(await outcomes(stuck), Array(8).fill("AbortError"));
    await new Promise<void>(nextTurn);
    limit.most = Infinity;
    assertEquals(await call, 2);
    assertEquals(pool.stats().respawned, 8);
  });
});

/** Makes the system refuse a number of workers, then give the next. */
async function refuseWorkers(
  use: (refuse: (times: number) => void) => unknown,
): Promise<void> {
  let left = 0;
  let count = () => 0;
  const limit = {
    get most() {
      return left-- > 0 ? count() : Infinity;
    },
  };
  await countWorkers(limit, async (counted) => {
    count = counted;
    await use((times) => left = times);
  });
}

test("Refusals are forgotten when a worker has come, if it answers nothing", {
  timeout,
}, async () => {
  await refuseWorkers(async (refuse) => {
    await using pool = new ProcessPool(1);
    for (let i = 0; i < 9; i++) {
      refuse(1);
      const call = pool.apply(() => self.close());
      assertEquals(await outcomes([call]), ["WorkerExitError"], `${i}`);
    }
  });
});

test(
  "A pool goes on after a refusal if its worker had come, and not answered",
  {
    timeout,
  },
  async () => {
    await refuseWorkers(async (refuse) => {
      await using pool = new ProcessPool(1);
      const { stuck, controller } = await stuckCall(pool);
      refuse(1);
      controller.abort();
      assertEquals(await outcomes([stuck]), ["AbortError"]);
      await new Promise<void>(nextTurn);
      assertEquals(await pool.apply(double, [1]), 2);
    });
  },
);

test("A refusal beside a worker that has its last call ends no pool", {
  timeout,
}, async () => {
  await refuseWorkers(async (refuse) => {
    await using pool = new ProcessPool(2, { maxTasksPerChild: 1 });
    refuse(1);
    const calls = [1, 2, 3].map((n) => pool.apply(double, [n]));
    assertEquals(await Promise.all(calls), [2, 4, 6]);
  });
});

test("A call whose message has not come moves on when its worker ends", {
  timeout,
}, async () => {
  const leaveEnd = () => {
    queueMicrotask(() => self.close());
    return 1;
  };
  const sizeOf = (map: Map<number, number>) => map.size;
  for (let i = 0; i < 5; i++) {
    await using pool = new ProcessPool(1);
    await pool.apply(double, [1]);
    const calls = [
      pool.apply(leaveEnd),
      pool.apply(sizeOf, [new Map([[1, 2]])]),
      pool.apply(double, [2]),
    ];
    assertEquals(await outcomes(calls), [1, 1, 4]);
  }
});

if (runtime !== "browser") {
  test("A call that was given back is run once if its worker does not end", {
    timeout,
  }, async () => {
    await using pool = new ProcessPool(1);
    const cells = sharedCells(2);
    const failToEnd = (cells: Int32Array) => {
      queueMicrotask(() => {
        try {
          (globalThis as Any).process.exit("none");
        } catch {
          Atomics.add(cells, 0, 1);
        }
      });
    };
    const count = (cells: Int32Array) => Atomics.add(cells, 1, 1);
    for (let i = 0; i < 5; i++) {
      const calls = [
        pool.apply(failToEnd, [cells]),
        pool.apply(count, [cells]),
        pool.apply(count, [cells]),
      ];
      assertEquals((await outcomes(calls)).slice(1), [2 * i, 2 * i + 1]);
    }
    assertEquals([...cells], [5, 10]);
    assertEquals(pool.stats().respawned, 0);
  });
}

for (const Pool of POOLS) {
  test(`${Pool.name} lives on after its thread's stack has overflowed`, {
    timeout,
  }, async () => {
    const pool = new Pool(2);
    await pool.map(double, [1, 2, 3]);
    // Nothing may be called between a call and what keeps its promise.
    const calls: Promise<number>[] = new Array(100_000);
    const submitAll = (n: number): void => {
      calls[n] = pool.apply(double, [n]);
      submitAll(n + 1);
    };
    try {
      submitAll(0);
    } catch {
      // That is the end of the stack.
    }
    const settled = await Promise.allSettled(calls.filter((it) => it));
    const results = settled.map((it) => it.status === "fulfilled" && it.value);
    assert(results.length > 100, `${results.length}`);
    const expected = results.map((it, n) => it === false ? it : 2 * n);
    assertEquals(results, expected);
    assertEquals(await pool.apply(double, [21]), 42);
    pool.terminate();
    await pool.join();
  });
}

test("A pool ends although the stack did as an unsendable call had ended", {
  timeout,
}, async () => {
  const pool = new ProcessPool(1);
  await pool.apply(double, [0]);
  const { settle } = Call.prototype;
  Call.prototype.settle = () => {
    throw new RangeError("of the stack");
  };
  try {
    await assertRejects(
      () => pool.apply(double, [Symbol() as Any]),
      RangeError,
    );
  } finally {
    Call.prototype.settle = settle;
  }
  assertEquals(await pool.apply(double, [1]), 2);
  pool.close();
  await pool.join();
});

test("A pool starts its first worker alone, and others as there are calls", {
  timeout,
}, async () => {
  await countWorkers({ most: Infinity }, async (count) => {
    await using pool = new ProcessPool(4);
    assertEquals(count(), 1);
    const one = pool.apply(double, [1]);
    assertEquals(count(), 1);
    const two = pool.apply(double, [2]);
    assertEquals(count(), 2);
    assertEquals(await Promise.all([one, two]), [2, 4]);
    await until(() => count() === 4);
  });
  await countWorkers({ most: Infinity }, async (count) => {
    const pool = new ProcessPool(4);
    const gate = new Event();
    const call = pool.apply((gate: Event) => gate.wait(), [gate]);
    pool.close();
    await gate.wait({ timeout: 150 }); // longer than an open pool would wait
    gate.set();
    await Promise.all([call, pool.join()]);
    assertEquals(count(), 1);
  });
});

test("A pool starts all its workers if their initializers may tell", {
  timeout,
}, async () => {
  const all = new Barrier(3);
  await using _ = new ProcessPool(2, {
    initializer: (all: Barrier) => void all.waitSync(),
    initargs: [all],
  });
  // In a browser none begins while this thread blocks.
  if (runtime === "browser") await all.wait({ timeout: 10_000 });
  else all.waitSync({ timeout: 10_000 });
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

/** Calls fail with what the initializer of their pool threw. */
async function assertFailsBy(initializer: () => never): Promise<void> {
  await using pool = new ProcessPool(1, { initializer });
  await assertRejects(
    () => pool.apply(() => 1),
    RangeError,
    "of the initializer",
  );
}

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
      await assertFailsBy(initializer);
    }
  },
);

test("ProcessPool hears what its initializer threw after its worker's end", {
  timeout,
}, async () => {
  const { open, settled } = SharedChannel.prototype;
  const end = Promise.withResolvers<void>();
  SharedChannel.prototype.settled = async function () {
    end.resolve(); // this is asked once the worker has ended
    await settled.call(this);
  };
  /** Has its messages some turns after the worker's end. */
  SharedChannel.prototype.open = function (port) {
    open.call(this, {
      postMessage: (...message) => port.postMessage(...message),
      set onmessage(listener: NonNullable<Port["onmessage"]>) {
        port.onmessage = async (message) => {
          await end.promise;
          for (let i = 0; i < 99; i++) await new Promise<void>(nextTurn);
          listener(message);
        };
      },
      onmessageerror: null,
      close: () => port.close(),
      unref: () => port.unref?.(),
    });
  };
  try {
    const initializer = () => {
      const { process } = globalThis as Any;
      setTimeout(() => process ? process.exit(7) : self.close());
      throw new RangeError("of the initializer");
    };
    await assertFailsBy(initializer);
  } finally {
    Object.assign(SharedChannel.prototype, { open, settled });
  }
});

if (abandonsBusyThreads) {
  test("ProcessPool abandons no worker of whose end it hears late", {
    timeout,
  }, async () => {
    const { Worker } = await import("node:worker_threads");
    const { on } = Worker.prototype;
    // Of some ends a thread that has blocked is told late.
    const told = Promise.withResolvers<void>();
    Worker.prototype.on = function (event: string, listener: Any) {
      const hear = (code: number) =>
        void told.promise.then(() => listener(code));
      return on.call(this, event, event === "exit" ? hear : listener);
    };
    try {
      const pool = new ProcessPool(1);
      await started(pool);
      pool.terminate();
      later(110, told.resolve); // after the pool has looked
      Atomics.wait(sharedCells(), 0, 0, 500); // by then it has ended
      await pool.join();
      assertEquals(pool.stats().abandoned, 0);
    } finally {
      delete (Worker.prototype as Any).on;
    }
  });
}

test("ProcessPool abandons no worker that it ends as it starts", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  assertEquals(await pool.apply(endYoungPools), 0);
});

if (runtime !== "browser") {
  test("ProcessPool uses a worker again that did not end after all", {
    timeout,
  }, async () => {
    await using pool = new ProcessPool(1);
    const begun = new Event();
    const gate = new Event();
    const ended = pool.apply((begun: Event, gate: Event) => {
      const { process } = globalThis as Any;
      process.once("exit", () => {
        begun.set();
        gate.waitSync();
        throw new Error("not yet");
      });
      setTimeout(() => {
        try {
          process.exit();
        } catch {
          // It goes on.
        }
      });
    }, [begun, gate]);
    await ended;
    await begun.wait();
    const call = pool.apply(double, [1]);
    gate.set();
    assertEquals(await call, 2);
  });
}
