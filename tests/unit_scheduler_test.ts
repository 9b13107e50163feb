// In which order the answers of several workers are read.

import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { timeOf } from "../_internal/answer_clock.ts";
import { AwaitedCall } from "../_internal/call.ts";
import { claim } from "../_internal/claim.ts";
import { Definitions } from "../_internal/definitions.ts";
import { writeValue } from "../_internal/frame.ts";
import {
  AnswerFrame,
  BELL_CELLS,
  BellCell,
  LaneCell,
} from "../_internal/protocol.ts";
import { HEADER, ringOf } from "../_internal/ring.ts";
import {
  noProgress,
  type Schedulable,
  Scheduler,
} from "../_internal/scheduler.ts";
import { SharedChannel } from "../_internal/shared_channel.ts";

const sizes = { calls: 1 << 12, answers: 1 << 12, definitions: 1 << 12 };
const nothing = () => {};

/** A scheduler, and workers that answer when they are told. */
function office() {
  const bell = new Int32Array(new SharedArrayBuffer(BELL_CELLS * 4));
  const definitions = new Definitions(sizes.definitions);
  const scheduler = new Scheduler<Schedulable>({
    onUnsent: nothing,
    onDropped: nothing,
    onLost: nothing,
    onDoubt: nothing,
  }, bell);
  const order: string[] = [];
  const hire = (name: string) => {
    const channel = new SharedChannel(
      {
        onAnswer: () => void order.push(name),
        onHeard: nothing,
        onReady: nothing,
        onBroken: nothing,
        onSpoilt: (error) => {
          throw error;
        },
      },
      { bell, definitions },
      sizes,
    );
    const worker = { channel, left: Infinity, progress: noProgress() };
    scheduler.add(worker);
    channel.send(new AwaitedCall({ kind: "apply", fn: nothing, payload: [] }));
    const { cells, answers } = channel.memory;
    const ring = ringOf(answers);
    /** Does what a worker does with the answer to its only call. */
    const answer = () => {
      const time = timeOf(bell);
      assert(claim(cells, LaneCell.Claim));
      const end = writeValue(ring, HEADER, ring.largest, name);
      ring.words[0] = end;
      ring.words[1] = AnswerFrame.Value | time;
      Atomics.store(cells, LaneCell.Written, end);
      Atomics.add(bell, BellCell.Answers, 1);
    };
    return { worker, answer };
  };
  return { bell, scheduler, order, hire };
}

test("Answers are read in the order in which they were given", () => {
  const { scheduler, order, hire } = office();
  const names = ["a", "b", "c", "d"];
  const hired = names.map(hire);
  for (const at of [2, 0, 3, 1]) hired[at]!.answer();
  assert(scheduler.drain());
  assertEquals(order, ["c", "a", "d", "b"]);
  assert(!scheduler.drain());
});

test("Of answers that come between two looks none is read before an older one", () => {
  const { scheduler, order, hire } = office();
  const first = hire("first");
  // At this one the scheduler looks after the first, before the second.
  const middle = hire("middle");
  const second = hire("second");
  const { channel } = middle.worker;
  const look = channel.look.bind(channel);
  channel.look = () => {
    first.answer();
    second.answer();
    channel.look = look;
  };
  assert(!scheduler.drain());
  assert(scheduler.drain());
  assertEquals(order, ["first", "second"]);
});

test("The order of answers outlives the end of the numbers", () => {
  for (const count of [2 ** 29, 2 ** 30, 2 ** 31, 2 ** 32]) {
    const { bell, scheduler, order, hire } = office();
    bell[BellCell.Answers] = count - 1;
    const [a, b, c] = ["a", "b", "c"].map(hire);
    c!.answer();
    b!.answer();
    a!.answer();
    assert(scheduler.drain());
    assertEquals(order, ["c", "b", "a"]);
  }
});
