// Functions that the tests of pools send by name.

import {
  Barrier,
  BrokenBarrierError,
  Event,
  PoolClosedError,
  ProcessPool,
  task,
  ThreadPool,
  WorkerExitError,
} from "../../mod.ts";

let calls = 0;

/** Counts the calls in this thread. */
export const count = task(import.meta.url, function count(): number {
  return ++calls;
});

/** Uses pools of both kinds. */
export const nested = task(
  import.meta.url,
  async function nested(n: number): Promise<number[]> {
    await using pool = new ProcessPool(2);
    await using threads = new ThreadPool(2);
    const square = (n: number) => n * n;
    const items = Array.from({ length: n }, (_, i) => i);
    return await threads.map((n) => n + 1, await pool.map(square, items));
  },
);

/**
 * Blocks for ever, when the last call of a pool of this thread's has ended; counts
 * the workers that the pool has started.
 */
export const blockAfterLastCall = task(
  import.meta.url,
  async function blockAfterLastCall(
    blocks: Event,
    workers: Int32Array,
  ): Promise<void> {
    const pool = new ProcessPool(1, {
      initializer: (workers: Int32Array) => void Atomics.add(workers, 0, 1),
      initargs: [workers],
    });
    const stop = new AbortController();
    const { signal } = stop;
    const begun = new Event();
    const begin = (begun: Event) => {
      begun.set();
      return new Promise(() => {});
    };
    const first = pool.apply(begin, [begun], { signal });
    await begun.wait();
    // It waits for an idle worker, and cannot be sent to one.
    const twice = new ArrayBuffer(8);
    const transfer = [twice, twice];
    const second = pool.apply((_: unknown) => {}, [twice], { transfer });
    void Promise.allSettled([first, second]);
    stop.abort();
    blocks.set();
    new Event().waitSync();
  },
);

/** Ends pools whose workers start, and tells how many it has abandoned. */
export const endYoungPools = task(
  import.meta.url,
  async function endYoungPools(): Promise<number> {
    let abandoned = 0;
    for (let i = 0; i < 8; i++) {
      const pool = new ProcessPool(3);
      await new Promise((resolve) => setTimeout(resolve, 45 + i * 3));
      pool.terminate();
      await pool.join();
      ({ abandoned } = pool.stats());
      if (abandoned > 0) break;
    }
    return abandoned;
  },
);

let inner: ProcessPool | undefined;
const negate = (n: number) => -n;

/** Asks a pool of this thread's own. */
export const askInner = task(
  import.meta.url,
  async function askInner(n: number): Promise<number> {
    inner ??= new ProcessPool(1);
    return await inner.apply(negate, [n]);
  },
);

/** Asks it for more than it can do, for ever. */
export const floodInner = task(
  import.meta.url,
  function floodInner(): never {
    inner ??= new ProcessPool(1);
    for (;;) inner.applyAsync(negate, [1]);
  },
);

/** Fails deep inside. */
export const failDeep = task(
  import.meta.url,
  function failDeep(): never {
    function innermost(): never {
      throw new RangeError("deep");
    }
    return innermost();
  },
);

/** Throws one of the module's own errors. */
export const failWith = task(
  import.meta.url,
  function failWith(name: string): never {
    const message = "in the worker";
    if (name === "BrokenBarrierError") throw new BrokenBarrierError(message);
    if (name === "PoolClosedError") throw new PoolClosedError(message);
    throw new WorkerExitError(message, 5);
  },
);

/** Gives a task of another module, which this thread does not load. */
export const taskOf = task(
  import.meta.url,
  function taskOf(url: string): () => unknown {
    return task(url, "one");
  },
);

/** Whether what it is given is of the classes that this module knows. */
export const knowsClasses = task(
  import.meta.url,
  async function knowsClasses(
    event: Event,
    barrier: Barrier,
  ): Promise<boolean[]> {
    const error = await barrier.wait().catch((error) => error);
    return [
      event instanceof Event,
      barrier instanceof Barrier,
      error instanceof BrokenBarrierError,
    ];
  },
);

/** Calls a task that it is given in a worker of its own, in two ways. */
export const useInside = task(
  import.meta.url,
  async function useInside(
    add: (n: number) => number,
    n: number,
  ): Promise<number[]> {
    await using pool = new ProcessPool(1);
    const call = async (add: (n: number) => number, n: number) => await add(n);
    return [await pool.apply(add, [n]), await pool.apply(call, [add, n])];
  },
);

const act = task(import.meta.url, function act() {});

/** Throws what has a barrier whose action is of a module. */
export const throwBarrier = task(
  import.meta.url,
  function throwBarrier(isError: boolean): never {
    const barrier = new Barrier(2, { action: act });
    throw isError
      ? Object.assign(new Error("with a barrier"), { barrier, n: 1 })
      : { barrier };
  },
);

/** Makes an event. */
export const makeEvent = task(
  import.meta.url,
  function makeEvent(): Event {
    return new Event();
  },
);

const answer = 40;

/** Is marked by a test, and by its worker where it is not loaded by the test. */
export function markedLate(): number {
  return answer + 2;
}

const local = new ThreadPool(1);

/** Has a call of a pool of its own thread under way, and never ends. */
export const leaveCallAndSpin = task(
  import.meta.url,
  function leaveCallAndSpin() {
    void local.apply(() => new Promise(() => {}));
    for (;;);
  },
);
