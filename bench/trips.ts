/**
 * Two threads that block for each other, which several benches measure. Each
 * function starts the other side, which runs for as long as the program does,
 * and returns what goes some rounds with it.
 *
 * @module
 */

import { Barrier, Event, Process } from "../mod.ts";
import { bareWorker } from "./bare_worker.ts";

/**
 * Two sides that spin sleep between two runs: the other begins when the third word
 * counts up.
 */
function spinningCells(): { cells: Int32Array; begin: () => void } {
  const cells = new Int32Array(new SharedArrayBuffer(12));
  const begin = () => {
    Atomics.add(cells, 2, 1);
    Atomics.notify(cells, 2);
  };
  return { cells, begin };
}

/** Round trips of two words of bare `Atomics`, whose threads spin. */
export function spinningTrips(rounds: number): () => void {
  const { cells, begin } = spinningCells();
  bareWorker(
    `(cells) => {
      for (let turn = 0;;) {
        Atomics.wait(cells, 2, turn / ${rounds});
        for (let i = 0; i < ${rounds}; i++) {
          turn++;
          while (Atomics.load(cells, 0) !== turn);
          Atomics.store(cells, 1, turn);
        }
      }
    }`,
    cells,
  ).unref();
  let turn = 0;
  return () => {
    begin();
    for (let i = 0; i < rounds; i++) {
      Atomics.store(cells, 0, ++turn);
      while (Atomics.load(cells, 1) !== turn);
    }
  };
}

/** Round trips of two events. */
export function eventTrips(rounds: number): () => void {
  const ping = new Event();
  const pong = new Event();
  const echo = (ping: Event, pong: Event) => {
    for (;;) {
      ping.waitSync();
      ping.clear();
      pong.set();
    }
  };
  new Process(echo, { args: [ping, pong], daemon: true }).start();
  return () => {
    for (let i = 0; i < rounds; i++) {
      ping.set();
      pong.waitSync();
      pong.clear();
    }
  };
}

/** Cycles of two that meet by bare `Atomics`, and spin. */
export function spinningCycles(rounds: number): () => void {
  const pass = (cells: Int32Array) => {
    const cycle = Atomics.load(cells, 1);
    if (Atomics.add(cells, 0, 1) === 1) {
      Atomics.store(cells, 0, 0);
      Atomics.store(cells, 1, cycle + 1);
    } else {
      while (Atomics.load(cells, 1) === cycle);
    }
  };
  const { cells, begin } = spinningCells();
  bareWorker(
    `(cells) => {
      const pass = ${pass};
      for (let n = 0;; n++) {
        Atomics.wait(cells, 2, n);
        for (let i = 0; i < ${rounds}; i++) pass(cells);
      }
    }`,
    cells,
  ).unref();
  return () => {
    begin();
    for (let i = 0; i < rounds; i++) pass(cells);
  };
}

/** Cycles of a barrier of two. */
export function barrierCycles(rounds: number): () => void {
  const barrier = new Barrier(2);
  const other = (barrier: Barrier) => {
    for (;;) barrier.waitSync();
  };
  new Process(other, { args: [barrier], daemon: true }).start();
  return () => {
    for (let i = 0; i < rounds; i++) barrier.waitSync();
  };
}
