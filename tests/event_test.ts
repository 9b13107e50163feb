import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import { Event } from "../mod.ts";
import { realm } from "../_internal/realm.ts";
import { runtime, scope } from "../_internal/runtime/which.ts";
import { Doorbell } from "../_internal/wait.ts";
import { joinAll, startAll } from "./_processes.ts";
import { WatchedSignal } from "./_watched_signal.ts";

const timeout = 20_000;

function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1]!;
}

test("Event is down at first, up after set(), down after clear()", {
  timeout,
}, () => {
  const event = new Event();
  assertFalse(event.isSet());
  event.set();
  assert(event.isSet());
  event.set();
  assert(event.isSet());
  event.clear();
  assertFalse(event.isSet());
  event.clear();
  assertFalse(event.isSet());
});

test("Event.wait() resolves true at once when the flag is up", {
  timeout,
}, async () => {
  const event = new Event();
  event.set();
  assertStrictEquals(await event.wait(), true);
  assertStrictEquals(await event.wait({ timeout: 0 }), true);
  assertStrictEquals(event.waitSync(), true);
  assertStrictEquals(event.waitSync({ timeout: 0 }), true);
});

test("Event.wait() with timeout 0 polls once", { timeout }, async () => {
  const event = new Event();
  const waiting = event.wait({ timeout: 0 });
  event.set();
  assertStrictEquals(await waiting, false);
  event.clear();
  assertStrictEquals(event.waitSync({ timeout: 0 }), false);
});

test("Event.wait() resolves false after its timeout, and not before", {
  timeout,
}, async () => {
  const event = new Event();
  const late: number[] = [];
  for (const timeout of [1, 5, 20, 50, 50, 50, 50]) {
    const began = performance.now();
    assertStrictEquals(await event.wait({ timeout }), false);
    late.push(performance.now() - began - timeout);
  }
  assert(Math.min(...late) > -0.1, `too early: ${late}`);
  assert(median(late) < 20, `too late: ${late}`);
});

test("Event.waitSync() returns false after its timeout, and not before", {
  timeout,
}, () => {
  const event = new Event();
  const late: number[] = [];
  for (const timeout of [0.5, 1, 5, 20, 50, 50, 50]) {
    const began = performance.now();
    assertStrictEquals(event.waitSync({ timeout }), false);
    late.push(performance.now() - began - timeout);
  }
  assert(Math.min(...late) > -0.1, `too early: ${late}`);
  assert(median(late) < 20, `too late: ${late}`);
});

test("Event.wait() takes a timeout past the platform's limit for no timeout", {
  timeout,
}, async () => {
  for (
    const timeout of [
      undefined,
      Infinity,
      2 ** 31 - 1,
      2 ** 31,
      2 ** 32 + 1,
      Number.MAX_VALUE,
    ]
  ) {
    const event = new Event();
    let settled = false;
    const waiting = event.wait({ timeout });
    void waiting.then(() => settled = true);
    await delay(10);
    assertFalse(settled, `${timeout}`);
    event.set();
    assertStrictEquals(await waiting, true);
  }
});

test("Event.wait() rejects and Event.waitSync() throws for a bad timeout", {
  timeout,
}, async () => {
  const event = new Event();
  event.set();
  for (const timeout of [-1, -0.001, -Infinity, NaN]) {
    const waiting = event.wait({ timeout });
    const message = "Cannot wait for event as timeout";
    await assertRejects(() => waiting, RangeError, message);
    assertThrows(() => event.waitSync({ timeout }), RangeError, message);
  }
  for (const bad of ["10", null, {}, true]) {
    const timeout = bad as number;
    const waiting = event.wait({ timeout });
    await assertRejects(() => waiting, TypeError);
    assertThrows(() => event.waitSync({ timeout }), TypeError);
  }
});

test("Event.wait() rejects with the reason of a signal aborted before", {
  timeout,
}, async () => {
  const reason = new Error("no more");
  const signal = AbortSignal.abort(reason);
  const event = new Event();
  const refuse = async (timeout: number) => {
    const error = await assertRejects(
      () => event.wait({ signal, timeout }),
      Error,
    );
    assertStrictEquals(error, reason);
  };
  await refuse(Infinity);
  await refuse(0);
  event.set();
  await refuse(Infinity); // an aborted signal wins over a set flag
  await refuse(0);
});

test("Event.wait() rejects with the reason of a signal that aborts", {
  timeout,
}, async () => {
  const event = new Event();
  const others = [event.wait(), event.wait({ timeout: 10_000 })];
  for (const reason of [new Error("no more"), "text", 0, null]) {
    const controller = new AbortController();
    const waiting = event.wait({ signal: controller.signal });
    controller.abort(reason);
    assertStrictEquals(await waiting.catch((it) => it), reason);
  }
  const controller = new AbortController();
  const waiting = event.wait({ signal: controller.signal, timeout: 10_000 });
  setTimeout(() => controller.abort(), 5);
  const error = await assertRejects(() => waiting, DOMException);
  assertEquals(error.name, "AbortError");
  event.set(); // the other waits were not touched
  assertEquals(await Promise.all(others), [true, true]);
});

test("Event.wait() keeps a pulse that came before its signal aborted", {
  timeout,
}, async () => {
  const event = new Event();
  const controller = new AbortController();
  const waiting = event.wait({ signal: controller.signal });
  event.set();
  event.clear();
  controller.abort();
  assert(await waiting);
});

test("Event.wait() of several with one signal end each in its own way", {
  timeout,
}, async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const [first, second] = [new Event(), new Event()];
  const waits = [first, second, second].map((it) => it.wait({ signal }));
  first.set();
  assert(await waits[0]);
  const reason = new Error("enough");
  controller.abort(reason);
  for (const wait of waits.slice(1)) {
    assertStrictEquals(await assertRejects(() => wait, Error), reason);
  }
});

test("Event.wait() leaves no listener on its signal", {
  timeout,
}, async () => {
  const watched = new WatchedSignal();
  const { signal } = watched;
  const event = new Event();
  assertFalse(await event.wait({ signal, timeout: 0 }));
  assertFalse(await event.wait({ signal, timeout: 5 }));
  const waits = Array.from({ length: 10 }, () => event.wait({ signal }));
  assertEquals(watched.listeners, 1); // one for all
  event.set();
  event.clear();
  assertEquals(await Promise.all(waits), waits.map(() => true));
  assertEquals(watched.listeners, 0);
  event.set();
  assert(await event.wait({ signal }));
  event.clear();
  assertEquals(watched.listeners, 0);
  await assertRejects(() => event.wait({ signal, timeout: -1 }), RangeError);
  assertEquals(watched.listeners, 0);
  const waiting = event.wait({ signal });
  watched.abort();
  await assertRejects(() => waiting, DOMException);
  await assertRejects(() => event.wait({ signal }), DOMException);
  assertEquals(watched.listeners, 0);
});

test("Event.set() and clear() release every wait that began before", {
  timeout,
}, async () => {
  const event = new Event();
  const before = [
    event.wait(),
    event.wait({ timeout: 10_000 }),
    event.wait({ signal: new AbortController().signal }),
  ];
  event.set();
  event.clear();
  const after = event.wait({ timeout: 10 });
  assertEquals(await Promise.all(before), [true, true, true]);
  assertFalse(await after);
  assertFalse(event.isSet());
});

/** The memory of an event. */
function cellsOf(event: Event): Int32Array {
  return realm.shared.get(event)!(event).cells;
}

/** Wakes all who sleep for an event, and tells how many places they had. */
function wake(event: Event): number {
  return Atomics.notify(cellsOf(event), 0);
}

test("Event.set() wakes those who wait though the flag was up before", {
  timeout,
}, async () => {
  const event = new Event();
  const waiting = event.wait();
  Atomics.store(cellsOf(event), 0, 3); // by one who died before it rang
  event.set();
  assertEquals(wake(event), 0, "somebody sleeps on");
  assert(await waiting);
});

test("Event.wait() gives its place back when the last of a thread gives up", {
  timeout,
}, async () => {
  const shared = new Event();
  const waits = [shared.wait(), shared.wait(), shared.wait()];
  assertEquals(wake(shared), 1, "they have one place");
  shared.set();
  assertEquals(await Promise.all(waits), [true, true, true]);

  const event = new Event();
  const controller = new AbortController();
  const waiting = event.wait({ signal: controller.signal });
  assertFalse(await event.wait({ timeout: 1 }));
  controller.abort("aborted");
  assertEquals(wake(event), 0, "none is left that was aborted");
  assertEquals(await waiting.catch((reason) => reason), "aborted");

  const late = new Event();
  assertFalse(await late.wait({ timeout: 1 }));
  assertEquals(wake(late), 0, "none is left whose time is up");
});

test("Event releases 1,000 waits at once, each in its own way", {
  timeout,
}, async () => {
  const event = new Event();
  const controller = new AbortController();
  const { signal } = controller;
  const waits = Array.from({ length: 1000 }, (_, i) => {
    switch (i % 4) {
      case 0:
        return event.wait();
      case 1:
        return event.wait({ timeout: 60_000 });
      case 2:
        return event.wait({ timeout: i % 8 });
      default:
        return event.wait({ signal }).catch((reason) => reason);
    }
  });
  await Promise.all(waits.filter((_, i) => i % 4 === 2)); // these end by their time
  controller.abort("aborted");
  await delay(0);
  event.set();
  event.clear();
  const kinds = [true, true, false, "aborted"];
  assertEquals(await Promise.all(waits), waits.map((_, i) => kinds[i % 4]));
});

test("Event is the same event in another process", { timeout }, async () => {
  const [ping, pong] = [new Event(), new Event()];
  ping.set();
  const processes = startAll((ping: Event, pong: Event) => {
    if (!ping.isSet()) throw new Error("the flag was up before the start");
    ping.clear();
    pong.set();
    if (!ping.waitSync({ timeout: 10_000 })) throw new Error("no second ping");
    pong.set();
  }, [[ping, pong]]);
  assert(await pong.wait({ timeout: 10_000 }));
  assertFalse(ping.isSet());
  pong.clear();
  ping.set();
  assert(pong.waitSync({ timeout: 10_000 }));
  await joinAll(processes);
});

/** Milliseconds of a round trip between two threads that sleep. */
async function roundTrip(sync: boolean): Promise<number> {
  const [ping, pong] = [new Event(), new Event()];
  const processes = startAll(
    async (sync: boolean, ping: Event, pong: Event) => {
      pong.set();
      for (let i = 0; i < 21; i++) {
        if (sync) ping.waitSync();
        else await ping.wait();
        ping.clear();
        pong.set();
      }
    },
    [[sync, ping, pong]],
  );
  // A browser starts a worker while its parent does not block, and not before.
  assert(await pong.wait({ timeout: 10_000 }));
  pong.clear();
  const times: number[] = [];
  for (let i = 0; i < 21; i++) {
    await delay(5); // both sides sleep by now
    const began = performance.now();
    ping.set();
    if (sync) pong.waitSync();
    else await pong.wait();
    times.push(performance.now() - began);
    pong.clear();
  }
  await joinAll(processes);
  return median(times);
}

test("Event.wait() and waitSync() are woken at once, without polling", {
  timeout,
}, async () => {
  for (const sync of [false, true]) {
    // Again if the machine was busy with something else.
    const times: number[] = [];
    do times.push(await roundTrip(sync)); while (
      times.at(-1)! > 5 && times.length < 5
    );
    assert(times.at(-1)! < 5, `round trips took ${times} ms`);
  }
});

for (const [count, rounds] of [[100, 1000], [1, 5000]] as const) {
  test(
    `Event loses none of ${
      count * rounds
    } pulses of ${count} event(s) to waits in four processes`,
    {
      timeout: 60_000,
    },
    async () => {
      const events = Array.from({ length: count }, () => new Event());
      // How many have begun to wait; how many rounds are over.
      const cells = new Int32Array(new SharedArrayBuffer(8));
      const processes = startAll(
        async (events: Event[], cells: Int32Array, rounds: number) => {
          let seen = 0;
          for (let round = 0; round < rounds; round++) {
            const waits = events.map((event) => event.wait());
            Atomics.add(cells, 0, 1);
            Atomics.notify(cells, 0);
            for (const done of await Promise.all(waits)) if (done) seen++;
            Atomics.wait(cells, 1, round); // until the flags are down again
          }
          if (seen !== rounds * events.length) throw new Error(`saw ${seen}`);
        },
        Array.from({ length: 4 }, () => [events, cells, rounds]),
      );
      // A browser starts a worker while its parent does not block.
      while (Atomics.load(cells, 0) < 4) await delay(1);
      for (let round = 1; round <= rounds; round++) {
        for (let n; (n = Atomics.load(cells, 0)) < 4 * round;) {
          assert(Atomics.wait(cells, 0, n, 20_000) !== "timed-out");
        }
        for (const event of events) {
          event.set();
          event.clear();
        }
        Atomics.store(cells, 1, round);
        Atomics.notify(cells, 1);
      }
      await joinAll(processes);
    },
  );
}

test("Event.wait() sees a pulse before its timeout in a blocked thread", {
  timeout,
}, async () => {
  const [event, go, pulsed] = [new Event(), new Event(), new Event()];
  const processes = startAll(
    async (event: Event, go: Event, pulsed: Event) => {
      pulsed.set();
      await go.wait();
      event.set();
      event.clear();
      pulsed.set();
    },
    [[event, go, pulsed]],
  );
  assert(await pulsed.wait());
  pulsed.clear();
  const waiting = event.wait({ timeout: 1000 });
  go.set();
  assert(pulsed.waitSync({ timeout: 900 }));
  new Event().waitSync({ timeout: 1100 }); // past the timeout
  assertStrictEquals(await waiting, true);
  await joinAll(processes);
});

test("A thread that blocks sees to others, however often it wakes in vain", {
  timeout,
}, () => {
  const cells = new Int32Array(new SharedArrayBuffer(4));
  let times = 0;
  const attend = (again: boolean) => {
    if (again) times++;
    return 10;
  };
  realm.whileBlocking.add(attend);
  try {
    const poll = () => {
      Atomics.add(cells, 0, 1); // ends the sleep at once
      return times === 3 || undefined;
    };
    assertEquals(new Doorbell(cells, 0).waitSync(poll, 5000), true);
  } finally {
    realm.whileBlocking.delete(attend);
  }
});

test("Event.wait() may be called again and again with every outcome", {
  timeout,
}, async () => {
  // Waits that end by timeout or abort while another process pulses.
  const event = new Event();
  const stop = new Event();
  const processes = startAll((event: Event, stop: Event) => {
    while (!stop.isSet()) {
      event.set();
      event.clear();
    }
  }, [[event, stop]]);
  const outcomes = new Map<unknown, number>();
  const count = (outcome: unknown) =>
    void outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  for (let i = 0; i < 300; i++) {
    const controller = new AbortController();
    const { signal } = controller;
    const waits = [
      event.wait({ timeout: i % 3 }),
      event.wait({ timeout: i % 2, signal }),
      event.wait({ signal }),
    ].map((wait) => wait.catch((reason) => reason));
    if (i % 3 === 0) await delay(0);
    controller.abort("aborted");
    for (const outcome of await Promise.all(waits)) count(outcome);
  }
  stop.set();
  await joinAll(processes);
  assertEquals(outcomes.values().reduce((sum, n) => sum + n, 0), 900);
  for (const key of outcomes.keys()) {
    assert(key === true || key === false || key === "aborted", String(key));
  }
  event.set();
  assert(await event.wait());
});

/** How many bytes of the heap are in use after some work, but for garbage. */
async function heapAfter(work: () => Promise<void>): Promise<number> {
  const { memoryUsage } = await import("node:process");
  const { setFlagsFromString } = await import("node:v8");
  const { runInNewContext } = await import("node:vm");
  await work();
  if (runtime === "bun") scope.Bun.gc(true);
  else {
    setFlagsFromString("--expose-gc");
    runInNewContext("gc")();
  }
  return memoryUsage().heapUsed;
}

test("Event.wait() leaves no memory behind", { timeout }, async () => {
  const event = new Event();
  const round = async (n: number) => {
    const controller = new AbortController();
    const { signal } = controller;
    for (let i = 0; i < n; i++) {
      const waiting = event.wait({ signal: new AbortController().signal });
      if (i % 2 === 0) await event.wait({ timeout: 0, signal });
      event.set();
      event.clear();
      await waiting;
    }
    const aborted = Array.from(
      { length: n },
      () => event.wait({ signal }).catch((reason) => reason),
    );
    controller.abort("aborted");
    assertEquals(new Set(await Promise.all(aborted)), new Set(["aborted"]));
  };
  const before = await heapAfter(() => round(20_000));
  const after = await heapAfter(() => round(20_000));
  const grown = (after - before) / 2 ** 20;
  assert(grown < 2, `grew by ${grown} MiB`);
});
