/**
 * Channels over a port that the test has in its hands.
 *
 * @module
 */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { test } from "node:test";
import { type Call, type Outcome, WatchedCall } from "../_internal/call.ts";
import { PlainChannel, SharedChannel } from "../_internal/channel.ts";
import { AnswerFrame, BELL_CELLS, LaneCell } from "../_internal/protocol.ts";
import { HEADER, lead, ringOf } from "../_internal/ring.ts";
import type { Port } from "../_internal/runtime.ts";

const timeout = 20_000;

function fakePort(): Port {
  return {
    postMessage() {},
    onmessage: null,
    onmessageerror: null,
    close() {},
  };
}

/** Notes how calls ended. */
function noted() {
  const outcomes: Outcome[] = [];
  return {
    outcomes,
    onAnswer(_: Call, outcome: Outcome | Promise<Outcome>) {
      outcomes.push(outcome as Outcome);
    },
    onReady() {},
    onBroken() {},
    onSpoilt() {},
  };
}

function newCall(): Call {
  const fn = function named() {};
  return new WatchedCall({ kind: "apply", fn, payload: [] }, () => {});
}

function assertUnread(outcomes: Outcome[]): void {
  assertEquals(outcomes.length, 1);
  const [outcome] = outcomes;
  assertEquals(outcome!.ok, false);
  const { error } = outcome as Outcome & { ok: false };
  assertEquals((error as Error).name, "DataCloneError");
  assertStringIncludes(
    (error as Error).message,
    'Cannot send result of function "named" as the other thread cannot read it',
  );
}

test("An answer that cannot be read fails its call, by messages alone", {
  timeout,
}, () => {
  const port = fakePort();
  const events = noted();
  const channel = new PlainChannel(events);
  channel.open(port);
  port.onmessage!({ data: { kind: "ready" } });
  channel.send(newCall());
  port.onmessageerror!();
  assertUnread(events.outcomes);
  assertEquals(channel.inFlight, 0);
});

test("An answer that cannot be read fails its call, by shared memory", {
  timeout,
}, () => {
  const port = fakePort();
  const events = noted();
  const bell = new Int32Array(new SharedArrayBuffer(BELL_CELLS * 4));
  const sizes = { calls: 1 << 12, answers: 1 << 12 };
  const channel = new SharedChannel(events, bell, sizes);
  channel.open(port);
  channel.send(newCall());
  port.onmessageerror!();
  assertEquals(events.outcomes.length, 0); // its frame has not come
  // What the worker writes for an answer that it has posted.
  const { cells, answers } = channel.memory;
  const ring = ringOf(answers);
  lead(ring, 0, 0);
  ring.words[0] = HEADER;
  ring.words[1] = AnswerFrame.Posted;
  Atomics.store(cells, LaneCell.Written, HEADER);
  channel.drain();
  assertUnread(events.outcomes);
  assertEquals(channel.inFlight, 0);
});
