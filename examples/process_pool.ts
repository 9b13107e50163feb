/**
 * Five numbered calls for four workers: `ProcessPool`.
 *
 * `thread_pool.ts` is the same program except for the name of the class: there the
 * calls share this thread, here each runs in a worker of its own.
 *
 * Run it with `deno run examples/process_pool.ts` or
 * `bun run examples/process_pool.ts`.
 *
 * @module
 */

import { ProcessPool } from "../mod.ts";

/** Uses nothing but its arguments and globals, so that it can be sent. */
async function work(number: number): Promise<string> {
  console.log(`call ${number} begins`);
  await new Promise((resolve) => setTimeout(resolve, 100));
  console.log(`call ${number} ends`);
  return `result ${number}`;
}

if (import.meta.main) {
  const pool = new ProcessPool(4);
  const results = [1, 2, 3, 4, 5].map((it) => pool.applyAsync(work, [it]));
  pool.close(); // no more calls
  await pool.join(); // by now every result is ready
  for (const result of results) console.log(await result);
}
