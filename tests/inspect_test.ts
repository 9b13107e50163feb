// What a console shows of the objects.

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { type Module, runProgram } from "./_program.ts";

const timeout = 40_000;

/** Checks what a program showed, however its runtime quotes and breaks lines. */
async function assertShown(
  program: (module: Module) => unknown,
  expected: string[],
): Promise<void> {
  const { stdout, stderr } = await runProgram(program);
  assertEquals(stderr, "");
  const shown = stdout.replaceAll("'", '"').replaceAll(/,?\s+(?=[}\]])/g, " ");
  assertEquals(shown.replaceAll(/\s+/g, " ").trim(), expected.join(" "));
}

test("A console shows what events, barriers, processes and results are like", {
  timeout,
}, async () => {
  await assertShown(async ({ Barrier, Event, Process, ThreadPool }) => {
    const event = new Event();
    console.log(event);
    event.set();
    console.log([event]);
    const { inspect } = await import("node:util");
    console.log(inspect(event, { depth: 0 }));
    console.log(inspect([event], { depth: 0 }));
    const barrier = new Barrier(3);
    const waiting = barrier.wait();
    console.log(barrier);
    barrier.abort();
    await waiting.catch(() => console.log(barrier));
    const cook = new Process(() => {}, { name: "cook", daemon: true });
    console.log(cook);
    cook.start();
    await cook.join();
    console.log(cook.id === null, cook.exitCode);
    const pool = new ThreadPool(2);
    const result = pool.applyAsync(() => 1);
    console.log(result);
    await result;
    console.log(result);
    const failure = pool.applyAsync(() => Promise.reject(1));
    await failure.wait();
    console.log(failure);
  }, [
    "Event { isSet: false }",
    "[ Event { isSet: true } ]",
    "Event { isSet: true }",
    "[ [Event] ]",
    "Barrier { parties: 3, nWaiting: 1, broken: false }",
    "Barrier { parties: 3, nWaiting: 0, broken: true }",
    'Process { name: "cook", id: null, exitCode: null, daemon: true }',
    "false 0",
    "AsyncResult { ready: false }",
    "AsyncResult { ready: true, successful: true }",
    "AsyncResult { ready: true, successful: false }",
  ]);
});

test("A console shows what pools are at", { timeout }, async () => {
  await assertShown(async ({ ProcessPool, ThreadPool }) => {
    for (const Pool of [ProcessPool, ThreadPool]) {
      const pool = new Pool(1);
      await pool.apply((x: number) => x, [1]);
      console.log(pool);
      pool.close();
      await pool.join();
      console.log(pool);
    }
  }, [
    'ProcessPool { state: "open", processes: 1, busy: 0, queued: 0, ' +
    "completed: 1, failed: 0, respawned: 0, abandoned: 0 }",
    'ProcessPool { state: "closed", processes: 1, busy: 0, queued: 0, ' +
    "completed: 1, failed: 0, respawned: 0, abandoned: 0 }",
    'ThreadPool { state: "open", processes: 1, busy: 0, queued: 0, ' +
    "completed: 1, failed: 0, respawned: 0, abandoned: 0 }",
    'ThreadPool { state: "closed", processes: 1, busy: 0, queued: 0, ' +
    "completed: 1, failed: 0, respawned: 0, abandoned: 0 }",
  ]);
});

test("A console in a worker shows what is shared", { timeout }, async () => {
  await assertShown(async ({ Barrier, Event, ProcessPool }) => {
    await using pool = new ProcessPool(1);
    await pool.apply((...shared: unknown[]) => console.log(...shared), [
      new Event(),
      new Barrier(2),
    ]);
  }, [
    "Event { isSet: false } Barrier { parties: 2, nWaiting: 0, broken: false }",
  ]);
});

test("A console shows subclasses, and what no constructor has made", {
  timeout,
}, async () => {
  await assertShown((module) => {
    const { AsyncResult, Barrier, Event, Process, ProcessPool } = module;
    class Gate extends Event {}
    console.log(new Gate());
    for (const type of [Event, Barrier, Process, ProcessPool, AsyncResult]) {
      console.log([Object.create(type.prototype)]);
    }
  }, [
    "Gate { isSet: false }",
    "[ Event {} ]",
    "[ Barrier {} ]",
    "[ Process {} ]",
    "[ ProcessPool {} ]",
    "[ AsyncResult {} ]",
  ]);
});
