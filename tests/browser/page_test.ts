// What a page's main thread may not do, and that it can do all the rest.

import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Barrier, Event, Process, ProcessPool } from "../../mod.ts";

const timeout = 20_000;

test("Event.waitSync() and Barrier.waitSync() throw on a page's main thread", {
  timeout,
}, () => {
  const event = new Event();
  const blocks = (wait: () => unknown) => {
    assertThrows(wait, TypeError, "a page's main thread may not block");
  };
  blocks(() => event.waitSync());
  event.set();
  blocks(() => event.waitSync({ timeout: 0 }));
  const barrier = new Barrier(2);
  blocks(() => barrier.waitSync({ timeout: 10 }));
  assertEquals([barrier.nWaiting, barrier.broken], [0, false]);
});

test("Event.waitSync() works in a process of a page", {
  timeout,
}, async () => {
  const [ping, pong] = [new Event(), new Event()];
  const process = new Process((ping: Event, pong: Event) => {
    ping.waitSync();
    pong.set();
  }, { args: [ping, pong] });
  process.start();
  ping.set();
  assert(await pong.wait({ timeout: 10_000 }));
  assertEquals(await process.join(), 0);
});

test(
  "ProcessPool in a page replaces a worker that is closed, and stops a busy one",
  {
    timeout,
  },
  async () => {
    await using pool = new ProcessPool(2);
    assertEquals(await pool.map((n: number) => n * n, [1, 2, 3]), [1, 4, 9]);
    const name = await pool.apply(() => self.close())
      .then(() => "none", (error) => error.name);
    assertEquals(name, "WorkerExitError");
    const busy = await pool.apply(
      () => {
        for (;;);
      },
      [],
      { timeout: 100 },
    ).then(() => "none", (error) => error.name);
    assertEquals(busy, "TimeoutError");
    assertEquals(await pool.map((n: number) => n * n, [1, 2, 3]), [1, 4, 9]);
  },
);
