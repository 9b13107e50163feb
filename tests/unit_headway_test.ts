// How far workers have come, by a clock of the test's.

import { test } from "node:test";
import { assert, assertEquals, assertFalse } from "@std/assert";
import type { Channel } from "../_internal/channel.ts";
import { Headways, noHeadway } from "../_internal/headway.ts";

/** A worker that claims what it is told to, and time that goes on likewise. */
function observed(reading = 0) {
  const channel = { claimed: 0, reading };
  const worker = {
    channel: channel as typeof channel & Channel,
    headway: noHeadway(),
  };
  const clock = { time: 1000 };
  const headways = new Headways([worker], () => clock.time);
  headways.begin(worker.headway);
  return { channel, worker, clock, headways };
}

test("A worker has twice as long each time before it counts as deaf again", () => {
  for (
    const [deaf, patience] of [[0, 20], [1, 40], [3, 160], [6, 1280], [9, 1280]]
  ) {
    const { worker, clock, headways } = observed();
    worker.headway.deaf = deaf!;
    clock.time += patience! - 1;
    assertFalse(headways.isDeaf(worker));
    clock.time += 1;
    assert(headways.isDeaf(worker));
  }
});

test("A worker that has a long message to read is not deaf meanwhile", () => {
  const { worker, clock, headways } = observed(500);
  clock.time += 519;
  assertFalse(headways.isDeaf(worker));
  clock.time += 1;
  assert(headways.isDeaf(worker));
});

test("A worker that begins a call is deaf no more, and goes on for a while", () => {
  const { channel, worker, clock, headways } = observed();
  worker.headway.deaf = 3;
  clock.time += 1000;
  headways.look();
  assertEquals([headways.begun, worker.headway.deaf], [0, 3]);
  assertFalse(headways.goesOn(worker.headway));
  channel.claimed = 2;
  headways.look();
  assertEquals([headways.begun, worker.headway.deaf], [2, 0]);
  assert(headways.goesOn(worker.headway));
  assertFalse(headways.isDeaf(worker));
  clock.time += 5;
  assertFalse(headways.goesOn(worker.headway));
});
