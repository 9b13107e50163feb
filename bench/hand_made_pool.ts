/**
 * The least code that makes a pool out of workers and `postMessage`: what one
 * would write by hand. It is the baseline, and loses calls when a worker dies.
 *
 * @module
 */

const { Worker } = process.getBuiltinModule("node:worker_threads");

/** A pool made by hand. */
export interface HandMadePool {
  /** Squares a number. */
  square(n: number): Promise<number>;
  /** Squares numbers, in four pieces a worker. */
  map(numbers: number[]): Promise<number[]>;
  /** Sends a value there and back. */
  echo(value: unknown, transfer?: ArrayBuffer[]): Promise<unknown>;
  /** Works for some milliseconds. */
  spin(milliseconds: number): Promise<number>;
  /** Waits for some milliseconds. */
  pause(milliseconds: number): Promise<number>;
  /** Ends the workers. */
  terminate(): void;
}

function program(): void {
  const { workerData } = process.getBuiltinModule("node:worker_threads");
  const { port } = workerData;
  const tasks: Record<string, (value: never) => unknown> = {
    square: (n: number) => n * n,
    map: (numbers: number[]) => numbers.map((n) => n * n),
    echo: (value: unknown) => value,
    spin: (milliseconds: number) => {
      const end = performance.now() + milliseconds;
      let rounds = 0;
      while (performance.now() < end) rounds++;
      return rounds;
    },
    pause: (milliseconds: number) =>
      new Promise((resolve) => setTimeout(resolve, milliseconds)),
  };
  port.onmessage = async (
    { data: [id, task, value, transfer] }: MessageEvent,
  ) => {
    const result = await tasks[task]!(value as never);
    port.postMessage(
      [id, result],
      transfer ? [(result as Uint8Array).buffer] : [],
    );
  };
}

const SOURCE = new URL(
  `data:text/javascript,${encodeURIComponent(`(${program})()`)}`,
);

/**
 * Opens a pool.
 *
 * @param processes How many workers.
 * @returns The pool.
 */
export function openHandMadePool(processes: number): HandMadePool {
  const waiting = new Map<number, (value: unknown) => void>();
  const workers = Array.from({ length: processes }, () => {
    const { port1, port2 } = new MessageChannel();
    const worker = new Worker(SOURCE, {
      workerData: { port: port2 },
      transferList: [port2 as never],
    });
    worker.unref();
    port1.onmessage = ({ data: [id, value] }) => {
      const resolve = waiting.get(id)!;
      waiting.delete(id);
      resolve(value);
    };
    return { worker, port: port1 };
  });
  let ids = 0;
  const call = (task: string, value: unknown, transfer?: ArrayBuffer[]) =>
    new Promise<unknown>((resolve) => {
      const id = ids++;
      waiting.set(id, resolve);
      const { port } = workers[id % processes]!;
      port.postMessage(
        [id, task, value, transfer !== undefined],
        transfer ?? [],
      );
    });
  return {
    square: (n) => call("square", n) as Promise<number>,
    echo: (value, transfer) => call("echo", value, transfer),
    spin: (milliseconds) => call("spin", milliseconds) as Promise<number>,
    pause: (milliseconds) => call("pause", milliseconds) as Promise<number>,
    async map(numbers) {
      const size = Math.ceil(numbers.length / (processes * 4));
      const pieces: Promise<unknown>[] = [];
      for (let at = 0; at < numbers.length; at += size) {
        pieces.push(call("map", numbers.slice(at, at + size)));
      }
      return (await Promise.all(pieces) as number[][]).flat();
    },
    terminate() {
      for (const { worker, port } of workers) {
        port.close();
        worker.terminate();
      }
    },
  };
}
