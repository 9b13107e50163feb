import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import {
  Barrier,
  BrokenBarrierError,
  Event,
  Process,
  ProcessPool,
  task,
} from "../mod.ts";
import { BarrierState } from "../_internal/barrier_state.ts";
import { realm } from "../_internal/realm.ts";
import { until } from "./_pools.ts";
import { joinAll, startAll } from "./_processes.ts";
import { WatchedSignal } from "./_watched_signal.ts";
import type { passBarrier } from "./testdata/tasks.ts";

const timeout = 20_000;

// deno-lint-ignore no-explicit-any
type Any = any;

/** What became of waits: an index, or the name of an error. */
function outcomes(waits: Promise<number>[]): Promise<(number | string)[]> {
  return Promise.all(waits.map((it) => it.catch((error) => error.name)));
}

test("Barrier.wait() resolves to the arrival index, each once a cycle", {
  timeout,
}, async () => {
  const barrier = new Barrier(3);
  assertEquals(barrier.parties, 3);
  for (let cycle = 0; cycle < 3; cycle++) {
    assertEquals(barrier.nWaiting, 0);
    const first = barrier.wait();
    assertEquals(barrier.nWaiting, 1);
    const second = barrier.wait({ timeout: 10_000 });
    assertEquals(barrier.nWaiting, 2);
    const third = barrier.wait({ timeout: 0 }); // it is done with its arrival
    assertEquals(barrier.nWaiting, 0);
    assertEquals(await Promise.all([first, second, third]), [0, 1, 2]);
    assertFalse(barrier.broken);
  }
});

test("Barrier of one party never waits", { timeout }, async () => {
  let runs = 0;
  const barrier = new Barrier(1, { action: () => ++runs });
  assertEquals(await barrier.wait(), 0);
  assertEquals(await barrier.wait({ timeout: 0 }), 0);
  assertEquals(barrier.waitSync({ timeout: 0 }), 0);
  assertEquals(runs, 3);
});

test("Barrier.wait() with no time gives up before it returns", {
  timeout,
}, async () => {
  const barrier = new Barrier(2);
  const waits = [barrier.wait({ timeout: 0 }), barrier.wait()];
  assert(barrier.broken);
  assertEquals(await outcomes(waits), ["TimeoutError", "BrokenBarrierError"]);
  barrier.reset();
  const others = [barrier.wait({ timeout: 0 })];
  barrier.reset();
  assertEquals(await outcomes(others), ["TimeoutError"]);
  // Outside, while the action of the cycle before runs.
  const [begun, go] = [new Event(), new Event()];
  const action = async () => {
    begun.set();
    await go.wait();
  };
  const acting = new Barrier(1, { action });
  const first = acting.wait();
  await begun.wait();
  const late = [acting.wait({ timeout: 0 })];
  go.set();
  assertEquals(await outcomes(late), ["TimeoutError"]);
  assertEquals(await first, 0);
  assert(acting.broken);
});

test("Barrier() throws for a bad argument", { timeout }, () => {
  for (const parties of [0, -1, 1.5, NaN, Infinity, 2 ** 53, "2", undefined]) {
    assertThrows(
      () => new Barrier(parties as number),
      RangeError,
      "Cannot create barrier as parties must be a positive integer: received",
    );
  }
  for (const timeout of [-1, -Infinity, NaN]) {
    assertThrows(() => new Barrier(2, { timeout }), RangeError, "timeout");
  }
  for (const action of [null, 1, "text", {}]) {
    assertThrows(
      () => new Barrier(2, { action: action as unknown as () => void }),
      TypeError,
      "action must be a function",
    );
  }
});

test("Barrier.wait() rejects a bad timeout and does not arrive", {
  timeout,
}, async () => {
  const barrier = new Barrier(2);
  for (const timeout of [-1, -0.5, -Infinity, NaN]) {
    const waiting = barrier.wait({ timeout });
    await assertRejects(() => waiting, RangeError, "Cannot wait at barrier");
    assertThrows(() => barrier.waitSync({ timeout }), RangeError);
  }
  assertEquals(barrier.nWaiting, 0);
  assertFalse(barrier.broken);
});

test(
  "Barrier.wait() takes a timeout past the platform's limit for no timeout",
  {
    timeout,
  },
  async () => {
    for (const timeout of [Infinity, 2 ** 31, Number.MAX_VALUE]) {
      for (const barrier of [new Barrier(2), new Barrier(2, { timeout })]) {
        const waiting = barrier.wait({ timeout });
        const other = delay(10).then(() => barrier.wait());
        assertEquals(await Promise.all([waiting, other]), [0, 1]);
      }
    }
  },
);

test("Barrier.wait() that times out breaks the barrier", {
  timeout,
}, async () => {
  for (const timeout of [0, 1, 20]) {
    const barrier = new Barrier(3);
    const others = [barrier.wait(), barrier.wait()];
    await assertRejects(
      () => new Barrier(2, { timeout }).wait(),
      DOMException,
      `within ${timeout} ms`,
    );
    barrier.reset();
    assertEquals(await outcomes(others), Array(2).fill("BrokenBarrierError"));
    const waiting = barrier.wait();
    const error = await assertRejects(
      () => barrier.wait({ timeout }),
      DOMException,
    );
    assertEquals(error.name, "TimeoutError");
    assert(barrier.broken);
    assertEquals(barrier.nWaiting, 0);
    assertEquals(await outcomes([waiting, barrier.wait(), barrier.wait()]), [
      "BrokenBarrierError",
      "BrokenBarrierError",
      "BrokenBarrierError",
    ]);
    assertThrows(() => barrier.waitSync(), BrokenBarrierError);
    barrier.reset();
    assertFalse(barrier.broken);
    assertEquals(
      await outcomes([barrier.wait(), barrier.wait(), barrier.wait()]),
      [0, 1, 2],
    );
  }
});

test("Barrier.waitSync() that times out breaks the barrier", {
  timeout,
}, async () => {
  for (const timeout of [0, 1, 20]) {
    const barrier = new Barrier(2, { timeout });
    const began = performance.now();
    const error = assertThrows(() => barrier.waitSync(), DOMException);
    assertEquals(error.name, "TimeoutError");
    assert(performance.now() - began >= timeout - 1.5);
    assert(barrier.broken);
    await assertRejects(() => barrier.wait(), BrokenBarrierError);
  }
});

test("Barrier's timeout is the default of wait()", { timeout }, async () => {
  const barrier = new Barrier(2, { timeout: 5 });
  const error = await assertRejects(() => barrier.wait(), DOMException);
  assertEquals(error.name, "TimeoutError");
  barrier.reset();
  const waiting = barrier.wait({ timeout: Infinity });
  await delay(30);
  assertEquals(await barrier.wait(), 1);
  assertEquals(await waiting, 0);
});

test("Barrier is broken as soon as the signal of a party aborts", {
  timeout,
}, async () => {
  const barrier = new Barrier(2);
  const controller = new AbortController();
  const reason = new Error("no more");
  const waiting = barrier.wait({ signal: controller.signal });
  controller.abort(reason);
  assert(barrier.broken);
  const late = barrier.wait(); // it would have been the last to arrive
  await assertRejects(() => late, BrokenBarrierError);
  assertStrictEquals(await assertRejects(() => waiting, Error), reason);
});

test("Barrier.wait() with a signal aborted before does not arrive", {
  timeout,
}, async () => {
  const reason = new Error("no more");
  const signal = AbortSignal.abort(reason);
  const barrier = new Barrier(2);
  const error = await assertRejects(() => barrier.wait({ signal }), Error);
  assertStrictEquals(error, reason);
  assertEquals(barrier.nWaiting, 0);
  assertFalse(barrier.broken);
  const waiting = barrier.wait();
  await barrier.wait({ signal }).catch(() => {});
  assertEquals(barrier.nWaiting, 1);
  assertEquals(await barrier.wait(), 1);
  assertEquals(await waiting, 0);
  barrier.abort();
  const again = await assertRejects(() => barrier.wait({ signal }), Error);
  assertStrictEquals(again, reason);
});

test("Barrier.wait() whose signal aborts breaks the barrier", {
  timeout,
}, async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const barrier = new Barrier(3);
  const waiting = barrier.wait();
  const aborted = barrier.wait({ signal, timeout: 10_000 });
  const reason = { why: "no more" };
  controller.abort(reason);
  assertStrictEquals(await aborted.catch((it) => it), reason);
  assert(barrier.broken);
  await assertRejects(() => waiting, BrokenBarrierError);
});

test(
  "Barrier.wait() passes although its signal aborts after the last arrival",
  {
    timeout,
  },
  async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const gate = Promise.withResolvers<void>();
    const barrier = new Barrier(2, { action: () => gate.promise });
    const waits = [
      barrier.wait({ signal, timeout: 5 }),
      barrier.wait({ signal, timeout: 5 }),
    ];
    controller.abort("too late");
    await delay(20); // and so are the timeouts
    assertFalse(barrier.broken);
    gate.resolve();
    assertEquals(await outcomes(waits), [0, 1]);
  },
);

test("Barrier.wait() leaves no listener on its signal", {
  timeout,
}, async () => {
  const watched = new WatchedSignal();
  const { signal } = watched;
  const barrier = new Barrier(2);
  await Promise.all([barrier.wait({ signal }), barrier.wait({ signal })]);
  assertEquals(watched.listeners, 0);
  await outcomes([barrier.wait({ signal, timeout: 1 })]);
  assertEquals(watched.listeners, 0);
  await outcomes([barrier.wait({ signal })]); // broken
  barrier.reset();
  let waits = [barrier.wait({ signal })];
  barrier.reset();
  await outcomes(waits);
  waits = [barrier.wait({ signal })];
  barrier.abort();
  await outcomes(waits);
  assertEquals(watched.listeners, 0);
  barrier.reset();
  waits = [barrier.wait({ signal })];
  assertEquals(watched.listeners, 1);
  watched.abort("aborted");
  await outcomes(waits);
  assertEquals(watched.listeners, 0);
});

test("Barrier.wait() rejects all who have a signal with its reason", {
  timeout,
}, async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const barrier = new Barrier(4);
  const without = barrier.wait();
  const waits = [1, 2].map(() => barrier.wait({ signal }));
  const reason = new Error("all of them");
  controller.abort(reason);
  for (const wait of waits) {
    assertStrictEquals(await wait.catch((it) => it), reason);
  }
  await assertRejects(() => without, BrokenBarrierError);
});

test("Barrier.abort() rejects those who wait and those who come", {
  timeout,
}, async () => {
  const barrier = new Barrier(3);
  const waits = [barrier.wait(), barrier.wait()];
  assertFalse(barrier.broken);
  barrier.abort();
  barrier.abort();
  assert(barrier.broken);
  assertEquals(barrier.nWaiting, 0);
  const error = await assertRejects(() => waits[0]!, BrokenBarrierError);
  assertEquals(error.name, "BrokenBarrierError");
  assertInstanceOf(error, Error);
  await assertRejects(() => waits[1]!, BrokenBarrierError);
  await assertRejects(() => barrier.wait(), BrokenBarrierError);
  await assertRejects(() => barrier.wait({ timeout: 0 }), BrokenBarrierError);
  assertThrows(() => barrier.waitSync(), BrokenBarrierError);
});

test("Barrier.abort() breaks a barrier at which nobody waits", {
  timeout,
}, async () => {
  const barrier = new Barrier(1);
  barrier.abort();
  assert(barrier.broken);
  await assertRejects(() => barrier.wait(), BrokenBarrierError);
  barrier.reset();
  assertEquals(await barrier.wait(), 0);
});

test("Barrier.reset() rejects those who wait and leaves the barrier usable", {
  timeout,
}, async () => {
  const barrier = new Barrier(3);
  barrier.reset(); // of a barrier that is empty, nothing
  assertFalse(barrier.broken);
  const waits = [barrier.wait(), barrier.wait()];
  barrier.reset();
  assertFalse(barrier.broken);
  assertEquals(barrier.nWaiting, 0);
  const next = [barrier.wait(), barrier.wait(), barrier.wait()];
  assertEquals(await outcomes(waits), Array(2).fill("BrokenBarrierError"));
  assertEquals(await outcomes(next), [0, 1, 2]);
});

test("Barrier.abort() and then reset() reject those who waited", {
  timeout,
}, async () => {
  const barrier = new Barrier(2);
  const waiting = barrier.wait();
  barrier.abort();
  barrier.reset();
  assertFalse(barrier.broken);
  const next = [barrier.wait(), barrier.wait()];
  await assertRejects(() => waiting, BrokenBarrierError);
  assertEquals(await outcomes(next), [0, 1]);
});

test("Barrier's action runs once a cycle, before anyone is released", {
  timeout,
}, async () => {
  let runs = 0;
  const released: number[] = [];
  let openAtAction = -1;
  const barrier = new Barrier(3, {
    action: async () => {
      openAtAction = released.length;
      await delay(5);
      assertEquals(barrier.nWaiting, 3);
      assertEquals(released.length, openAtAction);
      runs++;
    },
  });
  for (let cycle = 1; cycle <= 3; cycle++) {
    const waits = [0, 1, 2].map(() =>
      barrier.wait().then((index) => released.push(index))
    );
    await Promise.all(waits);
    assertEquals(runs, cycle);
    assertEquals(released.splice(0).sort(), [0, 1, 2]);
  }
});

test("Barrier's action that is over at once releases the others at once", {
  timeout,
}, async () => {
  const barrier = new Barrier(1, { action: () => {} });
  const waiting = barrier.wait();
  assertEquals(barrier.waitSync({ timeout: 0 }), 0);
  assertEquals(await waiting, 0);
  // Four in a row, none of whom comes too late for the cycle before.
  const two = new Barrier(2, { action: () => {} });
  const waits = [two.wait(), two.wait(), two.wait(), two.wait({ timeout: 0 })];
  assertEquals(await Promise.all(waits), [0, 1, 0, 1]);
});

test("Barrier's action is called without a receiver", { timeout }, async () => {
  const receivers: unknown[] = [];
  const barrier = new Barrier(1, {
    action: function (this: unknown) {
      receivers.push(this);
    },
  });
  await barrier.wait();
  assertEquals(receivers, [undefined]);
  barrier.waitSync();
  assertEquals(receivers, [undefined, undefined]);
});

test("Barrier.wait() whose time ends during the action is over with that", {
  timeout,
}, async () => {
  const acting = new Event();
  const barrier = new Barrier(2, {
    action: () => acting.wait().then(() => {}),
  });
  let over = false;
  const early = barrier.wait({ timeout: 20 }).finally(() => over = true);
  const last = barrier.wait();
  await delay(60);
  assertFalse(over);
  acting.set();
  assertEquals(await Promise.all([early, last]), [0, 1]);
});

test("Barrier's action that throws breaks it and rejects that party", {
  timeout,
}, async () => {
  const own = new Error("from the action");
  for (
    const action of [
      () => {
        throw own;
      },
      () => Promise.reject(own),
    ]
  ) {
    const barrier = new Barrier(2, { action });
    const waiting = barrier.wait();
    const error = await assertRejects(() => barrier.wait(), Error);
    assertStrictEquals(error, own);
    await assertRejects(() => waiting, BrokenBarrierError);
    assert(barrier.broken);
  }
  const barrier = new Barrier(1, {
    action: () => {
      throw own;
    },
  });
  const wait = () => barrier.waitSync();
  assertStrictEquals(assertThrows(wait, Error, own.message), own);
  assert(barrier.broken);
});

test("Barrier.waitSync() refuses an action that returns a promise", {
  timeout,
}, async () => {
  const barrier = new Barrier(2, { action: async () => {} });
  const waiting = barrier.wait();
  assertThrows(() => barrier.waitSync(), TypeError, "promise");
  assert(barrier.broken);
  await assertRejects(() => waiting, BrokenBarrierError);
});

test("Barrier.waitSync() refuses an action whose promise rejects", {
  timeout,
}, async () => {
  const barrier = new Barrier(1, { action: () => Promise.reject("unseen") });
  assertThrows(() => barrier.waitSync(), TypeError, "promise");
  await delay(5); // an unhandled rejection would end this program
});

test("Barrier.waitSync() says why an action that is a task is not found", {
  timeout,
}, async () => {
  const module = new URL("./testdata/nowhere.ts", import.meta.url);
  const action = task<() => void>(module, "act");
  await using pool = new ProcessPool(1);
  const waits = [
    (barrier: Barrier) => barrier.waitSync(),
    (barrier: Barrier) => barrier.wait(),
  ];
  for (const wait of waits) {
    const call = () => pool.apply(wait, [new Barrier(1, { action })]);
    const error = await assertRejects(call, Error);
    assertStringIncludes(error.message, module.href);
    assertStringIncludes(error.message, '"act"');
  }
});

test("Barrier.abort() and reset() win over an action that runs", {
  timeout,
}, async () => {
  for (const verb of ["abort", "reset"] as const) {
    const gate = Promise.withResolvers<void>();
    const barrier = new Barrier(2, { action: () => gate.promise });
    const waits = [barrier.wait(), barrier.wait()];
    barrier[verb]();
    assertEquals(barrier.broken, verb === "abort");
    await assertRejects(() => waits[0]!, BrokenBarrierError);
    gate.resolve();
    await assertRejects(() => waits[1]!, BrokenBarrierError);
    assertEquals(barrier.broken, verb === "abort");
    barrier.reset();
    assertEquals(await outcomes([barrier.wait(), barrier.wait()]), [0, 1]);
  }
});

test("Barrier.abort() and reset() reject the party whose action is not over", {
  timeout,
}, async () => {
  for (const verb of ["abort", "reset"] as const) {
    const action = Promise.withResolvers<void>();
    const barrier = new Barrier(2, { action: () => action.promise });
    const waits = [barrier.wait(), barrier.wait()];
    barrier[verb]();
    const broken = ["BrokenBarrierError", "BrokenBarrierError"];
    assertEquals(await outcomes(waits), broken);
    action.reject(new Error("nobody waits for this any more"));
    await delay(1);
    assertEquals([barrier.nWaiting, barrier.broken], [0, verb === "abort"]);
  }
});

test("Barrier lets those who come during an action into the next cycle", {
  timeout,
}, async () => {
  const gate = Promise.withResolvers<void>();
  const barrier = new Barrier(2, { action: () => gate.promise });
  const waits = [barrier.wait(), barrier.wait(), barrier.wait()];
  assertEquals(barrier.nWaiting, 2);
  gate.resolve();
  assertEquals(await outcomes(waits.slice(0, 2)), [0, 1]);
  assertEquals(await outcomes([barrier.wait(), waits[2]!]), [1, 0]);
});

test("Barrier breaks when one who came during an action gives up", {
  timeout,
}, async () => {
  const gate = Promise.withResolvers<void>();
  const barrier = new Barrier(2, { action: () => gate.promise });
  const waits = [barrier.wait(), barrier.wait()];
  const late = await assertRejects(
    () => barrier.wait({ timeout: 5 }),
    DOMException as unknown as typeof Error,
    "Cannot wait at barrier within 5 ms",
  );
  assertEquals(late.name, "TimeoutError");
  const controller = new AbortController();
  const aborted = barrier.wait({ signal: controller.signal });
  controller.abort(new Error("enough"));
  await assertRejects(() => aborted, Error, "enough");
  const blocked = new Process((barrier: Barrier) => {
    try {
      barrier.waitSync({ timeout: 5 });
    } catch (error) {
      if ((error as Error).name !== "TimeoutError") throw error;
    }
  }, { args: [barrier] });
  blocked.start();
  assertEquals(await blocked.join({ timeout: 10_000 }), 0);
  gate.resolve();
  assertEquals(await outcomes(waits), [0, 1]); // all had arrived
  assert(barrier.broken);
  barrier.reset();
  assertEquals(await outcomes([barrier.wait(), barrier.wait()]), [0, 1]);
});

test("Barrier breaks when one who came during an action gives up after it", {
  timeout,
}, async () => {
  const gate = Promise.withResolvers<void>();
  const barrier = new Barrier(2, { action: () => gate.promise });
  const parties = [barrier.wait(), barrier.wait()];
  const controller = new AbortController();
  const late = barrier.wait({ signal: controller.signal });
  gate.resolve();
  assertEquals(await Promise.all(parties), [0, 1]);
  controller.abort(new Error("too late"));
  await assertRejects(() => late, Error, "too late");
  assert(barrier.broken);
});

test("Barrier.wait() counts from the call of one who came during an action", {
  timeout,
}, async () => {
  const barrier = new Barrier(2, { action: () => delay(800) });
  const parties = [barrier.wait(), barrier.wait()];
  const start = performance.now();
  const late = barrier.wait({ timeout: 1000 });
  assertEquals(await outcomes(parties), [0, 1]);
  const acted = performance.now() - start;
  await assertRejects(() => late, DOMException as unknown as typeof Error);
  assert(performance.now() - start < acted + 1000 - 1);
});

test("Barrier with more waits than parties passes them in groups", {
  timeout,
}, async () => {
  const barrier = new Barrier(3);
  const waits = Array.from({ length: 300 }, () => barrier.wait());
  assertEquals(await Promise.all(waits), waits.map((_, i) => i % 3));
});

test("Barrier.wait() that wakes many cycles late knows how its own one ended", {
  timeout,
}, async () => {
  const barrier = new Barrier(2);
  const waits: Promise<number>[] = [];
  const expected: (number | string)[] = [];
  const pass = () => {
    waits.push(barrier.wait(), barrier.wait());
    expected.push(0, 1);
  };
  const reset = () => {
    waits.push(barrier.wait());
    expected.push("BrokenBarrierError");
    barrier.reset();
  };
  const abort = () => {
    waits.push(barrier.wait());
    expected.push("BrokenBarrierError");
    barrier.abort();
    waits.push(barrier.wait());
    expected.push("BrokenBarrierError");
    barrier.reset();
  };
  // All in one go: nobody can look before all of it has happened.
  for (let i = 0; i < 1000; i++) {
    [pass, reset, pass, abort][i * 7 % 4]!();
    if (i % 3 === 0) pass();
    if (i % 5 === 0) reset();
  }
  assertEquals(await outcomes(waits), expected);
});

test("Barrier.wait() of a blocked thread knows how its cycle ended", {
  timeout,
}, async () => {
  for (const good of [true, false]) {
    const barrier = new Barrier(2);
    const go = new Event();
    const done = new Event();
    const processes = startAll(
      async (barrier: Barrier, go: Event, done: Event, good: boolean) => {
        done.set();
        await go.wait();
        if (good) await barrier.wait();
        else barrier.reset();
        for (let i = 0; i < 1000; i++) {
          const waits = [barrier.wait(), barrier.wait()];
          await Promise.all(waits);
          const lost = barrier.wait().catch(() => {});
          barrier.reset();
          await lost;
        }
        barrier.abort();
        done.set();
      },
      [[barrier, go, done, good]],
    );
    const waiting = outcomes([barrier.wait()]);
    // A browser starts a worker while its parent does not block, and not before.
    assert(await done.wait({ timeout: 15_000 }));
    done.clear();
    go.set();
    assert(done.waitSync({ timeout: 15_000 }));
    assertEquals(await waiting, [good ? 0 : "BrokenBarrierError"]);
    assert(barrier.broken);
    await joinAll(processes);
  }
});

test("Barrier.wait() wakes those of the cycle before if its last party died", {
  timeout,
}, async () => {
  const barrier = new Barrier(2);
  const { cells } = realm.shared.get(barrier)!(barrier);
  let index: number | undefined;
  void barrier.wait().then((it) => index = it);
  // By one who died before it rang.
  assertEquals(new BarrierState(2, cells).arrive(false).kind, "passed");
  const waits = [barrier.wait()];
  await until(() => index === 0);
  waits.push(barrier.wait());
  assertEquals(await Promise.all(waits), [0, 1]);
});

test("Barrier's action is sent with it to the processes", {
  timeout,
}, async () => {
  const cells = new Int32Array(new SharedArrayBuffer(4));
  const barrier = new Barrier(2, {
    action: () => {
      const scope = globalThis as unknown as { cells: Int32Array };
      Atomics.add(scope.cells, 0, 1);
    },
  });
  const processes = startAll(
    async (barrier: Barrier, cells: Int32Array) => {
      (globalThis as unknown as { cells: Int32Array }).cells = cells;
      if (barrier.parties !== 2) throw new Error("parties");
      for (let i = 0; i < 50; i++) await barrier.wait();
      for (let i = 0; i < 50; i++) barrier.waitSync();
    },
    [[barrier, cells], [barrier, cells]],
  );
  await joinAll(processes);
  assertEquals(cells[0], 100);
});

test("Barrier's action may be a task, which waitSync() runs too", {
  timeout,
}, async () => {
  const module = new URL("./testdata/tasks.ts", import.meta.url);
  const cells = new Int32Array(new SharedArrayBuffer(4));
  const barrier = new Barrier(2, { action: task(module, "act") });
  const pass = task<typeof passBarrier>(module, "passBarrier");
  await joinAll(startAll(pass, [[barrier, cells], [barrier, cells]]));
  assertEquals(cells[0], 10);
});

test("Barrier's timeout goes with it to the processes", {
  timeout,
}, async () => {
  const barrier = new Barrier(2, { timeout: 10 });
  const processes = startAll(async (barrier: Barrier) => {
    const error = await barrier.wait().catch((error) => error);
    if (error.name !== "TimeoutError") throw error;
  }, [[barrier]]);
  await joinAll(processes);
  assert(barrier.broken);
});

test("Barrier.wait() sees an arrival before its timeout in a blocked thread", {
  timeout,
}, async () => {
  const barrier = new Barrier(2);
  const [go, passed] = [new Event(), new Event()];
  const processes = startAll(
    async (barrier: Barrier, go: Event, passed: Event) => {
      passed.set();
      await go.wait();
      await barrier.wait();
      passed.set();
    },
    [[barrier, go, passed]],
  );
  assert(await passed.wait());
  passed.clear();
  const waiting = barrier.wait({ timeout: 1000 });
  go.set();
  assert(passed.waitSync({ timeout: 900 }));
  new Event().waitSync({ timeout: 1100 }); // past the timeout
  assertEquals(await waiting, 0);
  await joinAll(processes);
});

test("Barrier's action that cannot be sent is refused with the process", {
  timeout,
}, () => {
  const action = (() => {}).bind(null);
  const barrier = new Barrier(1, { action });
  assertEquals(barrier.waitSync(), 0); // here any closure will do
  const process = new Process((_: Barrier) => {}, { args: [barrier] });
  assertThrows(() => process.start(), TypeError, "bound");
});

test(
  "Barrier passes 10,000 cycles of four processes that mix wait() and waitSync()",
  {
    timeout: 60_000,
  },
  async () => {
    const cycles = 10_000;
    const barrier = new Barrier(4);
    // How often each index was given in each cycle.
    const given = new Int32Array(new SharedArrayBuffer(16 * cycles));
    const processes = startAll(
      async (
        me: number,
        cycles: number,
        barrier: Barrier,
        given: Int32Array,
      ) => {
        for (let cycle = 0; cycle < cycles; cycle++) {
          const sync = (cycle * 7 + me * (cycle >> 4)) % 4 < 2;
          const index = sync ? barrier.waitSync() : await barrier.wait();
          Atomics.add(given, cycle * 4 + index, 1);
        }
      },
      [0, 1, 2, 3].map((me) => [me, cycles, barrier, given]),
    );
    await joinAll(processes);
    assert(given.every((times) => times === 1));
    assertEquals(barrier.nWaiting, 0);
  },
);

test(
  "Barrier passes all or nobody in a storm of abort(), reset(), timeouts and errors",
  {
    timeout: 60_000,
  },
  async () => {
    const generations = 2_000_000; // more than can happen
    // The generation now, whether to stop, then who passed which generation with
    // which index.
    const cells = new Int32Array(new SharedArrayBuffer(4 * (2 + generations)));
    const barrier = new Barrier(4, {
      action: () => {
        const { cells } = globalThis as unknown as { cells: Int32Array };
        if (Math.random() < 0.02) throw new Error("from the action");
        Atomics.add(cells, 0, 1);
      },
    });
    const processes = startAll(
      async (barrier: Barrier, cells: Int32Array) => {
        (globalThis as unknown as { cells: Int32Array }).cells = cells;
        const expected = new Set([
          "BrokenBarrierError",
          "TimeoutError",
          "from the action",
          "aborted",
        ]);
        while (Atomics.load(cells, 1) === 0) {
          try {
            const dice = Math.random();
            const options = dice < 0.02 ? { timeout: dice * 50 } : {};
            let index: number;
            if (dice < 0.01) {
              const controller = new AbortController();
              const { signal } = controller;
              setTimeout(() => controller.abort("aborted"), dice * 100);
              index = await barrier.wait({ signal });
            } else if (dice < 0.5) index = barrier.waitSync(options);
            else index = await barrier.wait(options);
            // Nobody can begin the next generation before this party arrives.
            const generation = Atomics.load(cells, 0);
            Atomics.add(cells, 2 + generation, 1 << (4 * index));
          } catch (error) {
            const { name, message } = error as Error;
            if (
              !expected.has(name) && !expected.has(message) &&
              !expected.has(error as string)
            ) throw error;
            if (barrier.broken && Math.random() < 0.3) barrier.reset();
          }
        }
      },
      [0, 1, 2, 3].map(() => [barrier, cells]),
    );
    for (let i = 0; i < 400; i++) {
      await delay(i % 4);
      if (i % 3 === 0) barrier.abort();
      else barrier.reset();
    }
    barrier.reset();
    Atomics.store(cells, 1, 1);
    while (processes.some((it) => it.isAlive())) {
      barrier.abort(); // lets those go who wait for one that has seen the end
      await delay(1);
    }
    await joinAll(processes);
    const passed = cells.subarray(2).filter((it) => it !== 0);
    assert(passed.length > 100, `only ${passed.length} cycles passed`);
    assert(
      passed.every((it) => it === 0x1111),
      passed.find((it) => it !== 0x1111)?.toString(16),
    );
    barrier.reset();
    const gate = startAll(async (barrier: Barrier, cells: Int32Array) => {
      (globalThis as unknown as { cells: Int32Array }).cells = cells;
      for (let done = 0; done < 100;) {
        try {
          await barrier.wait();
          done++;
        } catch {
          return; // the action's dice
        }
      }
    }, [0, 1, 2, 3].map(() => [barrier, cells]));
    await joinAll(gate);
  },
);

test(
  "Barrier and Event stay usable when processes are killed while they use them",
  {
    timeout: 60_000,
  },
  async () => {
    const barrier = new Barrier(2, {
      action: () => {
        for (let i = 0; i < 50; i++) Math.sqrt(i);
      },
    });
    const event = new Event();
    for (let i = 0; i < 30; i++) {
      const started = new Event();
      const processes = startAll(
        async (
          barrier: Barrier,
          event: Event,
          started: Event,
          sync: boolean,
        ) => {
          started.set();
          for (;;) {
            try {
              if (sync) barrier.waitSync({ timeout: 20 });
              else await barrier.wait({ timeout: 20 });
              event.set();
              event.clear();
              if (sync) event.waitSync({ timeout: 0 });
              else await event.wait({ timeout: 0 });
            } catch {
              barrier.reset();
            }
          }
        },
        [[barrier, event, started, true], [barrier, event, started, false]],
      );
      assert(await started.wait({ timeout: 10_000 }));
      await delay(Math.random() * 15);
      processes[i % 2]!.kill();
      await delay(Math.random() * 3);
      processes[1 - i % 2]!.terminate();
      assertEquals(await processes[i % 2]!.join(), -9);
      assertEquals(await processes[1 - i % 2]!.join(), -15);
      await delay(1); // what was under way in a thread that cannot be stopped
      barrier.reset();
      const waits = [barrier.wait(), barrier.wait()];
      assertEquals((await outcomes(waits)).toSorted(), [0, 1]);
      event.clear();
      const waiting = event.wait();
      event.set();
      assert(await waiting);
    }
  },
);

test("Barrier keeps counting a party whose thread has ended", {
  timeout,
}, async () => {
  const barrier = new Barrier(2);
  const arrived = new Event();
  const [process] = startAll((barrier: Barrier, arrived: Event) => {
    const waiting = barrier.wait();
    arrived.set();
    return waiting;
  }, [[barrier, arrived]]);
  assert(await arrived.wait({ timeout: 10_000 }));
  process!.terminate();
  assertEquals(barrier.nWaiting, 1);
  assertEquals(await barrier.wait(), 1);
});

for (const end of ["returns", "throws"] as const) {
  test(`Barrier's action that ${end} in a terminated process ends no cycle`, {
    timeout,
  }, async () => {
    for (const method of ["wait", "waitSync"] as const) {
      const [begun, on] = [0, 1].map(() =>
        new Int32Array(new SharedArrayBuffer(4))
      );
      const barrier = new Barrier(2, {
        action: end === "throws"
          ? () => {
            const [begun, on]: Int32Array[] = (globalThis as Any).words;
            Atomics.store(begun!, 0, 1);
            while (Atomics.load(on!, 0) === 0);
            throw new Error("too late");
          }
          : () => {
            const [begun, on]: Int32Array[] = (globalThis as Any).words;
            Atomics.store(begun!, 0, 1);
            while (Atomics.load(on!, 0) === 0);
          },
      });
      const waiting = barrier.wait();
      const child = new Process(
        async (barrier: Barrier, method: "wait", words: Int32Array[]) => {
          Object.assign(globalThis, { words });
          await barrier[method]();
        },
        { args: [barrier, method as "wait", [begun!, on!]] },
      );
      child.start();
      await until(() => Atomics.load(begun!, 0) === 1);
      child.terminate();
      await child.join();
      Atomics.store(on!, 0, 1); // only an abandoned thread sees it
      await delay(100);
      assertEquals([barrier.nWaiting, barrier.broken], [2, false]);
      barrier.reset();
      await assertRejects(() => waiting, BrokenBarrierError);
    }
  });
}
