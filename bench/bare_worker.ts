/**
 * A bare worker of the kind that a process gets on Deno, as the floor of what
 * this module adds.
 *
 * @module
 */

/** What the benches use of a worker of `node:worker_threads`. */
export interface BareWorker {
  /** Calls back at the worker's end. */
  on(type: "exit", listener: () => void): void;
  /** Lets the program end although the worker runs. */
  unref(): void;
}

// deno-lint-ignore no-process-global
const threads = process.getBuiltinModule("node:worker_threads") as {
  Worker: new (
    url: URL,
    options: { workerData: unknown; env: symbol },
  ) => BareWorker;
  SHARE_ENV: symbol;
};

/**
 * Starts a bare worker.
 *
 * @param main What it runs: a function that sees nothing around it, or its
 * source text.
 * @param cells Shared memory, which is its argument.
 * @returns The worker.
 */
export function bareWorker(
  main: string | ((cells: Int32Array) => unknown),
  cells?: Int32Array,
): BareWorker {
  const source = `
    const { workerData } = process.getBuiltinModule("node:worker_threads");
    (${main})(workerData);`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  // For a copy of the environment Deno would ask whoever sits at a terminal.
  return new threads.Worker(url, { workerData: cells, env: threads.SHARE_ENV });
}
