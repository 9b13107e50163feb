// What becomes of calls while the thread of their pool blocks.

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { Barrier, Event, Process, ProcessPool } from "../mod.ts";
import { runtime } from "../_internal/runtime/which.ts";
import { Scheduler } from "../_internal/scheduler.ts";
import {
  deafen,
  drained,
  outcomes,
  reached,
  sharedCells,
  started,
  stuckCall,
  until,
} from "./_pools.ts";

const timeout = 30_000;

// deno-lint-ignore no-explicit-any
type Any = any;

const double = (n: number) => n * 2;

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

test(
  "ProcessPool sends no call behind one that waits while its thread blocks",
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

test("ProcessPool sends what is in its queue while its thread blocks", {
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

test("ProcessPool sends buffers too while its thread blocks", {
  timeout,
}, async () => {
  for (const workers of [1, 2]) {
    await using pool = new ProcessPool(workers);
    const { go, busy } = await occupied(pool, workers);
    const buffer = new ArrayBuffer(8);
    const options = { transfer: [buffer] };
    const size = (buffer: ArrayBuffer) => buffer.byteLength;
    const moved = pool.apply(size, [buffer], options);
    const done = new Event();
    const last = pool.apply((done: Event) => done.set(), [done]);
    assertEquals(pool.stats().queued, 2);
    assertEquals(buffer.byteLength, 8, "no worker is idle");
    go.set();
    assert(done.waitSync({ timeout: 20_000 }));
    assertEquals([await moved, buffer.byteLength], [8, 0]);
    await Promise.all([...busy, last]);
  }
});

test(
  "ProcessPool begins calls that wait for others in order while its thread blocks",
  {
    timeout,
  },
  async () => {
    await using pool = new ProcessPool(2);
    const { go, busy } = await occupied(pool, 2);
    const [first, done] = [new Event(), new Event()];
    // None of their workers is idle, and all become so at once.
    const last = pool.apply((first: Event, done: Event) => {
      first.waitSync();
      done.set();
    }, [first, done]);
    const between = pool.apply(double, [1]);
    const next = pool.apply((first: Event) => first.set(), [first]);
    go.set();
    assert(done.waitSync({ timeout: 20_000 }));
    await Promise.all([...busy, last, between, next]);
  },
);

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
  // The first waits for it, and the other is busy.
  const last = pool.apply((first: Event) => first.set(), [first]);
  assert(done.waitSync({ timeout: 20_000 }));
  await Promise.all([waiting, spinning, last]);
});

test("ProcessPool gives a call to who can hear while its thread blocks", {
  timeout,
}, async () => {
  for (const free of [0, 1, 2]) {
    await using pool = new ProcessPool(3);
    const gates = await deafen(pool);
    gates[free]!.set();
    const done = new Event();
    const set = (done: Event) => done.set();
    const call = pool.apply(set, [done]);
    assert(done.waitSync({ timeout: 20_000 }));
    await call;
    for (const gate of gates) gate.set();
  }
});

test(
  "ProcessPool goes on past calls whose time is up while its thread blocks",
  {
    timeout,
  },
  async () => {
    const spin = (): never => {
      for (;;);
    };
    const never = () => new Promise<never>(() => {});
    for (const processes of [1, 2]) {
      for (const stuck of [spin, never]) {
        await using pool = new ProcessPool(processes);
        await started(pool);
        const limits = { timeout: 50 };
        const calls = Array.from(
          { length: processes },
          () => pool.apply(stuck, [], limits),
        );
        const ends = outcomes(calls);
        const done = new Event();
        const last = pool.apply((done: Event) => done.set(), [done]);
        assert(done.waitSync({ timeout: 20_000 }));
        assertEquals(await ends, calls.map(() => "TimeoutError"));
        await last;
        assertEquals(pool.stats().failed, processes);
      }
    }
  },
);

/** Exits in a later turn, when its call has been answered. */
const exitLater = () => {
  const { process } = globalThis as Any;
  setTimeout(() => process ? process.exit(0) : self.close());
};

test(
  "ProcessPool counts idle workers that have ended while its thread blocked",
  {
    timeout,
  },
  async () => {
    const workers = new Set<unknown>();
    const { add, remove } = Scheduler.prototype;
    Scheduler.prototype.add = function (worker) {
      workers.add(worker);
      add.call(this, worker);
    };
    Scheduler.prototype.remove = function (worker) {
      workers.delete(worker);
      remove.call(this, worker);
    };
    using _ = {
      [Symbol.dispose]() {
        Object.assign(Scheduler.prototype, { add, remove });
      },
    };
    await using pool = new ProcessPool(1);
    const DEATHS = 20;
    for (let i = 0; i < DEATHS; i++) {
      const cells = sharedCells();
      await pool.apply((cells: Int32Array) => {
        const { process } = globalThis as Any;
        setTimeout(() => {
          Atomics.store(cells, 0, 1);
          process ? process.exit(0) : self.close();
        });
      }, [cells]);
      while (Atomics.load(cells, 0) === 0); // it ends, and this thread hears nothing
      const done = new Event();
      const call = pool.apply((done: Event) => done.set(), [done]);
      assert(done.waitSync({ timeout: 20_000 }));
      await call;
    }
    await until(() => pool.stats().respawned === DEATHS);
    assertEquals(workers.size, 1);
  },
);

test("ProcessPool goes on after any number of workers that were of use", {
  timeout,
}, async () => {
  const done = new Event();
  await using pool = new ProcessPool(1, {
    initializer: (done: Event) => void ((globalThis as Any).done = done),
    initargs: [done],
  });
  // None comes by a message: a worker would end as it waits for that.
  const calls = Array.from({ length: 100 }, () => pool.apply(exitLater));
  const last = pool.apply(() => (globalThis as Any).done.set());
  assert(done.waitSync({ timeout: 20_000 }));
  await Promise.all([...calls, last]);
});

test("ProcessPool gives a long argument its time while its thread blocks", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  await started(pool);
  const items = Array.from({ length: 100_000 }, (_, i) => ({ i }));
  const done = new Event();
  const call = pool.apply(
    (done: Event, items: object[]) => {
      done.set();
      return items.length;
    },
    [done, items],
  );
  assert(done.waitSync({ timeout: 20_000 }));
  assertEquals(await call, items.length);
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
  "ProcessPool starts another worker at once for one that has ended unseen",
  {
    timeout,
  },
  async () => {
    const ways: (() => unknown)[] = [
      () => {
        const { process } = globalThis as Any;
        process.exit(3);
      },
      () => {
        self.close();
        return new Promise(() => {});
      },
    ];
    // Under `bun test` a worker's uncaught error waits for the thread of the tests.
    if (runtime !== "bun") {
      ways.push(() => {
        setTimeout(() => {
          throw new Error("on purpose");
        });
        return new Promise(() => {});
      });
    }
    for (
      const [workers, limits] of [
        [1, {}],
        [2, {}],
        [1, { maxTasksPerChild: 1 }],
      ] as const
    ) {
      await using pool = new ProcessPool(workers, limits);
      await started(pool);
      const dead: Promise<unknown>[] = [];
      for (const way of ways) {
        for (let i = 0; i < workers; i++) dead.push(pool.apply(way));
      }
      const ends = outcomes(dead);
      const done = new Event();
      const last = pool.apply((done: Event) => done.set(), [done]);
      assert(done.waitSync({ timeout: 20_000 }));
      assertEquals(await ends, dead.map(() => "WorkerExitError"));
      await last;
      assertEquals(pool.stats().respawned, dead.length);
    }
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

test("A worker whose answers find no room goes on once they are read", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  await started(pool);
  const count = 300;
  const begun = sharedCells();
  const answer = (n: number, begun: Int32Array) => {
    Atomics.add(begun, 0, 1);
    return "x".repeat(n);
  };
  const calls = Array.from(
    { length: count },
    () => pool.apply(answer, [5000, begun]),
  );
  // No answer is read before the last for which there is room has been written.
  const end = performance.now() + 300;
  while (performance.now() < end);
  assert(Atomics.load(begun, 0) < count);
  for (const text of await Promise.all(calls)) assertEquals(text.length, 5000);
});
