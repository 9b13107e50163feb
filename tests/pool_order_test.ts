// In which order calls begin, and at which worker.

import { test } from "node:test";
import { assert, assertEquals, assertFalse, assertRejects } from "@std/assert";
import { Barrier, Event, ProcessPool } from "../mod.ts";
import { travel } from "../_internal/dispatcher.ts";
import { LaneCell } from "../_internal/protocol.ts";
import { cores, mayBlock } from "../_internal/runtime/which.ts";
import { runProgram } from "./_program.ts";
import { deafen, exposedPool, outcomes, sharedCells, until } from "./_pools.ts";

const timeout = 30_000;

// deno-lint-ignore no-explicit-any
type Any = any;

const double = (n: number) => n * 2;

/** Works until a time, as what works until it is told otherwise may wait for that. */
const workUntil = (end: number): void => {
  while (Date.now() < end);
};

/** For so long a call works that is not quick. */
const SLOW_MS = 400;

/** Tries again if the machine was busy with something else. */
async function often(attempt: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !await attempt(); tries++) {
    assert(tries < 5, `never came: ${attempt}`);
  }
}

/** A pool that knows `workUntil` for a quick function. */
async function poolOfQuickCalls(processes: number): Promise<ProcessPool> {
  const pool = new ProcessPool(processes);
  for (let i = 0; i < 20; i++) {
    await Promise.all(Array.from(
      { length: 100 },
      () => pool.apply(workUntil, [0]),
    ));
  }
  return pool;
}

/** Whether quick calls pass one that is not, and was begun so much earlier. */
async function passSlow(pool: ProcessPool, pause: number): Promise<boolean> {
  let isOver = false;
  const slow = pool.apply(workUntil, [Date.now() + SLOW_MS]);
  void slow.then(() => isOver = true);
  if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
  await Promise.all(Array.from(
    { length: 200 },
    () => pool.apply(workUntil, [0]),
  ));
  const passed = !isOver;
  await slow;
  return passed;
}

test("ProcessPool lets quick calls pass one that is not, for once", {
  timeout,
}, async () => {
  await using pool = await poolOfQuickCalls(2);
  for (const pause of [0, 0, 20]) await often(() => passSlow(pool, pause));
});

test("ProcessPool lets quick calls pass though a test has stopped the clock", {
  timeout,
}, async () => {
  await using pool = await poolOfQuickCalls(2);
  await often(async () => {
    const { queueMicrotask, setTimeout } = globalThis;
    const { now } = performance;
    const time = performance.now();
    Object.assign(globalThis, { queueMicrotask() {}, setTimeout() {} });
    performance.now = () => time;
    try {
      return await passSlow(pool, 0);
    } finally {
      Object.assign(globalThis, { queueMicrotask, setTimeout });
      performance.now = now;
    }
  });
});

test(
  "ProcessPool lets quick calls pass although every core is at one that is not",
  {
    timeout,
  },
  async () => {
    await using pool = await poolOfQuickCalls(cores + 1);
    /** Works for so many microseconds. */
    const work = (time: number): void => {
      const end = performance.now() + time / 1000;
      while (performance.now() < end);
    };
    const quick = (count: number) =>
      Array.from({ length: count }, () => pool.apply(work, [20]));
    for (let i = 0; i < 10; i++) await Promise.all(quick(500 * cores));
    for (let i = 0; i < 5; i++) {
      await often(async () => {
        const some = quick(300 * cores);
        let isOver = false;
        const slow = Array.from(
          { length: cores },
          () => pool.apply(work, [SLOW_MS * 1000]).then(() => isOver = true),
        );
        await Promise.all([...some, ...quick(1000 * cores)]);
        const passed = !isOver;
        await Promise.all(slow);
        return passed;
      });
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
  await using pool = await poolOfQuickCalls(3);
  await often(async () => {
    const end = Date.now() + SLOW_MS;
    let isOver = false;
    const work = pool.map(workUntil, [end, end, end], { chunkSize: 1 })
      .then(() => isOver = true);
    let busy = 0;
    while (!isOver && busy < 3) {
      await new Promise((resolve) => setTimeout(resolve));
      busy = pool.stats().busy;
    }
    await work;
    return busy === 3;
  });
});

test("ProcessPool lets no short call wait behind a long one", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  await pool.map(double, [1, 2], { chunkSize: 1 });
  const tiny = () =>
    Array.from({ length: 200 }, (_, i) => pool.apply(double, [i]));
  for (const before of [() => [], tiny]) {
    const times: number[] = [];
    do { // again if the machine was busy with something else
      const earlier = before();
      let longIsDone = false;
      const long = pool.apply(workUntil, [Date.now() + SLOW_MS])
        .then(() => longIsDone = true);
      const began = performance.now();
      await Promise.all([...earlier, ...tiny()]);
      times.push(longIsDone ? Infinity : performance.now() - began);
      await long;
    } while (times.at(-1)! >= 100 && times.length < 10);
    assert(times.at(-1)! < 100, `${times} ms`);
  }
});

test("ProcessPool lets no call starve while no worker is idle", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(2);
  const { port1: gate, port2 } = new MessageChannel();
  const long = pool.apply(
    (gate: MessagePort) =>
      new Promise<boolean>((resolve) => {
        gate.onmessage = () => resolve(true);
      }),
    [port2],
    { transfer: [port2] },
  );
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
  gate.postMessage("go");
  assert(await long);
  gate.close();
  assert(most < 100, `${most} calls came before one that was older`);
});

test("ProcessPool begins calls in about the order of their submission", {
  timeout,
}, async () => {
  const begin = async (n: number, cells: Int32Array) => {
    const place = Atomics.add(cells, 0, 1);
    do await new Promise<void>((resolve) => setTimeout(resolve, 2)); while (
      n === 0 && Atomics.load(cells, 1) === 0
    );
    return place;
  };
  for (let rounds = 0;; rounds++) {
    await using pool = new ProcessPool(2);
    const cells = sharedCells(2);
    const calls = Array.from(
      { length: 300 },
      (_, n) => pool.apply(begin, [n, cells]),
    );
    const places = await Promise.all(calls.slice(1));
    Atomics.store(cells, 1, 1);
    await calls[0];
    const late = places.map((place, i) => Math.abs(place - (i + 1)));
    const most = Math.max(...late);
    if (most <= pool.processes) break;
    // While this thread is late some are sent ahead.
    assert(rounds < 5, `a call had ${most} places too many before or after it`);
  }
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

for (const blocks of [false, true]) {
  const when = blocks ? "though its thread has blocked" : "at once";
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
    gate.set();
    await Promise.all([...held, ...calls]);
  });
}

test(
  "ProcessPool begins in order what may wait as the initializer has events",
  {
    timeout,
  },
  async () => {
    const run = (own: "quick" | "first" | "second" | "third" | "fourth") => {
      const { go, begun, third, fourth } = (globalThis as Any) as Any;
      const wait = (event: Event) => event.waitSync({ timeout: 15_000 });
      if (own === "quick") {
        const end = performance.now() + 0.2;
        while (performance.now() < end);
      } else if (own === "third") third.set();
      else if (own === "fourth") {
        if (!wait(third)) return false;
        fourth.set();
      } else {
        begun.waitSync();
        return own === "first" ? wait(fourth) : wait(go);
      }
      return true;
    };
    // The first waits for the fourth, that for the third, and all are short till then.
    for (const early of [["first", "second"], ["second", "first"]] as const) {
      const [go, third, fourth] = [new Event(), new Event(), new Event()];
      const begun = new Barrier(3);
      await using pool = new ProcessPool(2, {
        initializer: (events: object) => void Object.assign(globalThis, events),
        initargs: [{ go, third, fourth, begun }],
      });
      await Promise.all(
        Array(300).fill(0).map(() => pool.apply(run, ["quick"])),
      );
      const calls = early.map((own) => pool.apply(run, [own]));
      await begun.wait();
      for (const own of ["third", "fourth"] as const) {
        calls.push(pool.apply(run, [own]));
      }
      go.set();
      assertEquals(await Promise.all(calls), [true, true, true, true]);
    }
  },
);

for (const kept of ["memory", "an event that a call has left"]) {
  test(`ProcessPool begins in order what may wait by ${kept}`, {
    timeout,
  }, async () => {
    type Waits = { cells: Int32Array; event?: Event };
    const keep = (it: Waits) => void Object.assign(globalThis, it);
    const it: Waits = { cells: sharedCells() };
    await using pool = kept === "memory"
      ? new ProcessPool(2, { initializer: keep, initargs: [it] })
      : new ProcessPool(2);
    if (kept !== "memory") {
      it.event = new Event();
      const all = new Barrier(2);
      await pool.map(
        (it: Waits & { all: Barrier }) => {
          Object.assign(globalThis, it);
          return it.all.waitSync();
        },
        [{ ...it, all }, { ...it, all }],
        { chunkSize: 1 },
      );
    }
    const quick = (what: "nothing" | "wait" | "set") => {
      const { cells, event } = globalThis as Any as Waits;
      if (what === "set") {
        event?.set();
        Atomics.store(cells, 0, 1);
        Atomics.notify(cells, 0);
      }
      if (what !== "wait") return true;
      return event
        ? event.waitSync({ timeout: 10_000 })
        : Atomics.wait(cells, 0, 0, 10_000) !== "timed-out";
    };
    const other = () => {
      const { cells, event } = globalThis as Any as Waits;
      return event
        ? event.waitSync({ timeout: 10_000 })
        : Atomics.wait(cells, 0, 0, 10_000) !== "timed-out";
    };
    for (let i = 0; i < 10; i++) {
      await Promise.all(
        Array.from({ length: 100 }, () => pool.apply(quick, ["nothing"])),
      );
    }
    const calls = [
      pool.apply(quick, ["wait"]),
      pool.apply(quick, ["set"]),
      pool.apply(other),
    ];
    assertEquals(await Promise.all(calls), [true, true, true]);
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

/** Takes its turn, and stays for a while; the first stays until it may go. */
const takeTurn = async (cells: Int32Array, number: number) => {
  const turn = Atomics.add(cells, 0, 1);
  const rest = (time: number) =>
    new Promise<void>((resolve) => setTimeout(resolve, time));
  await rest(60);
  while (number === 0 && Atomics.load(cells, 1) === 0) await rest(1);
  return turn;
};

test("ProcessPool gives a call to who is free first of those that are deaf", {
  timeout,
}, async () => {
  for (const first of [0, 1, 2]) {
    await using pool = new ProcessPool(3);
    const gates = await deafen(pool);
    const calls = [1, 2, 3, 4].map((n) => pool.apply(double, [n]));
    gates[first]!.set();
    assertEquals(await Promise.all(calls), [2, 4, 6, 8]);
    // The others are of use again once they can hear.
    for (const gate of gates) gate.set();
    const all = new Barrier(3);
    const meet = (all: Barrier) => all.waitSync();
    const indexes = await pool.map(meet, [all, all, all], { chunkSize: 1 });
    assertEquals(indexes.sort(), [0, 1, 2]);
  }
});

test("ProcessPool lets no call pass one that a deaf worker has not begun", {
  timeout,
}, async () => {
  for (const argument of ["a frame", new Date()]) {
    await using pool = new ProcessPool(3);
    const gates = await deafen(pool);
    gates[0]!.set();
    const cells = sharedCells();
    const take = async (cells: Int32Array, _: unknown) => {
      const turn = Atomics.add(cells, 0, 1);
      await new Promise((resolve) => setTimeout(resolve, 3));
      return turn;
    };
    const run = (count: number) =>
      Promise.all(Array.from(
        { length: count },
        () => pool.apply(take, [cells, argument]),
      ));
    await run(3); // one each, so that it is known who is deaf
    const turns = await run(40);
    assertEquals(turns, turns.map((_, i) => i + 3));
    gates[1]!.set();
    gates[2]!.set();
  }
});

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
  const work = () => {
    const until = performance.now() + 5;
    while (performance.now() < until);
  };
  let done = 0;
  const calls = Array.from(
    { length: 400 },
    () => pool.apply(work).then(() => done++),
  );
  // Of each worker it is free for one that is sent as its last is answered.
  for (let most = 0; most <= pool.processes;) {
    const before = done;
    assert(before < calls.length, "no more than one a turn");
    const until = performance.now() + 40;
    while (performance.now() < until);
    await new Promise((resolve) => setTimeout(resolve));
    most = done - before;
  }
  pool.terminate();
  await outcomes(calls);
});

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

test("ProcessPool runs no call of a map that was given up", {
  timeout: 60_000,
}, async () => {
  await using pool = await poolOfQuickCalls(4);
  for (let round = 0; round < 3; round++) {
    const controller = new AbortController();
    const { signal } = controller;
    const long = Array(120).fill(Date.now() + 1500); // Deno lets them run on
    const mapping = pool.map(workUntil, long, { chunkSize: 1, signal });
    await until(() => pool.stats().busy > 0);
    controller.abort(new Error("given up"));
    await assertRejects(() => mapping, Error, "given up");
    await until(() => pool.stats().busy === 0);
    assertEquals(pool.stats().queued, 0);
    assertEquals(await pool.map(double, [1, 2]), [2, 4]);
  }
});
