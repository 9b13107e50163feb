// What a worker tells of the calls it has run: how long one took, if that is known.

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { LANE_CELLS, LaneCell, QUICK_US } from "../_internal/protocol.ts";
import { Pace } from "../_internal/worker/pace.ts";

/** A row of calls of one function. */
function row(pace: Pace, fn: number, calls: number, work = () => {}): void {
  pace.begin();
  for (let i = 0; i < calls; i++) {
    pace.count(fn);
    work();
  }
  pace.end(false);
}

function spin(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

function setUp() {
  const cells = new Int32Array(LANE_CELLS);
  const pace = new Pace(cells);
  return { cells, pace, hint: () => cells[LaneCell.Pace]! };
}

/** Rows of calls, till one was not disturbed by what else the machine does. */
function untilQuick(pace: Pace, hint: () => number, fn: number): void {
  for (let i = 0; hint() >>> 16 !== fn; i++) {
    assert(i < 1000, "quick calls are never known to be quick");
    row(pace, fn, 1000);
  }
}

test("Pace tells how long quick calls take, and of which function", () => {
  const { pace, hint } = setUp();
  untilQuick(pace, hint, 3);
  const each = hint() & 0xffff;
  assert(each >= 1 && each < QUICK_US, `received ${each}`);
  untilQuick(pace, hint, 4);
});

test("Pace tells nothing of calls that are not quick", () => {
  const { pace, hint } = setUp();
  row(pace, 3, 2, () => spin(1));
  assertEquals(hint(), 0);
  untilQuick(pace, hint, 3);
  for (let i = 0; i < 3; i++) row(pace, 3, 20, () => spin(0.2));
  assertEquals(hint(), 0);
});

test("Pace forgets what it knew when a call has to wait", () => {
  const { pace, hint } = setUp();
  untilQuick(pace, hint, 3);
  pace.begin();
  for (let i = 0; i < 100; i++) pace.count(3);
  pace.forget();
  assertEquals(hint(), 0);
  pace.end(false); // of this row nothing is known
  assertEquals(hint(), 0);
  untilQuick(pace, hint, 3);
});

test("Pace knows what it knew after a row that was cut short", () => {
  const { pace, hint } = setUp();
  untilQuick(pace, hint, 3);
  row(pace, 3, 1); // there was no room for its answer
  assertEquals(hint() >>> 16, 3);
});

test("Pace believes in a row that took long if the next one does too", () => {
  const { pace, hint } = setUp();
  const slowRow = () => row(pace, 3, 20, () => spin(0.2));
  untilQuick(pace, hint, 3);
  slowRow();
  assertEquals(hint() >>> 16, 3, "the system may have stopped the thread");
  slowRow();
  assertEquals(hint(), 0);
});

test("Pace forgets its doubts after a row that is quick", () => {
  const { pace, hint } = setUp();
  const slowRow = () => row(pace, 3, 20, () => spin(0.2));
  // The row between may be slow too, by what else the machine does.
  for (let known = false, i = 0; !known; i++) {
    assert(i < 100, "it doubts what it knows for ever");
    untilQuick(pace, hint, 3);
    slowRow();
    row(pace, 3, 1000);
    slowRow();
    known = hint() >>> 16 === 3;
  }
});
