// What a timeout and a signal do to calls, wherever they are.

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { Event, ProcessPool, ThreadPool } from "../mod.ts";
import { runWithin } from "../_internal/runtime/this_thread.ts";
import { travel } from "../_internal/dispatcher.ts";
import { nextTurn } from "../_internal/runtime/loop.ts";
import { mayBlock } from "../_internal/runtime/which.ts";
import { SharedChannel } from "../_internal/shared_channel.ts";
import {
  abandonsBusyThreads,
  type AnyPool,
  drained,
  outcomes,
  POOLS,
  reached,
  sharedCells,
  started,
  until,
  watchSharedMemory,
} from "./_pools.ts";
import {
  askInner,
  floodInner,
  leaveCallAndSpin,
} from "./testdata/pool_tasks.ts";
import { WatchedSignal } from "./_watched_signal.ts";

const timeout = 30_000;

const double = (n: number) => n * 2;
const never = () => new Promise<never>(() => {});
const spin = (): never => {
  for (;;);
};
/** Says that it has begun, and never ends. */
const beginAndWait = (cells: Int32Array) => {
  Atomics.add(cells, 0, 1);
  return new Promise<never>(() => {});
};
/**
 * Says that it has begun, and holds its thread till it is released: an
 * abandoned thread would be in the way of every test that comes after.
 */
const beginAndSpin = (cells: Int32Array) => {
  Atomics.add(cells, 0, 1);
  while (Atomics.load(cells, 1) === 0);
};
const release = (cells: Int32Array) => void Atomics.store(cells, 1, 1);

async function assertTimesOut(
  call: () => PromiseLike<unknown>,
  atLeast = 0,
): Promise<void> {
  const began = performance.now();
  const error = await assertRejects(
    call,
    DOMException as unknown as typeof Error,
    "Cannot ",
  );
  const took = performance.now() - began;
  assertEquals(error.name, "TimeoutError");
  assert(took > atLeast - 1, `${took} ms`);
  assert(took < atLeast + 5000, `${took} ms`);
}

/** The ways to submit one endless call. */
function submissions(
  pool: AnyPool,
  limits: { timeout?: number; signal?: AbortSignal },
): PromiseLike<unknown>[] {
  return [
    pool.apply(never, [], limits),
    pool.applyAsync(never, [], limits),
    pool.map(never, [1], limits),
    pool.mapAsync(never, [1], limits),
    pool.starmap(never, [[]], limits),
    pool.starmapAsync(never, [[]], limits),
    pool.imap(never, [1], limits).next(),
    pool.imapUnordered(never, [1], limits).next(),
  ];
}

for (const Pool of POOLS) {
  const { name } = Pool;

  test(`${name} times out on time, begun or not`, { timeout }, async () => {
    await using pool = new Pool(1);
    const began = performance.now();
    const calls = submissions(pool, { timeout: 60 });
    assertEquals(await outcomes(calls), calls.map(() => "TimeoutError"));
    const took = performance.now() - began;
    assert(took > 59 && took < 5000, `${took} ms`);
  });

  test(`${name} does not begin a call that is given 0 ms`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const cells = sharedCells();
    const count = (cells: Int32Array) => Atomics.add(cells, 0, 1);
    const none = { timeout: 0 };
    await assertTimesOut(() => pool.apply(count, [cells], none));
    await assertTimesOut(() => pool.map(count, [cells], none));
    await assertTimesOut(() => pool.starmap(count, [[cells]], none));
    await assertTimesOut(() => pool.imap(never, [1], none).next());
    assertEquals(await pool.apply(double, [1]), 2);
    assertEquals(cells[0], 0);
  });

  test(`${name} needs no time for no items`, { timeout }, async () => {
    await using pool = new Pool(1);
    const none = { timeout: 0 };
    assertEquals(await pool.map(double, [], none), []);
    assertEquals(
      await pool.starmapAsync(double, new Set<[number]>(), none),
      [],
    );
    const signal = AbortSignal.abort("before");
    assertEquals(
      await pool.map(double, [], { ...none, signal }).catch((error) => error),
      "before",
    );
  });

  test(`${name} waits for ever where it is told to`, { timeout }, async () => {
    await using pool = new Pool(1);
    const slow = (n: number) =>
      new Promise<number>((resolve) => setTimeout(() => resolve(n), 20));
    for (const timeout of [Infinity, 2 ** 31 - 1, 2 ** 31, 1e12]) {
      assertEquals(await pool.apply(slow, [1], { timeout }), 1);
      assertEquals(await pool.map(slow, [1], { timeout }), [1]);
      const { value } = await pool.imap(slow, [1], { timeout }).next();
      assertEquals(value, 1);
    }
    const limits = { timeout: undefined, signal: undefined };
    assertEquals(await pool.apply(slow, [1], limits), 1);
  });

  test(`${name} counts a timeout from the submission`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const cells = sharedCells();
    const gate = new Event();
    const first = pool.apply((gate: Event) => gate.wait(), [gate]);
    const count = (cells: Int32Array) => void Atomics.add(cells, 0, 1);
    await assertTimesOut(() => pool.apply(count, [cells], { timeout: 50 }), 50);
    gate.set();
    await first;
    assertEquals(await pool.apply(double, [1]), 2);
    assertEquals(cells[0], 0); // it was dropped
  });

  test(`${name}.map() has its timeout for the whole of it`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const cells = sharedCells();
    const slow = async (cells: Int32Array) => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      Atomics.add(cells, 0, 1);
    };
    const items = Array.from({ length: 20 }, () => cells);
    await assertTimesOut(
      () => pool.map(slow, items, { timeout: 100, chunkSize: 1 }),
      100,
    );
    assert(cells[0]! < 5);
    const stuck = async function* () {
      yield cells;
      await new Promise(() => {});
    };
    await assertTimesOut(() => pool.map(slow, stuck(), { timeout: 50 }), 50);
  });

  test(`${name} gives nothing that has ended after its time`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const cells = sharedCells(2);
    const busy = (cells: Int32Array) => {
      Atomics.add(cells, 0, 1);
      const end = performance.now() + 60;
      while (performance.now() < end);
    };
    const limits = { timeout: 50 };
    await assertTimesOut(() => pool.apply(busy, [cells], limits), 50);
    await assertTimesOut(() => pool.imap(busy, [cells], limits).next(), 50);
    Atomics.store(cells, 0, 0);
    const many = { ...limits, chunkSize: 10 };
    await assertTimesOut(() => pool.map(busy, Array(10).fill(cells), many), 50);
    // Comes after what the only worker has to do still.
    assertEquals(await pool.apply(double, [1], { timeout: 10_000 }), 2);
    const begun = Atomics.load(cells, 0);
    assert(begun < 10, `${begun} items`); // to stop a thread takes its time
  });

  test(`${name}.map() reads no further once its call has ended`, {
    timeout,
  }, async () => {
    const pool = new Pool(1);
    const controller = new AbortController();
    let closed = 0;
    function* endless(then: () => void): Generator<number> {
      try {
        for (let n = 0;; n++) {
          if (n === 5) then();
          yield n;
        }
      } finally {
        closed++;
      }
    }
    const { signal } = controller;
    const calls = [
      pool.map(double, endless(() => {}), { timeout: 50 }),
      pool.map(double, endless(() => controller.abort()), { signal }),
      pool.map(double, endless(() => pool.terminate())),
    ];
    const expected = ["TimeoutError", "AbortError", "PoolClosedError"];
    assertEquals(await outcomes(calls), expected);
    assertEquals(closed, 3);
    await pool.join();
  });

  test(`${name}.imap() counts its timeout from each next()`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const slow = async (n: number) => {
      await new Promise((resolve) => setTimeout(resolve, n));
      return n;
    };
    await pool.map(slow, [1, 1]);
    const items = new Array(16).fill(100);
    const results = [];
    // All of it takes 800 ms, each next() 100 at most.
    for await (const n of pool.imap(slow, items, { timeout: 700 })) {
      results.push(n);
    }
    assertEquals(results, items);
    const it = pool.imap(slow, [1, 5000], { timeout: 300 });
    assertEquals(await it.next(), { done: false, value: 1 });
    await assertTimesOut(() => it.next(), 300);
    assertEquals(await it.next(), { done: true, value: undefined });
  });

  test(`${name} rejects with the reason of a signal`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const reason = new EvalError("enough");
    const before = AbortSignal.abort(reason);
    const refused = submissions(pool, { signal: before, timeout: 0 });
    for (const it of await Promise.allSettled(refused)) {
      assertStrictEquals((it as PromiseRejectedResult).reason, reason);
    }
    const controller = new AbortController();
    const calls = submissions(pool, { signal: controller.signal });
    const all = outcomes(calls);
    controller.abort(reason);
    assertEquals(await all, calls.map(() => "EvalError"));
    const odd = await pool.apply(never, [], { signal: AbortSignal.abort(7) })
      .catch((it) => it);
    assertEquals(odd, 7);
    assertEquals(await pool.apply(double, [1]), 2);
  });

  test(`${name} sees a signal that aborts in the turn of the call`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    for (let i = 0; i < 100; i++) {
      await pool.apply(double, [1]); // the worker is awake, and quick
      const controller = new AbortController();
      const calls = submissions(pool, { signal: controller.signal });
      const quick = pool.apply(double, [1], { signal: controller.signal });
      controller.abort("in time");
      for (const call of [quick, ...calls]) {
        const reason = await call.then(() => "resolved", (reason) => reason);
        assertEquals(reason, "in time");
      }
      if (i > 2 && pool instanceof ProcessPool) break; // it replaced its worker
    }
    for (let i = 0; i < 100; i++) {
      const controller = new AbortController();
      const { signal } = controller;
      const call = pool.apply(double, [1], { signal });
      const next = pool.imap(double, [1], { signal }).next();
      controller.abort("in time");
      for (const it of [call, next]) {
        assertEquals(await it.then(() => "resolved", (it) => it), "in time");
      }
      const none = pool.imap(double, [1], { timeout: 0 }).next();
      assertEquals(await outcomes([none]), ["TimeoutError"]);
    }
  });

  test(`${name} sees an answer in time although its thread was busy`, {
    timeout,
  }, async () => {
    // In a ThreadPool all begin before this thread is busy.
    await using pool = new Pool(Pool === ThreadPool ? 4 : 1);
    await pool.apply(double, [1]);
    const soon = (n: number) =>
      new Promise<number>((resolve) => setTimeout(resolve, 20, n));
    const calls = [
      pool.apply(double, [1], { timeout: 200 }),
      pool.map(double, [1, 2], { timeout: 200 }),
      pool.applyAsync(double, [3]).get({ timeout: 200 }),
      pool.imap(double, [4], { timeout: 200 }).next().then((it) => it.value),
      ...(pool instanceof ProcessPool
        ? [pool.apply(soon, [5], { timeout: 200 })]
        : []),
    ];
    if (pool instanceof ThreadPool) {
      await until(() => pool.stats().completed === 6);
    }
    const end = Date.now() + 500;
    while (Date.now() < end);
    const [one, two, three, four, five] = await outcomes(calls);
    assertEquals([one, two, three, four], [2, [2, 4], 6, 8]);
    assert(five === undefined || five === 5, String(five));
  });

  test(`${name} drops what was queued when it is aborted`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const cells = sharedCells(2);
    const gate = pool.apply(async (cells: Int32Array) => {
      Atomics.store(cells, 1, 1);
      while (Atomics.load(cells, 1) !== 2) {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }, [cells]);
    await reached(cells, 1, 1);
    const controller = new AbortController();
    const count = (cells: Int32Array) => Atomics.add(cells, 0, 1);
    const aborted = outcomes([
      pool.apply(count, [cells], { signal: controller.signal }),
      pool.map(count, [cells, cells], { signal: controller.signal }),
    ]);
    const kept = pool.map(count, [cells, cells], { chunkSize: 1 });
    controller.abort();
    assertEquals(await aborted, ["AbortError", "AbortError"]);
    Atomics.store(cells, 1, 2);
    await gate;
    assertEquals(await kept, [0, 1]);
    assertEquals(cells[0], 2);
  });

  test(`${name} runs what waits behind a call that is aborted at once`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const controller = new AbortController();
    const { signal } = controller;
    const calls = [
      pool.apply(double, [1], { signal }),
      pool.apply(double, [2]),
    ];
    controller.abort();
    assertEquals(await outcomes(calls), ["AbortError", 4]);
  });

  test(`${name} leaves no listener on a signal`, { timeout }, async () => {
    await using pool = new Pool(2);
    const watched = new WatchedSignal();
    const { signal } = watched;
    const fail = (): number => {
      throw new Error("failed");
    };
    await pool.apply(double, [1], { signal, timeout: 1e6 });
    await pool.map(double, [1, 2], { signal, timeout: 1e6 });
    await outcomes([pool.apply(fail, [], { signal })]);
    await outcomes([pool.map(fail, [1], { signal })]);
    await outcomes([pool.apply(never, [], { signal, timeout: 5 })]);
    for await (const _ of pool.imap(double, [1, 2], { signal }));
    for await (const _ of pool.imap(double, [1, 2], { signal })) break;
    await outcomes([pool.imap(fail, [1], { signal }).next()]);
    assert(watched.added >= 8);
    assertEquals(watched.listeners, 0);
  });
}

test("ProcessPool stops a stuck call and replaces its worker", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const cells = sharedCells();
  const controller = new AbortController();
  const stuck = pool.apply(beginAndWait, [cells], {
    signal: controller.signal,
  });
  const behind = [pool.apply(double, [1]), pool.map(double, [1, 2])];
  const all = outcomes([stuck, ...behind]);
  await reached(cells, 0, 1);
  controller.abort();
  assertEquals(await all, ["AbortError", 2, [2, 4]]);
  assertEquals(pool.stats().respawned, 1);
  await until(() => pool.stats().abandoned === 0); // it was not busy
});

test("ProcessPool ends a loop by its timeout, and the worker is back", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  await pool.map(double, [1, 2]);
  for (let i = 0; i < 3; i++) {
    const cells = sharedCells(2);
    const others = Array.from({ length: 20 }, () => pool.apply(double, [2]));
    const limits = { timeout: 80 };
    await assertTimesOut(() => pool.apply(beginAndSpin, [cells], limits), 80);
    assertEquals(await Promise.all(others), others.map(() => 4));
    await assertTimesOut(() => pool.map(spin, [1], { timeout: 50 }), 50);
    for (const method of ["imap", "imapUnordered"] as const) {
      await assertTimesOut(
        () => pool[method](spin, [1], { timeout: 50 }).next(),
        50,
      );
    }
    await assertTimesOut(
      () =>
        pool.apply(
          (cells: Int32Array) =>
            void Atomics.wait(cells, 0, Atomics.load(cells, 0)),
          [cells],
          { timeout: 50 },
        ),
      50,
    );
    // All workers are there again.
    const meet = sharedCells();
    await pool.map(
      (cells: Int32Array) => {
        Atomics.add(cells, 0, 1);
        Atomics.notify(cells, 0);
        for (let n; (n = Atomics.load(cells, 0)) < 2;) {
          Atomics.wait(cells, 0, n);
        }
      },
      [meet, meet],
      { chunkSize: 1 },
    );
  }
  assertEquals(pool.stats().abandoned, 0);
  if (abandonsBusyThreads) assertEquals(pool.stats().respawned, 0);
  assertEquals(pool.stats().failed, 15);
});

test("ProcessPool stops all of a map of which a worker ran late", {
  timeout,
}, async () => {
  const pool = new ProcessPool(2);
  await started(pool);
  const cells = sharedCells(2);
  const hold = (n: number, cells: Int32Array) => {
    Atomics.add(cells, 0, 1);
    return n === 0
      ? new Promise<never>(() => {})
      : void Atomics.wait(cells, 1, 0, 1_300);
  };
  const mapping = outcomes([
    pool.starmap(hold, [[0, cells], [1, cells], [2, cells]], {
      chunkSize: 1,
      timeout: 1_000,
    }),
  ]);
  await reached(cells, 0, 2);
  const end = Date.now() + 1_800;
  while (Date.now() < end); // the worker tells of it before this thread's timer
  assertEquals(await mapping, ["TimeoutError"]);
  await until(() => pool.stats().busy === 0);
  pool.close();
  await pool.join();
});

test("ProcessPool.imapUnordered() gives a long item the time of no other", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  await started(pool);
  const work = (n: number) => {
    if (n > 0) return new Promise<number>((it) => setTimeout(it, 25, n));
    const end = Date.now() + 2_500;
    while (Date.now() < end);
    return n;
  };
  const items = Array.from({ length: 120 }, (_, n) => n);
  const results: number[] = [];
  for await (const n of pool.imapUnordered(work, items, { timeout: 1_500 })) {
    results.push(n);
  }
  assertEquals(results.sort((a, b) => a - b), items);
});

for (const Pool of POOLS) {
  test(
    `${Pool.name}.imapUnordered() gives no chunk the time of who is served`,
    {
      timeout,
    },
    async () => {
      await using pool = new Pool(1);
      const gate = new Event();
      const work = async ({ n, gate }: { n: number; gate: Event }) => {
        if (n === 5) await gate.wait();
        return n;
      };
      const items = [1, 2, 3, 4, 5].map((n) => ({ n, gate }));
      const results = pool.imapUnordered(work, items, { timeout: 500 });
      assertEquals((await results.next()).value, 1);
      await until(() => pool.stats().completed === 4);
      // The fifth item is read as the second result is asked for, which is there.
      const began = performance.now();
      assertEquals((await results.next()).value, 2);
      await until(() => performance.now() > began + 550);
      gate.set();
      await until(() => pool.stats().completed + pool.stats().failed === 5);
      for (const n of [3, 4, 5]) {
        assertEquals(await results.next(), { done: false, value: n });
      }
    },
  );
}

test("ProcessPool stops what a call goes on with after an await", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const cells = sharedCells(2);
  const spinLater = async (cells: Int32Array) => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    while (Atomics.load(cells, 1) === 0);
  };
  await assertTimesOut(
    () => pool.apply(spinLater, [cells], { timeout: 120 }),
    120,
  );
  assertEquals(await pool.apply(double, [1]), 2);
  release(cells);
});

test("ProcessPool abandons a loop that a signal stops, where it must", {
  timeout,
}, async () => {
  const pool = new ProcessPool(1);
  const cells = sharedCells(2);
  const controller = new AbortController();
  const { signal } = controller;
  const call = outcomes([pool.apply(beginAndSpin, [cells], { signal })]);
  await reached(cells, 0, 1);
  controller.abort();
  assertEquals(await call, ["AbortError"]);
  const abandoned = abandonsBusyThreads ? 1 : 0;
  assertEquals(pool.stats().abandoned, abandoned);
  assertEquals(await pool.apply(double, [1]), 2);
  assertEquals(pool.stats().abandoned, abandoned);

  const loop = outcomes([pool.apply(beginAndSpin, [cells])]);
  await reached(cells, 0, 2);
  pool.terminate();
  assertEquals(await loop, ["PoolClosedError"]);
  await pool.join();
  assertEquals(pool.stats().abandoned, 2 * abandoned);
  release(cells);
});

test("An abort does not wait for the start of another worker", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const cells = sharedCells(2);
  const controller = new AbortController();
  const { signal } = controller;
  const stopped = outcomes([pool.apply(beginAndSpin, [cells], { signal })]);
  await reached(cells, 0, 1);
  const waiting = pool.apply(double, [2]);
  const { made, stop } = watchSharedMemory();
  const hasRing = () =>
    // as a worker comes with one
    made.some(({ byteLength }) => byteLength === travel.sizes.calls);
  try {
    controller.abort();
    assert(!hasRing());
    assertEquals(await stopped, ["AbortError"]);
    assert(!hasRing());
    assertEquals(await waiting, 4);
    assert(hasRing(), "there is no other worker");
  } finally {
    stop();
    release(cells);
  }
});

for (const Pool of POOLS) {
  const { name } = Pool;
  /** Works for some milliseconds, without a wait. */
  const work = (ms: number) => {
    const end = performance.now() + ms;
    while (performance.now() < end);
    return ms;
  };

  test(`${name}.map() ends on time though no call waits for anything`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const items = Array(5000).fill(2);
    const call = () => pool.map(work, items, { chunkSize: 1, timeout: 30 });
    await assertTimesOut(call, 30);
    const controller = new AbortController();
    const { signal } = controller;
    const calls = items.map((ms) => pool.apply(work, [ms], { signal }));
    setTimeout(() => controller.abort(), 30);
    const ends = await outcomes(calls);
    assertEquals(ends.at(-1), "AbortError");
  });

  test(`${name}.imap() ends though neither source nor calls wait`, {
    timeout,
  }, async () => {
    const pool = new Pool(2);
    function* naturals() {
      const end = performance.now() + timeout;
      for (let n = 0; performance.now() < end; n++) yield n;
    }
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 30);
    const aborted = pool.imap(double, naturals(), {
      signal: controller.signal,
    });
    assertEquals((await drained(aborted)).error, controller.signal.reason);
    setTimeout(() => pool.terminate(), 30);
    const { error } = await drained(pool.imapUnordered(double, naturals()));
    assertEquals((error as Error | undefined)?.name, "PoolClosedError");
    await pool.join();
  });

  test(`${name} ends on time though its endless source never waits`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    for (const chunkSize of [1, 1000, 1_000_000_000]) {
      let closed = 0;
      const naturals = async function* () {
        try {
          const end = performance.now() + timeout;
          for (let n = 0; performance.now() < end; n++) yield n;
        } finally {
          closed++;
        }
      };
      const options = { chunkSize, timeout: 30 };
      await assertTimesOut(() => pool.map(double, naturals(), options), 30);
      await until(() => closed === 1);
      if (chunkSize < 1_000_000) continue; // its first chunk is read in time
      const results = pool.imap(double, naturals(), options);
      await assertTimesOut(() => results.next(), 30);
      await until(() => closed === 2);
    }
  });
}

test("A worker that was stopped tells nothing by a port that it has", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const cells = sharedCells(2);
  const controller = new AbortController();
  const { port1, port2 } = new MessageChannel();
  const heard: unknown[] = [];
  port1.onmessage = ({ data }) => heard.push(data);
  const call = pool.apply(
    (port: MessagePort, cells: Int32Array) => {
      port.postMessage("begun");
      Atomics.store(cells, 0, 1);
      while (Atomics.load(cells, 1) === 0);
      for (;;) port.postMessage("late");
    },
    [port2, cells],
    { transfer: [port2], signal: controller.signal },
  );
  const ends = outcomes([call]);
  await reached(cells, 0, 1);
  await until(() => heard.length === 1);
  controller.abort();
  assertEquals(await ends, ["AbortError"]);
  Atomics.store(cells, 1, 1);
  // What it posts would be here before another worker has answered.
  assertEquals(await pool.apply(double, [1]), 2);
  for (let i = 0; i < 50; i++) {
    await new Promise<void>((resolve) => nextTurn(resolve));
  }
  assertEquals(heard, ["begun"]);
  port1.close();
});

test("Workers that nobody needs yet are not started by a waitSync()", {
  timeout,
}, async () => {
  const pool = new ProcessPool(2);
  const cells = sharedCells(2);
  const controller = new AbortController();
  const { signal } = controller;
  const stopped = [1, 2].map(() =>
    pool.apply(beginAndSpin, [cells], { signal })
  );
  const ends = outcomes(stopped);
  await reached(cells, 0, 2);
  const event = new Event();
  const { made, stop } = watchSharedMemory();
  try {
    controller.abort();
    assertEquals(pool.stats().respawned, 2);
    if (mayBlock) assert(!event.waitSync({ timeout: 1 }));
    const rings = made.filter(({ byteLength }) =>
      byteLength === travel.sizes.calls // a worker comes with one
    );
    assertEquals(rings.length, 0);
  } finally {
    stop();
    release(cells);
  }
  assertEquals(await ends, ["AbortError", "AbortError"]);
  assertEquals(await pool.apply(double, [2]), 4);
  pool.terminate();
  await pool.join();
});

/** The last answers of a worker that ends are on their way until they are let go. */
function holdLastAnswers() {
  const { settled } = SharedChannel.prototype;
  const noticed = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  SharedChannel.prototype.settled = function () {
    noticed.resolve();
    return arrived.promise;
  };
  return {
    /** The pool waits for them. */
    noticed: noticed.promise,
    letGo: arrived.resolve,
    [Symbol.dispose]: () => void (SharedChannel.prototype.settled = settled),
  };
}

test(
  "A call that a waitSync() waits for begins though a worker has just died",
  {
    timeout: 60_000,
  },
  async () => {
    const pool = new ProcessPool(2);
    const cells = sharedCells(2);
    const controller = new AbortController();
    const { signal } = controller;
    const stopped = outcomes([pool.apply(beginAndSpin, [cells], { signal })]);
    await reached(cells, 0, 1);
    // The other one ends while idle, and its last answer is long on its way.
    using last = holdLastAnswers();
    try {
      await pool.apply(() => void setTimeout(() => self.close()));
      await last.noticed;
      controller.abort();
      const event = new Event();
      const call = pool.apply((event: Event) => event.set(), [event]);
      assert(event.waitSync({ timeout }));
      last.letGo();
      await call;
    } finally {
      release(cells);
    }
    assertEquals(await stopped, ["AbortError"]);
    pool.terminate();
    await pool.join();
  },
);

test("A call begins though a worker has just died that had to run it", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  using last = holdLastAnswers();
  const dies = outcomes([
    pool.apply(() => {
      self.close();
      return new Promise(() => {});
    }),
  ]);
  const behind = pool.apply(double, [1]);
  await last.noticed;
  const event = new Event();
  const call = pool.apply((event: Event) => event.set(), [event]);
  assert(event.waitSync({ timeout }));
  last.letGo();
  assertEquals(await dies, ["WorkerExitError"]);
  assertEquals(await behind, 2);
  await call;
  assertEquals(pool.stats().respawned, 1);
});

test("Of calls that are given up one by one the others are not sent again", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const gates = [new Event(), new Event()];
  const long = gates.map((gate) =>
    pool.apply((gate: Event) => gate.wait(), [gate])
  );
  await until(() => pool.stats().busy === 2);
  const COUNT = 1000;
  const controllers = Array.from(
    { length: COUNT },
    () => new AbortController(),
  );
  const calls = controllers.map(({ signal }, i) =>
    pool.apply(double, [i], { signal })
  );
  const ends = outcomes(calls);
  let sent = 0;
  const { send } = SharedChannel.prototype;
  SharedChannel.prototype.send = function (call, isOnly) {
    sent++;
    return send.call(this, call, isOnly);
  };
  try {
    for (const controller of controllers.slice(1)) controller.abort();
    assertEquals(pool.stats().queued, 1);
    for (const gate of gates) gate.set();
    await Promise.all(long);
    assertEquals(await ends, [0, ...Array(COUNT - 1).fill("AbortError")]);
    assert(sent <= 2 * COUNT, `${sent}`);
  } finally {
    SharedChannel.prototype.send = send;
  }
});

if (abandonsBusyThreads) {
  test("What ends as its time runs out waits for the watchdog", {
    timeout,
  }, () => {
    let waited = 0;
    for (let n = 0; n < 20; n++) {
      const before = performance.now();
      const result = runWithin(10, () => {
        const begun = performance.now(); // the first time that is much later
        while (performance.now() < begun + 9);
        return n;
      });
      if (result === undefined) continue; // the thread had no core for a moment
      waited++;
      assertEquals(result, { value: n });
      assert(performance.now() >= before + 10);
    }
    assert(waited > 0);
  });

  test("A worker lives on though a call has caught what its watchdog did", {
    timeout,
  }, async () => {
    await using pool = new ProcessPool(1);
    await started(pool);
    // In the midst of a clone, Deno makes an error of it.
    const clone = () => {
      const end = performance.now() + 60;
      while (performance.now() < end) {
        try {
          structuredClone({ a: [1, 2, 3] });
        } catch {
          // It is used up now.
        }
      }
    };
    for (let i = 0; i < 40; i++) {
      await assertTimesOut(() => pool.apply(clone, [], { timeout: 30 }), 30);
      assertEquals(await pool.apply(double, [1]), 2);
    }
    assertEquals(pool.stats().abandoned, 0);
    assertEquals(pool.stats().respawned, 0);
  });

  test("A watchdog that strikes as a wait begins leaves no event deaf", {
    timeout,
  }, async () => {
    const events = Array.from({ length: 3000 }, () => new Event());
    await using pool = new ProcessPool(1, {
      initializer: (events: Event[]) => {
        Object.assign(globalThis, { events });
      },
      initargs: [events],
    });
    const endless = () => {
      const { events } = globalThis as unknown as { events: Event[] };
      for (;;) for (const event of events) void event.wait();
    };
    const waitForAll = async (begun: Int32Array) => {
      const { events } = globalThis as unknown as { events: Event[] };
      const waits = events.map((event) => event.wait({ timeout: 10_000 }));
      Atomics.store(begun, 0, 1);
      return (await Promise.all(waits)).every((isSet) => isSet);
    };
    for (let strike = 0; strike < 12; strike++) {
      const limits = { timeout: 2 + strike % 4 };
      await assertTimesOut(() => pool.apply(endless, [], limits));
      const begun = sharedCells();
      const areSet = pool.apply(waitForAll, [begun]);
      await reached(begun, 0, 1);
      for (const event of events) event.set();
      assert(await areSet, `strike ${strike}`);
      for (const event of events) event.clear();
    }
  });

  test("A watchdog that strikes beside calls of a ThreadPool ends its thread", {
    timeout,
  }, async () => {
    await using pool = new ProcessPool(1);
    // With too little time its module is not loaded, and it does not begin.
    for (let time = 50; pool.stats().respawned === 0; time *= 2) {
      await assertTimesOut(() =>
        pool.apply(leaveCallAndSpin, [], { timeout: time })
      );
      assertEquals(await pool.apply(double, [1]), 2); // by a successor
    }
  });

  test("A worker that writes its answer as its time runs out goes on", {
    timeout,
  }, async () => {
    await using pool = new ProcessPool(1);
    await started(pool);
    const cells = sharedCells(2);
    const slow = (cells: Int32Array) => ({
      get value() {
        Atomics.store(cells, 0, 1);
        return Atomics.wait(cells, 1, 0);
      },
    });
    const limits = { timeout: 300 };
    await assertTimesOut(() => pool.apply(slow, [cells], limits), 300);
    await reached(cells, 0, 1); // the function has returned
    // Timers go off in order: before this one the pool has looked at the worker.
    await new Promise((resolve) => setTimeout(resolve, 50));
    release(cells);
    Atomics.notify(cells, 1);
    assertEquals(await pool.apply(double, [1]), 2);
    assertEquals(pool.stats().respawned, 0);
  });
}

test("ProcessPool replaces a worker whose time runs out in its exit", {
  timeout,
}, async () => {
  const pool = new ProcessPool(1);
  await started(pool);
  const exitSlowly = () => {
    // deno-lint-ignore no-explicit-any
    const { process } = globalThis as any;
    process?.on("exit", () => {
      const end = performance.now() + 400;
      while (performance.now() < end);
    });
    process ? process.exit(0) : self.close();
  };
  for (let i = 1; i <= 3; i++) {
    const call = pool.apply(exitSlowly, [], { timeout: 100 });
    const [end] = await outcomes([call]);
    assert(end === "TimeoutError" || end === "WorkerExitError");
    assertEquals(await pool.apply(double, [i]), 2 * i);
    assertEquals(pool.stats().respawned, i);
  }
  pool.close();
  await pool.join();
});

test("A call under a watchdog runs once, whatever other calls do", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const cells = sharedCells();
  const add = (cells: Int32Array) => void Atomics.add(cells, 0, 1);
  const limited = { timeout: 10_000 };
  await pool.apply(add, [cells], limited);
  await pool.apply(() => {
    // deno-lint-ignore no-explicit-any
    const scope = globalThis as any;
    for (const key of Object.getOwnPropertySymbols(scope)) {
      try {
        scope[key]();
      } catch {
        // Most are no functions.
      }
    }
  });
  assertEquals(cells[0], 1);
  await pool.apply(
    () => void Object.preventExtensions(globalThis),
    [],
    limited,
  );
  await pool.apply(add, [cells], limited);
  assertEquals(cells[0], 2);
});

test("ThreadPool begins no other item of a call that was given up", {
  timeout,
}, async () => {
  for (const end of ["abort", "terminate"]) {
    for (const isAsync of [true, false]) {
      const pool = new ThreadPool(1);
      const controller = new AbortController();
      const { signal } = controller;
      let begun = 0;
      const item = () => {
        begun++;
        if (end === "abort") controller.abort();
        else pool.terminate();
        return isAsync ? Promise.resolve() : undefined;
      };
      const mapping = pool.map(item, [1, 2, 3], { chunkSize: 3, signal });
      const error = end === "abort" ? "AbortError" : "PoolClosedError";
      assertEquals(await outcomes([mapping]), [error]);
      await new Promise<void>((resolve) => setTimeout(resolve));
      assertEquals(begun, 1, end);
      assertEquals(pool.stats().busy, 0);
      pool.terminate();
      await pool.join();
    }
  }
});

test("ThreadPool keeps the place of a call that timed out", {
  timeout,
}, async () => {
  const pool = new ThreadPool(1);
  let release = (_: number) => {};
  const slow = () => new Promise<number>((resolve) => release = resolve);
  await assertTimesOut(() => pool.apply(slow, [], { timeout: 20 }), 20);
  assertEquals(pool.stats().busy, 1);
  await assertTimesOut(() => pool.apply(double, [1], { timeout: 20 }), 20);
  release(1);
  assertEquals(await pool.apply(double, [1]), 2);
  assertEquals(pool.stats().busy, 0);
  await assertTimesOut(() => pool.apply(slow, [], { timeout: 5 }), 5);
  pool.close();
  await pool.join(); // does not wait for it
});

test("An abort stops no worker that has answered", { timeout }, async () => {
  await using pool = new ProcessPool(1);
  const answered = new Int32Array(new SharedArrayBuffer(4));
  const answer = (answered: Int32Array) => {
    // In a later turn, when the answer was posted.
    setTimeout(() => Atomics.add(answered, 0, 1), 1);
    return new Map([[1, 2]]);
  };
  await pool.apply(answer, [answered]); // no page may block before a worker is up
  await reached(answered, 0, 1);
  const controller = new AbortController();
  const { signal } = controller;
  const call = pool.apply(answer, [answered], { signal });
  const end = performance.now() + 10_000;
  while (Atomics.load(answered, 0) === 1) { // this thread reads no message
    assert(performance.now() < end, "the call was never answered");
  }
  assertEquals(pool.stats().busy, 0);
  controller.abort();
  const [result] = await Promise.allSettled([call]);
  assertEquals(result!.status, "rejected");
  await pool.apply(() => {});
  assertEquals(pool.stats().respawned, 0);
});

test("A pool may end while an abort waits for answers of its worker", {
  timeout,
}, async () => {
  const pool = new ProcessPool(1);
  await pool.apply(double, [1]);
  const cells = sharedCells(2);
  const controller = new AbortController();
  const { signal } = controller;
  const all = outcomes([
    pool.apply(() => new Map()), // answered by a message
    pool.apply(beginAndSpin, [cells], { signal }),
    pool.apply(double, [2]),
  ]);
  const end = performance.now() + 10_000;
  while (Atomics.load(cells, 0) === 0) { // this thread reads no message
    assert(performance.now() < end, "the call never began");
  }
  controller.abort();
  pool.terminate();
  release(cells);
  assertEquals(await all, ["PoolClosedError", "AbortError", "PoolClosedError"]);
  await pool.join();
});

test("A clock that a test has replaced makes no call late", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const { now } = Date;
  Date.now = () => 0;
  try {
    assertEquals(await pool.apply(double, [1], { timeout: 10_000 }), 2);
    assertEquals(await pool.map(double, [1], { timeout: 10_000 }), [2]);
  } finally {
    Date.now = now;
  }
});

test(
  "A call that is interrupted in a pool of its worker's own leaves none that hangs",
  {
    timeout: 60_000,
  },
  async () => {
    await using pool = new ProcessPool(1);
    for (let round = 0; round < 5; round++) {
      assertEquals(await pool.apply(askInner, [1]), -1);
      const flood = pool.apply(floodInner, [], { timeout: 10 });
      assertEquals(await outcomes([flood]), ["TimeoutError"]);
    }
    assertEquals(await pool.apply(askInner, [1], { timeout: 20_000 }), -1);
  },
);

test(
  "A worker that is to end after a call that was interrupted answers first",
  {
    timeout: 60_000,
  },
  async () => {
    await using pool = new ProcessPool(1);
    assertEquals(await pool.apply(askInner, [1]), -1); // it has a child
    const long = (n: number) => "x".repeat(n); // no room for a fifth answer
    const calls: Promise<unknown>[] = [30_000, 30_000, 30_000, 30_000]
      .map((n) => pool.apply(long, [n]));
    const limit = 200;
    const stuck = pool.apply(spin, [], { timeout: limit });
    const began = performance.now();
    while (performance.now() - began < 2 * limit); // nobody reads the answers
    assertEquals(await outcomes([stuck]), ["TimeoutError"]);
    assertEquals((await Promise.all(calls)).length, 4);
  },
);
