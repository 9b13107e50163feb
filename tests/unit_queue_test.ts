// The queues beside arrays that do the same.

import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { type Call, CallbackCall } from "../_internal/call.ts";
import { CallQueue } from "../_internal/call_queue.ts";
import { Queue } from "../_internal/queue.ts";
import { Random } from "./_random.ts";

const timeout = 20_000;

const startOf = (array: number[], length: number) => (array[0] ?? 0) - length;

test("Queue holds what an array would", { timeout }, () => {
  const seed = Date.now() | 0;
  const random = new Random(seed);
  for (let round = 0; round < 20; round++) {
    const queue = new Queue<number>();
    const array: number[] = [];
    const story: string[] = [];
    let most = 0;
    for (let step = 0; step < 400; step++) {
      const what = random.pick(
        ["push", "unshift", "shift", "takeLast", "replace"],
      );
      story.push(what);
      const length = random.below(30);
      const start = what === "unshift" ? startOf(array, length) : most;
      const few = Array.from({ length }, (_, i) => start + i);
      if (what === "push") {
        most += length;
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
      } else if (array.length > 0) {
        const index = random.below(array.length);
        queue.replace(index, array[index] = step);
      }
      const all = Array.from({ length: queue.length }, (_, i) => queue.at(i));
      assertEquals(all, array, `seed ${seed}: ${story.join()}`);
    }
  }
});

test("CallQueue holds what an array would", { timeout }, () => {
  const seed = Date.now() | 0;
  const random = new Random(seed);
  const request = { kind: "apply", fn: () => {}, payload: [] } as const;
  let number = 0;
  const newCall = () => {
    const call = new CallbackCall(request, () => {});
    call.number = number++;
    return call;
  };
  const numbers = (calls: Call[]) => calls.map((it) => it.number);
  for (const size of [30, 300, 3000]) {
    const queue = new CallQueue();
    let array: Call[] = [];
    const story: string[] = [];
    let shifted: Call[] = [];
    for (let step = 0; step < 300; step++) {
      const what = random.pick(["push", "shift", "unshift", "few", "many"]);
      story.push(what);
      const length = random.below(size);
      if (what === "push") {
        for (let i = 0; i < length; i++) {
          const call = newCall();
          queue.push(call);
          array.push(call);
        }
      } else if (what === "shift") {
        for (let i = 0; i < length && array.length > 0; i++) {
          shifted.push(queue.shift()!);
          assertEquals(shifted.at(-1) === array.shift(), true);
        }
      } else if (what === "unshift") {
        queue.unshift(shifted);
        array.unshift(...shifted);
        shifted = [];
      } else {
        const some = what === "few" ? 30 : 2;
        const calls = new Set(array.filter(() => random.below(some) === 0));
        // And some that are not there, or have been, before or behind.
        const others = [newCall(), ...shifted.slice(0, 3)];
        const removed = queue.remove(new Set([...calls, ...others]));
        assertEquals(numbers(removed), numbers([...calls]));
        assertEquals(queue.remove(calls), []);
        array = array.filter((it) => !calls.has(it));
      }
      const told = `seed ${seed}: ${story.join()}`;
      assertEquals(queue.length, array.length, told);
      assertEquals(queue.first === array[0], true, told);
      if (step % 30 === 0) {
        const calls = queue.clear();
        assertEquals(numbers(calls), numbers(array), told);
        assertEquals(queue.length, 0);
        queue.unshift(calls);
      }
    }
  }
});
