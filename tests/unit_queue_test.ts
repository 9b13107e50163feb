// The queue of calls beside an array that does the same.

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { Queue } from "../_internal/queue.ts";
import { Random } from "./_random.ts";

test("Queue holds what an array would", { timeout: 20_000 }, () => {
  const seed = Date.now() | 0;
  const random = new Random(seed);
  for (let round = 0; round < 20; round++) {
    const queue = new Queue<number>();
    const array: number[] = [];
    const story: string[] = [];
    let [least, most] = [0, 0];
    for (let step = 0; step < 400; step++) {
      const what = random.pick(
        ["push", "unshift", "shift", "takeLast", "takeAt", "remove"],
      );
      story.push(what);
      // In order: what comes first is smaller than all others.
      const length = random.below(30);
      if (what === "unshift") least -= length;
      const start = what === "unshift" ? least : most;
      if (what === "push") most += length;
      const few = Array.from({ length }, (_, i) => start + i);
      if (what === "push") {
        for (const item of few) {
          queue.push(item);
          array.push(item);
        }
      } else if (what === "unshift") {
        queue.unshift(few);
        array.unshift(...few);
      } else if (what === "shift") {
        for (const _ of few) assertEquals(queue.shift(), array.shift());
      } else if (what === "takeLast") {
        const count = Math.min(few.length, array.length);
        const taken = array.splice(array.length - count);
        assertEquals(queue.takeLast(count), taken);
      } else if (what === "takeAt" && array.length > 0) {
        const index = random.below(array.length);
        assertEquals(queue.takeAt(index), array.splice(index, 1)[0]);
      } else if (what === "remove") {
        const items = new Set(array.filter(() => random.below(10) === 0));
        if (random.below(2) === 0) { // one alone, which may not be there
          items.clear();
          items.add(array[random.below(array.length + 1)] ?? least - 1);
        }
        const kept = array.filter((item) => !items.has(item));
        assertEquals(
          queue.remove(items, (item) => item),
          array.filter((item) => items.has(item)),
        );
        array.splice(0, array.length, ...kept);
      }
      const all = Array.from({ length: queue.length }, (_, i) => queue.at(i));
      assertEquals(all, array, `seed ${seed}: ${story.join()}`);
    }
  }
});
