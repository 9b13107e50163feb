/**
 * Processes, events, barriers and pools, as in Python's `multiprocessing`.
 *
 * @example Usage
 * ```ts
 * import { Event, Process, ProcessPool } from "@multi/processing";
 * import { assert, assertEquals } from "@std/assert";
 *
 * // A process, and an event that both sides see.
 * const ready = new Event();
 * const cook = new Process((ready: Event) => ready.set(), { args: [ready] });
 * cook.start();
 * assert(await ready.wait());
 * assertEquals(await cook.join(), 0);
 *
 * // A pool: as many workers as there are cores.
 * await using pool = new ProcessPool();
 * assertEquals(await pool.map((n: number) => n * n, [1, 2, 3]), [1, 4, 9]);
 * ```
 *
 * @module
 */

export { Event } from "./event.ts";
export type { EventWaitOptions, EventWaitSyncOptions } from "./event.ts";
export { Barrier, BrokenBarrierError } from "./barrier.ts";
export type {
  BarrierOptions,
  BarrierWaitOptions,
  BarrierWaitSyncOptions,
} from "./barrier.ts";
export { activeChildren, currentProcess, Process } from "./process.ts";
export type {
  ProcessInfo,
  ProcessJoinOptions,
  ProcessOptions,
  ThreadPermissions,
} from "./process.ts";
export { task } from "./task.ts";
export type { AnyFunction } from "./task.ts";
export {
  AsyncResult,
  PoolClosedError,
  ProcessPool,
  ThreadPool,
  WorkerExitError,
} from "./pool.ts";
export type {
  ApplyAsyncOptions,
  ApplyOptions,
  CallLimits,
  Input,
  MapAsyncOptions,
  MapOptions,
  Pool,
  PoolStats,
  ProcessPoolOptions,
  Progress,
  ThreadPoolOptions,
  Transferable,
} from "./pool.ts";
export type { AsyncResultWaitOptions } from "./async_result.ts";
