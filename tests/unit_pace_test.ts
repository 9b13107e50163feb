// What a worker tells of the calls it has run: how long one took, if that is known.

import { test } from "node:test";
import { assert, assertEquals, assertFalse } from "@std/assert";
import {
  LANE_CELLS,
  LaneCell,
  LONG_US,
  QUICK_US,
} from "../_internal/protocol.ts";
import { Pace } from "../_internal/worker/pace.ts";

const timeout = 20_000;

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
  const hint = (fn: number) => cells[LaneCell.Paces + fn]!;
  const isQuick = (fn: number) => hint(fn) > 0 && hint(fn) < QUICK_US;
  return { pace, hint, isQuick };
}

/** Rows of calls, till one was not disturbed by what else the machine does. */
function untilQuick(
  pace: Pace,
  isQuick: (fn: number) => boolean,
  fn: number,
): void {
  for (let i = 0; !isQuick(fn); i++) {
    assert(i < 1000, "quick calls are never known to be quick");
    row(pace, fn, 1000);
  }
}

test("Pace tells how long quick calls take, and of which function", {
  timeout,
}, () => {
  const { pace, hint, isQuick } = setUp();
  untilQuick(pace, isQuick, 3);
  const each = hint(3);
  assert(each >= 1 && each < QUICK_US, `received ${each}`);
  assertEquals(hint(4), 0);
  untilQuick(pace, isQuick, 4);
  assertEquals(hint(3), each, "what other functions take is no news of it");
});

test("Pace tells nothing of calls that take long", {
  timeout,
}, () => {
  const { pace, hint, isQuick } = setUp();
  const long = () => spin(LONG_US / 1000);
  row(pace, 3, 2, long);
  assertEquals(hint(3), 0);
  untilQuick(pace, isQuick, 3);
  for (let i = 0; i < 3; i++) row(pace, 3, 10, long);
  assertEquals(hint(3), 0);
});

test("Pace tells how long calls take that are neither quick nor long", {
  timeout,
}, () => {
  const { pace, hint, isQuick } = setUp();
  untilQuick(pace, isQuick, 4);
  for (const fn of [3, 4]) {
    for (let i = 0; hint(fn) < 200; i++) {
      assert(i < 100, "what it tells never becomes what calls take");
      row(pace, fn, 20, () => spin(0.2));
    }
    assert(hint(fn) < LONG_US, `received ${hint(fn)}`);
  }
});

test("Pace tells functions apart whose calls take turns", {
  timeout,
}, () => {
  const { pace, isQuick } = setUp();
  const mixedRow = () => {
    pace.begin();
    for (let i = 0; i < 50; i++) {
      pace.count(3);
      pace.count(4);
      spin(0.2);
    }
    pace.end(true);
  };
  for (let i = 0; !isQuick(3); i++) {
    assert(i < 100, "quick calls between others are never known to be quick");
    mixedRow();
  }
  assertFalse(isQuick(4));
  mixedRow(); // now that the first is known to be quick
  assertFalse(isQuick(4));
});

test(
  "Pace sees that a function is no longer quick though its calls begin rows",
  {
    timeout,
  },
  () => {
    const { pace, isQuick } = setUp();
    for (const next of [3, 4]) {
      untilQuick(pace, isQuick, 3);
      for (let i = 0; isQuick(3); i++) {
        assert(i < 10, "it is taken for quick for ever");
        pace.begin();
        pace.count(3);
        spin(1);
        pace.count(next);
        pace.end(true);
      }
    }
  },
);

test("Pace forgets what it knew when a call has to wait", {
  timeout,
}, () => {
  const { pace, hint, isQuick } = setUp();
  untilQuick(pace, isQuick, 3);
  pace.begin();
  for (let i = 0; i < 100; i++) pace.count(3);
  pace.forget();
  assertEquals(hint(3), 0);
  pace.end(false); // of this row nothing is known
  assertEquals(hint(3), 0);
  untilQuick(pace, isQuick, 3);
});

test("Pace tells how long calls take that have to wait, and of none as quick", {
  timeout,
}, () => {
  const { pace, hint } = setUp();
  const wait = (fn: number, milliseconds: number, times: number) => {
    for (let i = 0; i < times; i++) pace.waited(fn, milliseconds);
  };
  wait(3, 0.001, 7);
  assertEquals(hint(3), 0, "it is not known yet");
  wait(3, 0.001, 1);
  assertEquals(hint(3), QUICK_US);
  wait(3, 0.75, 8);
  assertEquals(hint(3), 750);
  wait(3, 2, 8);
  assertEquals(hint(3), 0, "they take long");
});

test("Pace knows what it knew after a row that was cut short", {
  timeout,
}, () => {
  const { pace, hint, isQuick } = setUp();
  untilQuick(pace, isQuick, 3);
  row(pace, 3, 1); // there was no room for its answer
  assert(hint(3) > 0);
});

test("Pace believes in a row that took long if the next one does too", {
  timeout,
}, () => {
  const { pace, isQuick } = setUp();
  const slowRow = () => row(pace, 3, 20, () => spin(0.2));
  untilQuick(pace, isQuick, 3);
  slowRow();
  assert(isQuick(3), "the system may have stopped the thread");
  slowRow();
  assertFalse(isQuick(3));
});

test("Pace takes a function for twice as slow at most after each row", {
  timeout,
}, () => {
  const { pace, hint, isQuick } = setUp();
  untilQuick(pace, isQuick, 3);
  for (let i = 0; hint(3) < 16; i++) {
    assert(i < 100, "what it tells never becomes what calls take");
    const before = hint(3);
    row(pace, 3, 20, () => spin(0.02));
    // Not quick, if the system stopped the thread in two rows one after the other.
    if (before === 0 || !isQuick(3)) continue;
    assert(hint(3) <= 2 * before, `${before}, ${hint(3)}`);
  }
});

test("Pace forgets its doubts after a row that is quick", {
  timeout,
}, () => {
  const { pace, isQuick } = setUp();
  const slowRow = () => row(pace, 3, 20, () => spin(0.2));
  // The row between may be slow too, by what else the machine does.
  for (let known = false, i = 0; !known; i++) {
    assert(i < 100, "it doubts what it knows for ever");
    untilQuick(pace, isQuick, 3);
    slowRow();
    row(pace, 3, 1000);
    slowRow();
    known = isQuick(3);
  }
});
