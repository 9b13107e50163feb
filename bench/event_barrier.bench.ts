/**
 * What a round trip through two events and a cycle of a barrier of two cost,
 * each beside its floor: bare `Atomics`, spinning and sleeping. A single round
 * is too short to be timed, so an iteration is 1,000 of them.
 *
 * Run with `deno bench`. Under `taskset -c 0`, where spinning is pure loss, the
 * floors that spin are left out.
 *
 * @module
 */

import { Barrier, Event, Process } from "../mod.ts";
import { bareWorker } from "./bare_worker.ts";
import {
  barrierCycles,
  eventTrips,
  spinningCycles,
  spinningTrips,
} from "./trips.ts";

const ROUNDS = 1_000;
const oneCore = navigator.hardwareConcurrency === 1;

// Every other side runs for as long as the program does, and sleeps between
// the iterations.

function cells(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(8));
}

// -- round trip ---------------------------------------------------------------

function sleepingTrip(): () => void {
  const shared = cells();
  bareWorker((cells) => {
    for (let turn = 1;; turn++) {
      // Again, as a late notify of the turn before may end a wait early.
      while (Atomics.load(cells, 0) !== turn) Atomics.wait(cells, 0, turn - 1);
      Atomics.store(cells, 1, turn);
      Atomics.notify(cells, 1);
    }
  }, shared).unref();
  let turn = 0;
  return () => {
    for (let i = 0; i < ROUNDS; i++) {
      Atomics.store(shared, 0, ++turn);
      Atomics.notify(shared, 0);
      while (Atomics.load(shared, 1) !== turn) {
        Atomics.wait(shared, 1, turn - 1);
      }
    }
  };
}

function asyncTrip(): () => Promise<void> {
  const shared = cells();
  bareWorker(async (cells) => {
    setInterval(() => {}, 1 << 30); // holds the event loop
    for (let turn = 1;; turn++) {
      while (Atomics.load(cells, 0) !== turn) {
        await Atomics.waitAsync(cells, 0, turn - 1).value;
      }
      Atomics.store(cells, 1, turn);
      Atomics.notify(cells, 1);
    }
  }, shared).unref();
  let turn = 0;
  return async () => {
    const keepAlive = setInterval(() => {}, 1 << 30);
    for (let i = 0; i < ROUNDS; i++) {
      Atomics.store(shared, 0, ++turn);
      Atomics.notify(shared, 0);
      while (Atomics.load(shared, 1) !== turn) {
        await Atomics.waitAsync(shared, 1, turn - 1).value;
      }
    }
    clearInterval(keepAlive);
  };
}

function eventTripAsync(): () => Promise<void> {
  const ping = new Event();
  const pong = new Event();
  const echo = async (ping: Event, pong: Event) => {
    for (;;) {
      await ping.wait();
      ping.clear();
      pong.set();
    }
  };
  new Process(echo, { args: [ping, pong], daemon: true }).start();
  return async () => {
    for (let i = 0; i < ROUNDS; i++) {
      ping.set();
      await pong.wait();
      pong.clear();
    }
  };
}

// -- barrier cycle ------------------------------------------------------------

function sleepingCycle(): () => void {
  const pass = (cells: Int32Array) => {
    const cycle = Atomics.load(cells, 1);
    if (Atomics.add(cells, 0, 1) === 1) {
      Atomics.store(cells, 0, 0);
      Atomics.store(cells, 1, cycle + 1);
      Atomics.notify(cells, 1);
    } else {
      while (Atomics.load(cells, 1) === cycle) Atomics.wait(cells, 1, cycle);
    }
  };
  const shared = cells();
  bareWorker(
    `(cells) => {
      const pass = ${pass};
      for (;;) pass(cells);
    }`,
    shared,
  ).unref();
  return () => {
    for (let i = 0; i < ROUNDS; i++) pass(shared);
  };
}

function asyncCycle(): () => Promise<void> {
  const pass = async (cells: Int32Array) => {
    const cycle = Atomics.load(cells, 1);
    if (Atomics.add(cells, 0, 1) === 1) {
      Atomics.store(cells, 0, 0);
      Atomics.store(cells, 1, cycle + 1);
      Atomics.notify(cells, 1);
    } else {
      while (Atomics.load(cells, 1) === cycle) {
        await Atomics.waitAsync(cells, 1, cycle).value;
      }
    }
  };
  const shared = cells();
  bareWorker(
    `async (cells) => {
      setInterval(() => {}, 1 << 30); // holds the event loop
      const pass = ${pass};
      for (;;) await pass(cells);
    }`,
    shared,
  ).unref();
  return async () => {
    const keepAlive = setInterval(() => {}, 1 << 30);
    for (let i = 0; i < ROUNDS; i++) await pass(shared);
    clearInterval(keepAlive);
  };
}

function barrierAsync(): () => Promise<void> {
  const barrier = new Barrier(2);
  const other = async (barrier: Barrier) => {
    for (;;) await barrier.wait();
  };
  new Process(other, { args: [barrier], daemon: true }).start();
  return async () => {
    for (let i = 0; i < ROUNDS; i++) await barrier.wait();
  };
}

// -- the groups ---------------------------------------------------------------

interface Entry {
  name: string;
  start: () => () => void | Promise<void>;
  spins?: boolean;
}

const groups: Record<string, Entry[]> = {
  "event round trip, blocking": [
    {
      name: "bare Atomics, spinning",
      start: () => spinningTrips(ROUNDS),
      spins: true,
    },
    { name: "bare Atomics, sleeping", start: sleepingTrip },
    { name: "Event.waitSync()", start: () => eventTrips(ROUNDS) },
  ],
  "event round trip, awaiting": [
    { name: "bare Atomics.waitAsync()", start: asyncTrip },
    { name: "Event.wait()", start: eventTripAsync },
  ],
  "barrier cycle of two, blocking": [
    {
      name: "bare Atomics, spinning",
      start: () => spinningCycles(ROUNDS),
      spins: true,
    },
    { name: "bare Atomics, sleeping", start: sleepingCycle },
    { name: "Barrier.waitSync()", start: () => barrierCycles(ROUNDS) },
  ],
  "barrier cycle of two, awaiting": [
    { name: "bare Atomics.waitAsync()", start: asyncCycle },
    { name: "Barrier.wait()", start: barrierAsync },
  ],
};

for (const [group, entries] of Object.entries(groups)) {
  const rivals = entries.filter((entry) => !(entry.spins && oneCore));
  for (const [i, { name, start }] of rivals.entries()) {
    const run = start();
    await run(); // the other side has started, both are compiled
    Deno.bench(
      `${name}, 1,000 times`,
      { group, baseline: i === 0 },
      async () => await run(),
    );
  }
}
