/**
 * The least code that makes a pool out of workers and `postMessage`: what one
 * would write by hand. It is the baseline, and loses calls when a worker dies.
 *
 * @module
 */

import { connect, request } from "./slow_device.ts";

const threads = process.getBuiltinModule("node:worker_threads");

/** A pool made by hand. */
export interface HandMadePool {
  /** Squares a number. */
  square(n: number): Promise<number>;
  /** Squares numbers, in four pieces a worker. */
  map(numbers: number[]): Promise<number[]>;
  /** Sends a value there and back. */
  echo(value: unknown, transfer?: ArrayBuffer[]): Promise<unknown>;
  /** Computes a Fibonacci number the slow way. */
  fibonacci(n: number): Promise<number>;
  /** Sends a request to the device. */
  request(slot: number): Promise<void>;
  /** Ends the workers. */
  terminate(): void;
}

function program(
  request: (slot: number) => Promise<void>,
  connect: (device: Int32Array) => void,
): void {
  const { workerData } = process.getBuiltinModule("node:worker_threads");
  const { port, device } = workerData;
  connect(device);
  const tasks: Record<string, (value: never) => unknown> = {
    square: (n: number) => n * n,
    map: (numbers: number[]) => numbers.map((n) => n * n),
    echo: (value: unknown) => value,
    fibonacci: function fibonacci(n: number): number {
      return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
    },
    request,
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
  `data:text/javascript,${
    encodeURIComponent(`(${program})(${request}, ${connect})`)
  }`,
);

/**
 * Opens a pool.
 *
 * @param processes How many workers.
 * @param device What {@linkcode HandMadePool.request} asks.
 * @returns The pool.
 */
export function openHandMadePool(
  processes: number,
  device?: Int32Array,
): HandMadePool {
  const waiting = new Map<number, (value: unknown) => void>();
  const workers = Array.from({ length: processes }, () => {
    const { port1, port2 } = new MessageChannel();
    const worker = new threads.Worker(SOURCE, {
      workerData: { port: port2, device },
      // For a copy of it Deno would ask whoever sits at a terminal.
      env: threads.SHARE_ENV,
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
    fibonacci: (n) => call("fibonacci", n) as Promise<number>,
    request: (slot) => call("request", slot) as Promise<void>,
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
