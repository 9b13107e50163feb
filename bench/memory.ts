/**
 * Prints how many MiB an idle worker that has worked takes: of a pool, or of one
 * made by hand when it is called with `bare`. The process measures nothing else,
 * as memory that was free before would hide what is taken.
 *
 * Run by `deno task report`.
 *
 * @module
 */

import { ProcessPool } from "../mod.ts";
import { openHandMadePool } from "./hand_made_pool.ts";

const WORKERS = 12;
const numbers = Array.from({ length: WORKERS * 20 }, (_, n) => n);
const square = (n: number) => n * n;

function open(workers: number): (n: number) => Promise<number> {
  if (Deno.args[0] === "bare") return openHandMadePool(workers).square;
  const pool = new ProcessPool(workers);
  return (n) => pool.apply(square, [n]);
}

/** Starts workers and has them work. */
async function start(workers: number): Promise<void> {
  await Promise.all(numbers.map(open(workers)));
  await new Promise((resolve) => setTimeout(resolve, 500));
}

await start(1); // what the first one takes once
const before = Deno.memoryUsage().rss;
await start(WORKERS);
console.log((Deno.memoryUsage().rss - before) / WORKERS / 2 ** 20);
Deno.exit(0);
