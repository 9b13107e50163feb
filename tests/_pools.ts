/**
 * What the tests of pools share.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Barrier, Event, ProcessPool, ThreadPool } from "../mod.ts";
import { travel } from "../_internal/dispatcher.ts";

/** Both kinds of pool: one contract. */
export const POOLS = [ProcessPool, ThreadPool] as const;

/** Either kind. */
export type AnyPool = ProcessPool | ThreadPool;

/** Whether a busy thread cannot be stopped from outside here. */
export const abandonsBusyThreads = "Deno" in globalThis;

/** A word that every thread can see. */
export function sharedCells(length = 1): Int32Array {
  return new Int32Array(new SharedArrayBuffer(length * 4));
}

/** Resolves when a word has at least the value, and rejects if it never does. */
export async function reached(
  cells: Int32Array,
  index: number,
  value: number,
): Promise<void> {
  await until(() => Atomics.load(cells, index) >= value);
}

/** Resolves when a condition holds, and rejects if it never does. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) {
      throw new Error(`never came: ${condition}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Resolves when all workers of a pool have run something. */
export async function started(pool: ProcessPool): Promise<void> {
  const all = new Barrier(pool.processes);
  const meet = (all: Barrier) => all.wait();
  await pool.map(meet, Array(pool.processes).fill(all), { chunkSize: 1 });
}

/** Keeps every worker busy with what a call has left there, till its gate is set. */
export async function deafen(pool: ProcessPool): Promise<Event[]> {
  const gates = Array.from({ length: pool.processes }, () => new Event());
  const all = new Barrier(gates.length + 1);
  const leave = (gate: Event, all: Barrier) => {
    setTimeout(() => {
      all.waitSync();
      gate.waitSync();
    });
    all.waitSync(); // each worker has one
  };
  const calls = gates.map((gate) => pool.apply(leave, [gate, all]));
  await all.wait();
  await Promise.all(calls);
  await all.wait();
  return gates;
}

/** What came of some promises, in short. */
export async function outcomes(
  promises: Iterable<PromiseLike<unknown>>,
): Promise<unknown[]> {
  const results = await Promise.allSettled(promises);
  return results.map((it) =>
    it.status === "fulfilled" ? it.value : (it.reason as Error)?.name
  );
}

/** All that an iterator gives, and the error that it ends with. */
export async function drained<T>(
  iterator: AsyncIterable<T>,
): Promise<{ values: T[]; error?: unknown }> {
  const values: T[] = [];
  try {
    for await (const value of iterator) values.push(value);
  } catch (error) {
    return { values, error };
  }
  return { values };
}

/**
 * Lets a pool of two end a call "early" and one "late" while this thread is held
 * up, so that it has both answers to read at once; again and again, until each of
 * the workers was the early one.
 *
 * @param ask Asks for a call with each item, and resolves to what came first: the
 * item's name and that of its worker.
 */
export async function endInTurn(
  ask: (pool: ProcessPool, items: Turn[]) => Promise<string>,
): Promise<void> {
  await using pool = new ProcessPool(2);
  await started(pool);
  const early = new Set<string>();
  while (early.size < 2) {
    const turn = sharedCells();
    const items: Turn[] = [{ name: "late", turn }, { name: "early", turn }];
    if (Math.random() < 0.5) items.reverse();
    const first = ask(pool, items);
    // One of these comes after "early" in its worker, and tells "late" so.
    const come = (turn: Int32Array, here: Event) => {
      Atomics.store(turn, 0, 1);
      Atomics.notify(turn, 0);
      here.set();
    };
    const here = [new Event(), new Event()];
    const calls = here.map((event) => pool.apply(come, [turn, event]));
    // While this thread blocks each is sent as soon as a worker is idle.
    for (const event of here) assert(event.waitSync({ timeout: 10_000 }));
    const [name, worker] = (await first).split(" ");
    assertEquals(name, "early");
    early.add(worker!);
    await Promise.all(calls);
  }
}

/** What is asked of a worker by {@linkcode endInTurn}. */
export interface Turn {
  /** When it is to end. */
  name: "early" | "late";
  /** Becomes 1 once "early" has ended. */
  turn: Int32Array;
}

/** Collects the shared memory that is made, until it is stopped. */
export function watchSharedMemory(): {
  made: SharedArrayBuffer[];
  stop: () => void;
} {
  const made: SharedArrayBuffer[] = [];
  const { SharedArrayBuffer: real } = globalThis;
  globalThis.SharedArrayBuffer = new Proxy(real, {
    construct(target, args) {
      const buffer = new target(...args as [number]);
      made.push(buffer);
      return buffer;
    },
  });
  return { made, stop: () => void (globalThis.SharedArrayBuffer = real) };
}

/** A pool of one worker, and the memory that they share. */
export function exposedPool(): {
  pool: ProcessPool;
  bell: Int32Array;
  cells: Int32Array;
  calls: SharedArrayBuffer;
  answers: SharedArrayBuffer;
} {
  const { made, stop } = watchSharedMemory();
  try {
    const pool = new ProcessPool(1);
    const { sizes } = travel;
    const at = made.findIndex((it) => it.byteLength === sizes.answers);
    const [cells, calls, answers] = made.slice(at - 2);
    assertEquals(calls!.byteLength, sizes.calls);
    return {
      pool,
      bell: new Int32Array(made[0]!),
      cells: new Int32Array(cells!),
      calls: calls!,
      answers: answers!,
    };
  } finally {
    stop();
  }
}

/** A call that has begun and ends only by its signal. */
export async function stuckCall(
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
