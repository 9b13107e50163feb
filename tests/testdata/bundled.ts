// The program that the bundlers get: everything that must survive a minifier.

import { Barrier, Event, Process } from "../../mod.ts";

const event = new Event();
const barrier = new Barrier(2, {
  action() {
    console.log("together");
  },
});
const target = {
  async "turn by turn"(event: Event, barrier: Barrier, half: number) {
    if (half * 2 !== 42) throw new Error(`${self.name} got ${half}`);
    await barrier.wait();
    event.set();
  },
};
const child = new Process(target["turn by turn"], {
  args: [event, barrier, 21],
  name: "bundled",
});
child.start();
await barrier.wait();
console.log(await event.wait(), await child.join());
