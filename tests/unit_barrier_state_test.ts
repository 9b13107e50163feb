// The words of a barrier, moved by hand to where threads seldom meet them.

import { test } from "node:test";
import { assert, assertEquals, assertFalse } from "@std/assert";
import { BarrierState, type Place } from "../_internal/barrier_state.ts";

const timeout = 20_000;

function arrive(state: BarrierState, acts = false): Place {
  const arrival = state.arrive(acts);
  assert("place" in arrival, arrival.kind);
  return arrival.place;
}

test("BarrierState remembers 8,191 bad ends, and takes an older one for bad", {
  timeout,
}, () => {
  const state = new BarrierState(2);
  const other = new BarrierState(2, state.cells); // as another thread has it
  const passed = arrive(state);
  arrive(other);
  for (let i = 0; i < 8191; i++) {
    arrive(other);
    other.reset();
  }
  assertEquals(state.outcome(passed), "passed");
  arrive(other);
  other.reset();
  // Its entry may have been overwritten since.
  assertEquals(state.outcome(passed), "broken");
});

test("BarrierState knows a bad end by its number, not by its generation", {
  timeout,
}, () => {
  for (const parties of [2 ** 27 + 1, 2 ** 28, Number.MAX_SAFE_INTEGER]) {
    const state = new BarrierState(parties);
    const place = arrive(state);
    assertEquals(state.outcome(place), undefined);
    // So many parties leave the generation one bit, which comes around at once.
    state.abort();
    state.reset();
    assertEquals(state.outcome(place), "broken");
  }
});

test("BarrierState finishes a bad end whose thread died", { timeout }, () => {
  for (
    const [phase, end, broken] of [
      [3, "reset", false],
      [4, "abort", true],
    ] as const
  ) {
    const state = new BarrierState(3);
    const place = arrive(state);
    // The first step of the end: its phase, and the parity of bad ends so far.
    Atomics.store(state.cells, 0, phase);
    assertEquals(state.outcome(place), "broken", end);
    assertEquals([state.broken, state.waiting], [broken, 0]);
    if (broken) state.reset();
    assertEquals(arrive(state).index, 0);
  }
});

test("BarrierState breaks after an action once for all latecomers", {
  timeout,
}, () => {
  const state = new BarrierState(1);
  const place = arrive(state, true);
  assert(state.acting);
  assertEquals(state.arrive(true).kind, "outside");
  assert(state.giveUpOutside());
  assert(state.giveUpOutside()); // another latecomer
  assert(state.endAction(place, "passed"));
  assertEquals(state.outcome(place), "passed");
  assert(state.broken);
  assertFalse(state.giveUpOutside());
  assertFalse(state.giveUp(place));
  assertFalse(state.endAction(place, "passed"));
});

test("BarrierState tells that a cycle passed, however often it broke since", {
  timeout,
}, () => {
  const parties = 1024; // which leaves the generation 19 bits
  const state = new BarrierState(parties);
  const places = Array.from({ length: parties }, () => arrive(state));
  for (let i = 1; i < 2 ** 18; i++) {
    state.abort(); // nobody has arrived, so that is no bad end
    state.reset();
  }
  state.abort();
  for (const place of places) assertEquals(state.outcome(place), "passed");
});
