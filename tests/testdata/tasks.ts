// Functions that the tests send by name.

import {
  type Barrier,
  currentProcess,
  type Event,
  Process,
  task,
} from "../../mod.ts";

const secret = "of the module";

/** Marked, and not exported: found by the mark alone. */
const hidden = task(import.meta.url, function hidden(event: Event): void {
  if (secret !== "of the module") throw new Error("no module around it");
  event.set();
});

/** Hands out what is not exported. */
export function getHidden(): (event: Event) => void {
  return hidden;
}

/** Marked and exported. */
export const double = task(import.meta.url, function double(n: number): number {
  return n * 2;
});

/** Exported and not marked. */
export function store(cells: Int32Array, value: number): void {
  Atomics.store(cells, 0, value + secret.length);
}

/** Exported, and no function. */
export const answer = 42;

/** Gets a task and calls it. */
export const callIt = task(
  import.meta.url,
  async function callIt(
    fn: (n: number) => number,
    cells: Int32Array,
  ): Promise<void> {
    if (fn !== double) throw new Error("it is another function");
    Atomics.store(cells, 0, await fn(21));
  },
);

/** Stores whether the module runs as the program. */
export const storeMain = task(
  import.meta.url,
  function storeMain(cells: Int32Array): void {
    Atomics.store(cells, 0, import.meta.main ? 1 : 2);
  },
);

/** Starts a process of its own, with the module as it is imported here. */
export const startAnother = task(
  import.meta.url,
  async function startAnother(event: Event): Promise<void> {
    const process = new Process(hidden, { args: [event] });
    process.start();
    if (await process.join() !== 0) throw new Error("the child failed");
  },
);

/** Throws an error. */
export function fail(): never {
  throw new RangeError("from the task");
}

/** Stores who runs it. */
export const storeWho = task(
  import.meta.url,
  function storeWho(cells: Int32Array): void {
    const { name, id } = currentProcess();
    Atomics.store(cells, 0, id);
    Atomics.store(cells, 1, name.length);
  },
);

/** Starts a process that pulses without end, and waits for the word to exit. */
export const startPulse = task(
  import.meta.url,
  async function startPulse(
    born: Event,
    pulse: Event,
    exit: Event,
  ): Promise<void> {
    const process = new Process(async (pulse: Event) => {
      for (;;) {
        pulse.set();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }, { args: [pulse] });
    process.start();
    born.set();
    await exit.wait();
  },
);

/** An action for a barrier: counts itself. */
export function act(): void {
  actions++;
}
let actions = 0;

/** Passes a barrier in both ways, and stores how often it acted here. */
export async function passBarrier(
  barrier: Barrier,
  cells: Int32Array,
): Promise<void> {
  for (let i = 0; i < 5; i++) {
    barrier.waitSync();
    await barrier.wait();
  }
  Atomics.add(cells, 0, actions);
}
