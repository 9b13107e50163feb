// A module that starts others at its top level, whoever loads it. The name of the
// pool says in which way.

import { currentProcess, Process, ProcessPool, task } from "../../mod.ts";

const [way] = currentProcess().name.split("-");

/** Marked and exported. */
export const double = task(import.meta.url, function double(n: number): number {
  return n * 2;
});

const process = new Process(double, { args: [1] }); // starts nothing

if (way === "start") process.start();
if (way === "initializer") {
  new ProcessPool(1, { initializer: double, initargs: [1] });
}
if (way === "apply" || way === "map") {
  await using pool = new ProcessPool(1);
  await (way === "map" ? pool.map(double, [1]) : pool.apply(double, [1]));
}
