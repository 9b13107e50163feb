// When the system is asked again for a worker.

import { test } from "node:test";
import { assert, assertEquals, assertFalse } from "@std/assert";
import { Refusals } from "../_internal/refusals.ts";

test("Refusals pauses for twice as long each time, up to a limit", () => {
  let time = 1000;
  const refusals = new Refusals(() => time);
  assertFalse(refusals.isPausing);
  const pauses = Array.from({ length: 9 }, () => refusals.add());
  assertEquals(pauses, [
    ...[100, 200, 400, 800, 1600],
    ...[3000, 3000, 3000, 3000],
  ]);
  time += 2999;
  assert(refusals.isPausing);
  time += 1;
  assertFalse(refusals.isPausing);
  refusals.add();
  assert(refusals.isPausing);
  refusals.clear();
  assertFalse(refusals.isPausing);
  assertEquals(refusals.add(), 100);
  assertEquals(refusals.count, 11);
});

test("Refusals loses its patience after five, and is asked when needed", () => {
  const refusals = new Refusals(() => 0);
  for (let i = 0; i < 5; i++) {
    refusals.add();
    assertFalse(refusals.areTooMany);
  }
  refusals.add();
  assert(refusals.areTooMany);
  refusals.ask();
  assertFalse(refusals.isPausing);
  assert(refusals.areTooMany); // until there is a worker
});
