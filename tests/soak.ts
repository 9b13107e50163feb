/**
 * Storms of events, barriers, processes and pools for as long as it is told:
 *
 * ```sh
 * deno run -A --v8-flags=--expose-gc tests/soak.ts 60
 * bun tests/soak.ts 60
 * ```
 *
 * Every ten seconds it prints what was done, what the program holds and how long
 * things took. It fails on the first call that is lost or runs twice, on a wait
 * that oversleeps, and on growth of memory, open files or threads. What workers
 * write to standard error on the way, as they die, is part of the storm.
 *
 * @module
 */

import process from "node:process";
import { readdirSync } from "node:fs";
import {
  activeChildren,
  Barrier,
  BrokenBarrierError,
  Event,
  Process,
  ProcessPool,
  WorkerExitError,
} from "../mod.ts";

const seconds = Number(process.argv[2] ?? 60);
const REPORT_MS = 10_000;
/** A wait may be this much later than a plain timer of the same time. */
const OVERSLEPT_MS = 2_000;
/** What has no answer after this is lost. */
const LOST_MS = 45_000;
/** How many times as much there may be at the end as before, beside `held`. */
const GROWTH = 1.2;

const began = performance.now();
const ends = began + seconds * 1000;
let failure: string | undefined;

function fail(message: string): void {
  failure ??= message;
}

function going(): boolean {
  return failure === undefined && performance.now() < ends;
}

function check(condition: boolean, message: string): void {
  if (!condition) fail(message);
}

// -- figures ----------------------------------------------------------------

const counts = {
  calls: 0,
  items: 0,
  exits: 0,
  timeouts: 0,
  aborts: 0,
  pools: 0,
  processes: 0,
  pulses: 0,
  cycles: 0,
  breaks: 0,
  respawned: 0,
  abandoned: 0,
};

/** The times of one kind of thing since the last report. */
class Latency {
  #times: number[] = [];

  add(milliseconds: number): void {
    if (this.#times.length < 200_000) this.#times.push(milliseconds);
  }

  take(): string {
    const times = Float64Array.from(this.#times).sort();
    this.#times = [];
    if (times.length === 0) return "none";
    const at = (q: number) =>
      times[Math.min(times.length - 1, Math.floor(q * times.length))]!;
    return [0.5, 0.99, 0.999, 1].map((q) => at(q).toFixed(2)).join("/");
  }
}

const latencies = {
  apply: new Latency(),
  event: new Latency(),
  barrier: new Latency(),
  late: new Latency(),
};

/** What is under way, with the time by which it must be over. */
const pending = new Map<number, { what: string; until: number }>();
let lastPending = 0;

/** Waits for something that must end in time. */
async function sure<T>(
  what: string,
  work: Promise<T>,
  limit = LOST_MS,
): Promise<T> {
  const id = ++lastPending;
  pending.set(id, { what, until: performance.now() + limit });
  try {
    return await work;
  } finally {
    pending.delete(id);
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * Starts a plain timer beside a wait, to tell a wait that oversleeps from a
 * machine that is busy with something else.
 *
 * @returns Tells how late the plain timer is.
 */
function plainTimer(timeout: number): () => number {
  const at = performance.now();
  let fired: number | undefined;
  setTimeout(() => fired = performance.now(), timeout);
  return () => (fired ?? performance.now()) - at - timeout;
}

/** A number from 0 to `limit - 1`; the same sequence in each run. */
let seed = 1;
function random(limit: number): number {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return Math.floor((seed / 2 ** 32) * limit);
}

// -- calls ------------------------------------------------------------------

const CELLS = 2 ** 16;
/** How many cells of calls that were given up are watched for this long. */
const DOUBTFUL = 2 ** 14;
/** How often each call has run; a call has a cell for as long as it is under way. */
const runs = new Int32Array(new SharedArrayBuffer(4 * CELLS));
const free: number[] = Array.from({ length: CELLS }, (_, i) => i);
/** Cells of calls that were given up: they may have run, but once at most. */
const doubtful: number[] = [];

function settle(cell: number, least: number): void {
  const times = Atomics.load(runs, cell);
  check(times <= 1, `a call ran ${times} times`);
  check(times >= least, "a call that has an answer did not run");
  if (least === 1) return recycle(cell);
  doubtful.push(cell);
  if (doubtful.length > DOUBTFUL) recycle(doubtful.shift()!);
}

/** What has not run twice by now never will. */
function recycle(cell: number): void {
  const times = Atomics.exchange(runs, cell, 0);
  check(times <= 1, `a call ran ${times} times, at last`);
  free.push(cell);
}

const plain = (runs: Int32Array, cell: number, value: unknown) => {
  Atomics.add(runs, cell, 1);
  return value;
};

/** Ends the worker that runs it, in one of several ways. */
const dies = (runs: Int32Array, cell: number, how: number) => {
  Atomics.add(runs, cell, 1);
  switch (how) {
    case 0: {
      const { process } = globalThis as unknown as {
        process: { exit(code: number): void };
      };
      process.exit(3);
      break;
    }
    case 1:
      self.close();
      break;
    default:
      setTimeout(() => {
        throw new Error("uncaught, as it should be");
      });
  }
  return new Promise(() => {});
};

/** Runs for too long: without end, and so that nothing but a watchdog helps. */
const hangs = (runs: Int32Array, cell: number) => {
  Atomics.add(runs, cell, 1);
  for (;;);
};

const sleeps = (runs: Int32Array, cell: number) => {
  Atomics.add(runs, cell, 1);
  return new Promise(() => {});
};

function values(): unknown {
  switch (random(8)) {
    case 0:
      return "ü".repeat(random(300));
    case 1:
      return { list: [random(100), "x", null], nested: { yes: true } };
    case 2:
      return Array.from({ length: random(400) }, (_, i) => i / 3);
    case 3:
      return new Map([["key", new Date(random(1e9))]]);
    case 4:
      return "y".repeat(random(20_000));
    default:
      return random(1e9);
  }
}

function size(value: unknown): number {
  return value instanceof Map
    ? value.size
    : JSON.stringify(value ?? null).length;
}

/** One call, and everything that must be true of it. */
async function call(pool: ProcessPool, name: string): Promise<void> {
  const cell = free.shift()!;
  const kind = random(400);
  counts.calls++;
  const at = performance.now();
  try {
    if (kind === 0) {
      await sure(`${name}: exit`, pool.apply(dies, [runs, cell, random(3)]));
      fail("a call ended although its worker died");
    } else if (kind === 1) {
      const timeout = 1 + random(60);
      const lateness = plainTimer(timeout);
      const fn = random(4) === 0 ? hangs : sleeps;
      try {
        await sure(
          `${name}: timeout`,
          pool.apply(fn, [runs, cell], { timeout }),
        );
        fail("a call without end ended");
      } finally {
        const late = performance.now() - at - timeout;
        latencies.late.add(late);
        check(
          late < lateness() + OVERSLEPT_MS,
          `a timeout came ${late} ms late`,
        );
        check(late > -2, `a timeout came ${-late} ms early`);
      }
    } else if (kind === 2) {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), random(40));
      const { signal } = controller;
      await sure(
        `${name}: abort`,
        pool.apply(sleeps, [runs, cell], { signal }),
      );
      fail("a call without end ended");
    } else {
      const value = values();
      const result = await sure(
        `${name}: apply`,
        pool.apply(plain, [runs, cell, value]),
      );
      if (kind > 100) latencies.apply.add(performance.now() - at);
      check(size(result) === size(value), "a call has another's answer");
      settle(cell, 1);
    }
  } catch (error) {
    const { name: kindOf } = error as Error;
    if (error instanceof WorkerExitError) {
      counts.exits++;
      // Beside the call that ended its worker, none may have been begun.
      if (kind !== 0) fail(`a bystander's call failed: ${error.message}`);
      settle(cell, 1);
    } else if (kindOf === "TimeoutError" && kind === 1) {
      counts.timeouts++;
      settle(cell, 0);
    } else if (kindOf === "AbortError" && kind === 2) {
      counts.aborts++;
      settle(cell, 0);
    } else fail(`${name}: ${error instanceof Error ? error.stack : error}`);
  }
}

async function mapped(pool: ProcessPool, name: string): Promise<void> {
  const cells = Array.from({ length: 200 }, () => free.shift()!);
  const items = cells.map((cell) => [runs, cell, cell * 2]);
  counts.items += cells.length;
  let results: unknown[] = [];
  switch (random(3)) {
    case 0:
      results = await sure(
        `${name}: starmap`,
        pool.starmap(plain, items as [Int32Array, number, number][]),
      );
      break;
    case 1:
      for await (
        const value of pool.imap(
          ([runs, cell, value]) => {
            Atomics.add(runs, cell, 1);
            return value;
          },
          items as [Int32Array, number, number][],
          { chunkSize: 1 + random(9) },
        )
      ) results.push(value);
      break;
    default: {
      const controller = new AbortController();
      const work = pool.starmap(
        plain,
        items as [Int32Array, number, number][],
        { chunkSize: 2, signal: controller.signal },
      );
      if (random(2) === 0) await pause(1);
      controller.abort();
      try {
        results = await sure(`${name}: starmap, aborted`, work);
      } catch (error) {
        if ((error as Error).name !== "AbortError") throw error;
        for (const cell of cells) settle(cell, 0);
        return;
      }
    }
  }
  check(
    results.length === cells.length &&
      results.every((value, i) => value === cells[i]! * 2),
    "a map lost a result or their order",
  );
  for (const cell of cells) settle(cell, 1);
}

/** Pools come and go; each has calls of every kind under way at once. */
async function poolStorm(): Promise<void> {
  for (let round = 0; going(); round++) {
    const name = `pool ${round}`;
    const pool = new ProcessPool(
      2,
      round % 3 === 2 ? { maxTasksPerChild: 50 } : {},
    );
    counts.pools++;
    const until = performance.now() + 3000 + random(3000);
    const caller = async () => {
      while (going() && performance.now() < until) await call(pool, name);
    };
    const mapper = async () => {
      while (going() && performance.now() < until) {
        await mapped(pool, name).catch((error) => {
          // A chunk may be on the worker that a call of another kind ends.
          if (!(error instanceof WorkerExitError)) throw error;
          fail(`a bystander's map failed: ${error.message}`);
        });
      }
    };
    await Promise.all([
      ...Array.from({ length: 24 }, caller),
      ...Array.from({ length: 2 }, mapper),
    ]);
    const { respawned, abandoned } = pool.stats();
    counts.respawned += respawned;
    counts.abandoned += abandoned;
    if (round % 2 === 0) {
      pool.close();
    } else {
      const left = Array.from({ length: 50 }, () => {
        const cell = free.shift()!;
        return pool.apply(plain, [runs, cell, 1]).then(
          () => settle(cell, 1),
          (error) => {
            check(
              error.name === "PoolClosedError",
              `terminate() rejected with ${error}`,
            );
            settle(cell, 0);
          },
        );
      });
      if (random(2) === 0) await pause(1);
      pool.terminate();
      await sure(`${name}: calls left`, Promise.all(left));
    }
    await sure(`${name}: join`, pool.join());
  }
}

// -- events -----------------------------------------------------------------

async function eventStorm(): Promise<void> {
  while (going()) {
    const [ping, pong, stop] = [new Event(), new Event(), new Event()];
    const ready = new Event();
    const partner = new Process(
      async (
        ping: Event,
        pong: Event,
        stop: Event,
        ready: Event,
        blocking: boolean,
      ) => {
        ready.set();
        while (!stop.isSet()) {
          if (blocking) ping.waitSync();
          else await ping.wait();
          ping.clear();
          pong.set();
        }
      },
      { args: [ping, pong, stop, ready, random(2) === 0] },
    );
    partner.start();
    await sure("a process's first event", ready.wait());
    const until = performance.now() + 2000;
    while (going() && performance.now() < until) {
      const at = performance.now();
      const back = pong.wait();
      ping.set();
      check(await sure("an event", back), "a wait without timeout timed out");
      latencies.event.add(performance.now() - at);
      pong.clear();
      counts.pulses++;
      if (random(200) === 0) await pause(random(3));
    }
    // A pulse releases all who wait, whatever follows it.
    const waits = Array.from({ length: 20 }, () => pong.wait());
    pong.set();
    pong.clear();
    const released = await sure("a pulse", Promise.all(waits));
    check(released.every((it) => it), "a pulse was lost");
    stop.set();
    ping.set();
    check(await sure("a process", partner.join()) === 0, "a process failed");
  }
}

/** Waits that nobody ends: each is over on time. */
async function timeoutStorm(): Promise<void> {
  const event = new Event();
  while (going()) {
    const timeout = 1 + random(300);
    const lateness = plainTimer(timeout);
    const at = performance.now();
    check(!await event.wait({ timeout }), "an event was set by nobody");
    const late = performance.now() - at - timeout;
    latencies.late.add(late);
    check(late > -2, `a wait ended ${-late} ms early`);
    check(late < lateness() + OVERSLEPT_MS, `a wait overslept by ${late} ms`);
  }
}

// -- barriers ---------------------------------------------------------------

async function barrierStorm(): Promise<void> {
  while (going()) {
    const barrier = new Barrier(3);
    const stop = new Event();
    const indices = new Int32Array(new SharedArrayBuffer(4));
    const party = () => {
      const process = new Process(
        async (barrier: Barrier, stop: Event, indices: Int32Array) => {
          for (let i = 0; !stop.isSet(); i++) {
            try {
              const index = i % 2 ? await barrier.wait() : barrier.waitSync();
              Atomics.add(indices, 0, 1 << (8 * index));
            } catch (error) {
              if ((error as Error).name !== "BrokenBarrierError") throw error;
            }
          }
        },
        { args: [barrier, stop, indices] },
      );
      process.start();
      return process;
    };
    let parties = [party(), party()];
    const until = performance.now() + 3000;
    for (let i = 0; going() && performance.now() < until; i++) {
      const at = performance.now();
      try {
        const index = await sure("a barrier", barrier.wait());
        check(index >= 0 && index < 3, `an index was ${index}`);
        latencies.barrier.add(performance.now() - at);
        counts.cycles++;
      } catch (error) {
        if (!(error instanceof BrokenBarrierError)) throw error;
      }
      const trouble = random(300);
      if (trouble === 0) {
        barrier.abort();
        check(barrier.broken, "abort() left the barrier usable");
        await barrier.wait().then(
          () => fail("a broken barrier was passed"),
          () => counts.breaks++,
        );
        barrier.reset();
      } else if (trouble === 1) {
        barrier.reset();
        counts.breaks++;
      } else if (trouble === 2) {
        // A party dies wherever it is, and another one takes its place.
        const victim = parties.shift()!;
        victim.kill();
        check(victim.exitCode === -9, "a killed process has another code");
        // Its thread may still have to find out.
        await pause(400);
        barrier.reset();
        counts.breaks++;
        parties.push(party());
      }
    }
    stop.set();
    const ended = Promise.all(parties.map((it) => it.join()));
    let over = false;
    void ended.then(() => over = true);
    // Whoever waits for a party that has left is sent home.
    while (!over && failure === undefined) {
      barrier.abort();
      await pause(1);
    }
    const codes = await sure("the parties' ends", ended);
    check(codes.every((code) => code === 0), `parties ended with ${codes}`);
    parties = [];
  }
}

// -- processes --------------------------------------------------------------

async function processStorm(): Promise<void> {
  const ways: [code: number, target: () => unknown][] = [
    [0, () => {}],
    [0, async () => await new Promise((resolve) => setTimeout(resolve, 2))],
    [0, () => self.close()],
    [7, () => {
      const { process } = globalThis as unknown as {
        process: { exit(code: number): void };
      };
      process.exit(7);
    }],
  ];
  while (going()) {
    const [code, target] = ways[random(ways.length)]!;
    const process = new Process(target);
    process.start();
    counts.processes++;
    const end = await sure("a process's end", process.join());
    check(end === code, `a process ended with ${end}, not ${code}`);
    const stuck = new Process(() => new Promise(() => {}));
    stuck.start();
    counts.processes++;
    if (random(2) === 0) await pause(random(60));
    stuck.terminate();
    const killed = await sure("a process's termination", stuck.join());
    check(killed === -15, `a terminated process ended with ${killed}`);
    await pause(50);
  }
}

// -- the watch --------------------------------------------------------------

/** What must not grow, in its unit, as it was at each report. */
const held = {
  memory: { values: [] as number[], most: 48 * 2 ** 20 },
  files: { values: [] as number[], most: 50 },
  threads: { values: [] as number[], most: 20 },
};

/** How many entries a folder of the system has; `0` where there is none. */
function entries(folder: string): number {
  try {
    return readdirSync(folder).length;
  } catch {
    return 0; // not Linux
  }
}

function collect(): void {
  const scope = globalThis as unknown as {
    gc?: () => void;
    Bun?: { gc(force: boolean): void };
  };
  scope.gc?.();
  scope.Bun?.gc(true);
}

function report(): void {
  collect();
  const { rss, heapUsed } = process.memoryUsage();
  held.memory.values.push(rss);
  const files = entries("/proc/self/fd");
  held.files.values.push(files);
  const threads = entries("/proc/self/task");
  held.threads.values.push(threads);
  const of = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  console.log(
    `${((performance.now() - began) / 1000).toFixed(0)} s: ` +
      Object.entries(counts).map(([key, value]) => `${key} ${value}`)
        .join(", ") +
      `, memory ${of(rss)} (heap ${of(heapUsed)}), files ${files}, ` +
      `threads ${threads}\n` +
      `  ms p50/p99/p99.9/max: ` +
      Object.entries(latencies).map(([key, it]) => `${key} ${it.take()}`)
        .join(", "),
  );
}

/** Whether the last fifth has more than all that came before it had. */
function checkGrowth(): void {
  for (const [name, { values, most }] of Object.entries(held)) {
    const { length } = values;
    if (length < 10) {
      // Too short to tell a leak from warming up, but not a flood.
      check(
        values.at(-1)! < values[0]! * 2 + 5 * most,
        `${name} grew from ${values[0]} to ${values.at(-1)}`,
      );
      continue;
    }
    const early = values.slice(Math.floor(length / 5), Math.ceil(length / 2));
    const late = values.slice(-Math.floor(length / 5));
    check(
      Math.min(...late) < Math.max(...early) * GROWTH + most,
      `${name} grew from ${Math.max(...early)} to ${Math.min(...late)}`,
    );
  }
}

const watch = setInterval(() => {
  const now = performance.now();
  for (const { what, until } of pending.values()) {
    if (now > until) fail(`no answer in time: ${what}`);
  }
  if (failure !== undefined) end();
}, 500);
const reporter = setInterval(report, REPORT_MS);

function end(): void {
  clearInterval(watch);
  clearInterval(reporter);
  report();
  if (failure === undefined) checkGrowth();
  if (failure === undefined) {
    check(activeChildren().length === 0, "a process is left");
  }
  if (failure !== undefined) {
    console.error(`FAILED after ${(performance.now() - began) / 1000} s:`);
    console.error(failure);
  } else console.log("passed");
  process.exit(failure === undefined ? 0 : 1);
}

try {
  await Promise.all([
    poolStorm(),
    eventStorm(),
    timeoutStorm(),
    barrierStorm(),
    processStorm(),
  ]);
} catch (error) {
  fail(error instanceof Error ? error.stack ?? String(error) : String(error));
}
end();
