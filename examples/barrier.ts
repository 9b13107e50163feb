/**
 * Twelve processes that go on in groups of three.
 *
 * Run it with `deno run examples/barrier.ts` or `bun run examples/barrier.ts`;
 * `--fast` after the name shortens the wait before the barrier.
 *
 * @module
 */

import { Barrier, Process } from "../mod.ts";

const PROCESSES = 12;
const GROUP = 3;

/** Is sent as source text: it uses nothing but its arguments and globals. */
async function meet(barrier: Barrier, pause: number) {
  console.log(`${self.name} is ready`);
  await new Promise((resolve) => setTimeout(resolve, pause));
  await barrier.wait();
  console.log(`${self.name} goes on`);
}

if (import.meta.main) {
  // deno-lint-ignore no-process-global
  const pause = process.argv.includes("--fast") ? 40 : 2000;
  // The action runs in the thread of the last one of a group, before the
  // group is released: once for each group.
  const barrier = new Barrier(GROUP, {
    action: () => console.log("--- a group of three is complete ---"),
  });
  const processes = Array.from(
    { length: PROCESSES },
    () => new Process(meet, { args: [barrier, pause] }),
  );
  for (const process of processes) process.start();
  for (const process of processes) await process.join();
}
