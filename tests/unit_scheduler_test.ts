// Which workers get calls, and in which order the answers of several are read.

import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { timeOf } from "../_internal/answer_clock.ts";
import { AwaitedCall, type Call } from "../_internal/call.ts";
import type { Channel, Lag } from "../_internal/channel.ts";
import { claim, giveBack } from "../_internal/claim.ts";
import { Definitions } from "../_internal/definitions.ts";
import { writeValue } from "../_internal/frame.ts";
import { noHeadway } from "../_internal/headway.ts";
import {
  AnswerFrame,
  BELL_CELLS,
  BellCell,
  LaneCell,
  Stage,
} from "../_internal/protocol.ts";
import { HEADER, ringOf } from "../_internal/ring.ts";
import { now } from "../_internal/runtime/loop.ts";
import { cores } from "../_internal/runtime/which.ts";
import { type Schedulable, Scheduler } from "../_internal/scheduler.ts";
import { SharedChannel } from "../_internal/shared_channel.ts";
import { worthwhile } from "../_internal/worthwhile.ts";
import { Random } from "./_random.ts";

const timeout = 20_000;

// deno-lint-ignore no-explicit-any
type Any = any;

const sizes = { calls: 1 << 14, answers: 1 << 12, definitions: 1 << 12 };
const nothing = () => {};

/** For who is told nothing. */
const events = {
  onUnsent: nothing,
  onDropped: nothing,
  onLost: nothing,
  onDoubt: nothing,
  onEmptied: nothing,
};

/** A scheduler, and workers that answer when they are told. */
function office() {
  const bell = new Int32Array(new SharedArrayBuffer(BELL_CELLS * 4));
  const definitions = new Definitions(sizes.definitions);
  const scheduler = new Scheduler<Schedulable>(events, bell);
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
    const worker = { channel, left: Infinity, headway: noHeadway() };
    scheduler.add(worker);
    channel.send(new AwaitedCall({ kind: "apply", fn: nothing, payload: [] }));
    const { cells, answers } = channel.memory;
    const ring = ringOf(answers);
    let at = 0;
    /** Does what a worker does with the answer to its next call. */
    const answer = () => {
      const time = timeOf(bell);
      assert(claim(cells, LaneCell.Claim));
      const end = writeValue(ring, at + HEADER, at + ring.largest, name);
      ring.words[at >> 2] = end - at;
      ring.words[(at >> 2) + 1] = AnswerFrame.Value | time;
      at = end;
      Atomics.store(cells, LaneCell.Written, end);
      Atomics.add(bell, BellCell.Answers, 1);
    };
    return { worker, answer };
  };
  return { bell, scheduler, order, hire };
}

test("Answers are read in the order in which they were given", {
  timeout,
}, () => {
  const { scheduler, order, hire } = office();
  const names = ["a", "b", "c", "d"];
  const hired = names.map(hire);
  for (const at of [2, 0, 3, 1]) hired[at]!.answer();
  assert(scheduler.drain());
  assertEquals(order, ["c", "a", "d", "b"]);
  assert(!scheduler.drain());
});

test(
  "Of answers that come between two looks none is read before an older one",
  {
    timeout,
  },
  () => {
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
  },
);

test("An answer that cannot be read is told of, however late the clock is", {
  timeout,
}, () => {
  for (const count of [1, 2 ** 29 + 1, 2 ** 30 + 1]) {
    const { bell, scheduler, hire } = office();
    bell[BellCell.Answers] = count;
    const { channel } = hire("spoilt").worker;
    hire("other");
    assert(claim(channel.memory.cells, LaneCell.Claim));
    ringOf(channel.memory.answers).words[0] = 3; // no frame is so short
    Atomics.store(channel.memory.cells, LaneCell.Written, 16);
    assertThrows(() => scheduler.drain(), Error, "frame");
  }
});

test("The order of answers outlives the end of the numbers", {
  timeout,
}, () => {
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

const square = (n: number) => n * n;

function newCall(value: Any): Call {
  return new AwaitedCall({ kind: "apply", fn: square, payload: [value] });
}

/** A scheduler of ready workers, which take calls of a pace and answer none. */
function quickOffice(workers: number, pace: number) {
  const { scheduler, order, hire } = office();
  const hired = Array.from({ length: workers }, (_, i) => hire(`${i}`));
  const send = (count: number) => {
    for (let i = 0; i < count; i++) {
      scheduler.push(newCall(i));
    }
    scheduler.send();
  };
  for (const { worker, answer } of hired) {
    const { channel } = worker;
    const { cells } = channel.memory;
    cells[LaneCell.Stage] = Stage.Ready;
    channel.send(newCall(0));
    const numberOfSquare = 1; // after that of the call it was hired with
    cells[LaneCell.Paces + numberOfSquare] = pace;
    answer();
    channel.drain();
    scheduler.takeBack(worker);
  }
  scheduler.answered(hired.at(-1)!.worker); // it is the hot one from now on
  const counts = () => hired.map(({ worker }) => worker.channel.inFlight);
  return { scheduler, order, hired, send, counts };
}

test("Calls are worth more workers the longer they take together", {
  timeout,
}, () => {
  const of8 = (pace: number, calls: number) => worthwhile(pace, calls, 8);
  assertEquals(of8(10, 4), 1, "it gets to them before another is awake");
  assertEquals(of8(10, 19), 7, "this thread has the other core");
  assertEquals(of8(10, 20), 8);
  assertEquals(of8(3, 1000), 3, "this thread keeps no more busy");
  assertEquals(of8(1, 1000), 1);
  assertEquals(of8(50, 1), Infinity);
  assertEquals(of8(Infinity, 1), Infinity);
});

test("Quick calls stay with the worker that gets to them sooner than another", {
  timeout,
}, () => {
  const { send, counts } = quickOffice(3, 10);
  send(4);
  assertEquals(counts(), [0, 0, 4]);
});

test("Calls that keep one worker busy with this thread stay with it", {
  timeout,
}, () => {
  const { send, counts } = quickOffice(3, 1);
  send(1000); // more than there is room for
  assertEquals(counts().slice(0, 2), [0, 0]);
});

test("Many quick calls go to no more workers than there are cores", {
  timeout,
}, () => {
  const workers = cores + 2;
  const { send, counts } = quickOffice(workers, 40);
  send(20 * workers);
  const busy = counts().filter((it) => it > 0).length;
  assertEquals(busy, Math.min(cores, 40));
  assert(counts().at(-1)! > 0);
});

test("A worker that gives back the call it was to be stopped for lives on", {
  timeout,
}, () => {
  const { scheduler, hired, send, counts } = quickOffice(1, Infinity);
  const worker: Schedulable = hired[0]!.worker;
  const { channel } = worker;
  const { cells } = channel.memory!;
  const takeBack = () => scheduler.takeBack(hired[0]!.worker);
  send(1);
  assert(claim(cells, LaneCell.Claim));
  worker.stopping = channel.begun();
  scheduler.requeue(takeBack());
  assert(worker.stopping); // it has begun
  giveBack(cells, LaneCell.Claim);
  scheduler.requeue(takeBack());
  assertEquals([worker.stopping, counts()[0]], [undefined, 0]);
  scheduler.send();
  assertEquals(counts(), [1]);
});

/** A worker has all calls, the first of which it has begun, and others come. */
function lateOffice(workers: number, pace: number, calls: number) {
  const made = quickOffice(workers, pace);
  const { scheduler, hired, send, counts } = made;
  const [first, ...others] = hired.map(({ worker }) => worker);
  scheduler.dispatch(); // it sees what they have done so far
  for (const worker of others) scheduler.remove(worker);
  send(calls);
  assert(claim(hired[0]!.worker.channel.memory.cells, LaneCell.Claim));
  assertEquals(counts()[0], calls);
  for (const worker of others) {
    worker.headway.since -= 100; // milliseconds
    scheduler.add(worker);
  }
  scheduler.answered(first!);
  return made;
}

test("Quick calls that wait behind others are dealt out to as many", {
  timeout,
}, () => {
  const { scheduler, counts } = lateOffice(cores + 2, 40, 20);
  const time = scheduler.rest();
  const busy = counts().filter((it) => it > 0).length;
  assertEquals(busy, Math.min(cores, 40));
  assertEquals(counts().reduce((sum, it) => sum + it), 20);
  assert(time < Infinity, "it looks again whether they go on");
});

test("Quick calls are dealt out to all if they are not quick after all", {
  timeout,
}, () => {
  const { scheduler, hired, counts } = lateOffice(4, 45, 6);
  for (let rests = 0;; rests++) {
    const time = scheduler.rest();
    const { channel } = hired[0]!.worker;
    if (channel.waiting === 0) break;
    assert(time < Infinity && rests < 10, `${channel.waiting} are left behind`);
    for (const { worker: { headway } } of hired) headway.since -= time;
  }
  assertEquals(counts().map((it) => it > 0), [true, true, true, true]);
});

test("Calls that may wait for others have workers of their own", {
  timeout,
}, () => {
  const { scheduler, hired, counts } = lateOffice(4, 45, 4);
  const { channel } = hired[0]!.worker;
  for (let i = 0; i < 3; i++) {
    channel.send(newCall({ i }));
  }
  scheduler.rest();
  assertEquals(counts().map((it) => it > 0), [true, true, true, true]);
});

test("Only calls that do not take long are sent ahead", { timeout }, () => {
  for (const [pace, counted] of [[100, 4], [0, 1]] as const) { // 0: not known
    const { scheduler, send, counts } = quickOffice(2, pace);
    send(8);
    assertEquals(counts(), [counted, counted]);
    assertEquals(scheduler.queued, 8 - 2 * counted);
  }
});

test("A pool of one worker sends all calls ahead", { timeout }, () => {
  const { send, counts } = quickOffice(1, 0);
  send(8);
  assertEquals(counts(), [8]);
});

test("No quick call goes to a worker that others pass, or that is not ready", {
  timeout,
}, () => {
  const { hired, send, counts } = quickOffice(4, 40);
  hired[3]!.worker.headway.passed = true; // the hot one
  hired[0]!.worker.channel.memory.cells[LaneCell.Stage] = Stage.Starting;
  send(2);
  assertEquals(counts(), [0, 1, 1, 0]);
});

test("While this thread blocks, answers of which nobody is told make room", {
  timeout,
}, () => {
  const { scheduler, hired, order, counts } = quickOffice(1, 1);
  for (let i = 0; i < 5; i++) scheduler.push(newCall("x".repeat(3500)));
  scheduler.attend(false);
  assertEquals([counts(), scheduler.queued], [[4], 1], "there is no more room");
  const told = order.length;
  for (let i = 0; i < 2; i++) hired[0]!.answer();
  scheduler.attend(true);
  assertEquals([counts(), scheduler.queued], [[5], 0]);
  assertEquals(order.length, told);
  assert(scheduler.drain());
  assertEquals(order.length, told + 2);
});

test("Calls that wait behind one that is not quick go to all who are idle", {
  timeout,
}, () => {
  const { scheduler, hired, send, counts } = quickOffice(3, 1);
  send(20);
  const { channel, headway } = hired.at(-1)!.worker;
  assert(claim(channel.memory.cells, LaneCell.Claim));
  scheduler.dispatch();
  assertEquals(counts(), [0, 0, 20]);
  headway.since -= 10; // milliseconds
  scheduler.dispatch();
  assertEquals(counts().map((it) => it > 0), [true, true, true]);
});

test(
  "The backlog is that of the worker with the least, once all cores have one",
  {
    timeout,
  },
  () => {
    const { scheduler, hired } = quickOffice(cores + 1, 20);
    const backlogs = hired.map(({ worker: { channel } }, i) => {
      for (let n = 0; n < 10 + i; n++) {
        channel.send(newCall(n));
      }
      return scheduler.backlog();
    });
    const expected = hired.map((_, i) => i + 1 < cores ? 0 : 10 * 20 / 1000);
    assertEquals(backlogs, expected);
    for (const { worker: { headway } } of hired) headway.since -= 10;
    assertEquals(scheduler.backlog(), 0, "none goes on");
  },
);

/** A worker without a thread: it begins and ends calls when it is told. */
interface Puppet extends Schedulable {
  readonly channel: Channel & { ready: boolean; pace: number };
  /** Begins a call if it can; returns its number. */
  begin(): number | undefined;
  /** Ends it, and nobody is told: this thread blocks. */
  answer(): void;
  /** Ends it; this thread sees that with a delay. */
  end(scheduler: Scheduler<Puppet>, lag?: Lag): void;
  readonly isIdle: boolean;
  readonly letsCallsWait: boolean;
}

function newPuppet(ready: boolean, pace: number): Puppet {
  const calls: Call[] = [];
  let begun = 0;
  let claimed = 0;
  let seen: Lag | undefined;
  const channel = {
    ready,
    pace,
    lag: () => seen,
    paceOf: () => channel.pace,
    get inFlight() {
      return calls.length;
    },
    get unanswered() {
      return calls.length;
    },
    get waiting() {
      return calls.length - begun;
    },
    get claimed() {
      return claimed;
    },
    get hasRoom() {
      return calls.length < 40;
    },
    favour: nothing,
    look: nothing,
    send: (call: Call) => calls.push(call) > 0,
    takeBack: () => calls.splice(begun),
  };
  const puppet: Puppet = {
    channel: channel as typeof channel & Channel,
    left: Infinity,
    headway: noHeadway(),
    begin() {
      if (!channel.ready || begun > 0 || calls.length === 0) return undefined;
      begun = 1;
      claimed = (claimed + 1) & 0xffff;
      return calls[0]!.number;
    },
    answer() {
      begun = 0;
      calls.shift();
    },
    end(scheduler, lag) {
      if (begun === 0) return;
      puppet.answer();
      seen = lag;
      scheduler.answered(puppet);
      scheduler.send();
      if (calls.length === 0) scheduler.dispatch();
    },
    get isIdle() {
      return calls.length === 0 && channel.ready && !puppet.headway.passed;
    },
    get letsCallsWait() {
      return calls.length > Math.max(begun, channel.ready ? 1 : 0);
    },
  };
  return puppet;
}

test("No worker stays idle while calls wait behind one that does not go on", {
  timeout,
}, () => {
  const seed = Date.now() | 0;
  const random = new Random(seed);
  const paces = [1, 10, 45, Infinity];
  for (let round = 0; round < 300; round++) {
    const scheduler = new Scheduler<Puppet>(events, undefined);
    const puppets = Array.from(
      { length: 1 + random.below(cores + 6) },
      () => newPuppet(random.below(4) > 0, random.pick(paces)),
    );
    for (const puppet of puppets) scheduler.add(puppet);
    const story: string[] = [];
    const isBad = () =>
      puppets.some((it) => it.isIdle) &&
      (puppets.some((it) => it.letsCallsWait) || scheduler.queued > 0);
    const tell = () =>
      `seed ${seed}, round ${round}: ${story.join(", ")}: ` +
      puppets.map(({ channel: { inFlight, waiting } }) =>
        `${inFlight}/${waiting}`
      ).join(" ");
    for (let step = 0; step < 60; step++) {
      const puppet = random.pick(puppets);
      const pause = random.pick([0, 10]); // milliseconds
      for (const { headway } of puppets) headway.since -= pause;
      const what = random.pick(["send", "begin", "end", "ready", "pace"]);
      story.push(what);
      if (what === "send") {
        for (let i = random.below(random.pick([8, 50])); i >= 0; i--) {
          scheduler.push(newCall(random.below(8) > 0 ? i : { i }));
        }
        scheduler.send();
      } else if (what === "begin") { for (const it of puppets) it.begin(); }
      else if (what === "end") puppet.end(scheduler);
      else if (what === "ready") {
        for (const { channel } of puppets) channel.ready = true;
      } else puppet.channel.pace = random.pick(paces);
      // Till it would sleep for good, with nobody going on.
      for (let looks = 0;; looks++) {
        scheduler.drain();
        const time = scheduler.rest();
        if (time === Infinity || looks === 10) break;
        for (const { headway } of puppets) headway.since -= time;
      }
      assert(!isBad(), tell());
    }
  }
});

test("Calls that take long begin in the order of their submission", {
  timeout,
}, () => {
  const seed = Date.now() | 0;
  const random = new Random(seed);
  for (let round = 0; round < 1000; round++) {
    const scheduler = new Scheduler<Puppet>(events, undefined);
    const puppets = Array.from(
      { length: 1 + random.below(9) },
      () => newPuppet(true, Infinity),
    );
    for (const puppet of puppets) scheduler.add(puppet);
    let [sent, begun] = [0, 0];
    for (let step = 0; step < 200; step++) {
      if (random.below(4) === 0) {
        for (let i = random.below(random.pick([3, 60])); i >= 0; i--) {
          scheduler.push(newCall(sent++));
        }
        scheduler.send();
      } else {
        for (let k = random.below(4); k > 0; k--) {
          random.pick(puppets).end(scheduler);
        }
      }
      scheduler.rest();
      // Of several who are free, who begins first is the system's business.
      const now = puppets.map((it) => it.begin())
        .filter((number) => number !== undefined);
      const expected = now.map(() => begun++);
      const where = `seed ${seed}, round ${round}, step ${step}`;
      assertEquals(now.sort((a, b) => a - b), expected, where);
    }
    assert(begun > puppets.length);
  }
});

/** Puppets that were sent what they may have of 40 calls, which may take long. */
function stage(ready: boolean[], pace = Infinity, clock = now) {
  const scheduler = new Scheduler<Puppet>(events, undefined, clock);
  const puppets = ready.map((it) => newPuppet(it, pace));
  for (const puppet of puppets) scheduler.add(puppet);
  for (let i = 0; i < 40; i++) scheduler.push(newCall(i));
  scheduler.send();
  const counts = () => puppets.map(({ channel }) => channel.inFlight);
  const begin = () => puppets.map((puppet) => puppet.begin());
  /** Takes away what waits, in the queue and at the puppets. */
  const empty = () => {
    scheduler.clear();
    for (const puppet of puppets) scheduler.takeBack(puppet);
  };
  return { scheduler, puppets, counts, begin, empty };
}

test("What was sent to a worker that is not ready goes to one that is first", {
  timeout,
}, () => {
  const { scheduler, puppets, counts, begin } = stage([false, false]);
  const [first, second] = puppets;
  assertEquals(counts(), [1, 1]);
  second!.channel.ready = true;
  scheduler.drain();
  assertEquals(begin(), [undefined, 1]);
  second!.end(scheduler);
  assertEquals(begin(), [undefined, 0]);
  assertEquals(counts(), [0, 1]);
  first!.channel.ready = true;
  scheduler.drain();
  assertEquals(begin(), [2, undefined]);
});

/** Holds this thread up for so many milliseconds. */
function spin(time: number): void {
  const until = performance.now() + time;
  while (performance.now() < until);
}

test("Calls that take long are sent ahead while this thread is late", {
  timeout,
}, () => {
  const { scheduler, puppets, counts, begin } = stage([true, true]);
  const [first, second] = puppets;
  const late = { took: 5, late: 20 };
  const answerLate = () => {
    begin();
    spin(late.late + 1); // another time than before
    first!.end(scheduler, late);
  };
  assertEquals(begin(), [0, 1]);
  spin(late.late + 1);
  first!.end(scheduler, late);
  second!.end(scheduler, late);
  assertEquals(counts(), [1, 1], "once may be the system's doing");
  assertEquals(begin(), [2, 3]);
  first!.end(scheduler, { took: 5, late: 3 });
  second!.end(scheduler, { took: 60, late: 20 });
  assertEquals(counts(), [1, 1], "it was hardly late");
  for (let rounds = 0; counts()[0] === 1; rounds++) {
    assert(rounds < 10, "and so it was often");
    answerLate(); // the system may hold up a thread for a second
  }
  assertEquals(counts(), [5, 5]);
  begin();
  spin(4 * late.late);
  first!.end(scheduler, { took: 5, late: 0 });
  assertEquals(counts(), [1, 1], "what was ahead came back");
});

test("Calls are not sent ahead if none waited while this thread was late", {
  timeout,
}, () => {
  const scheduler = new Scheduler<Puppet>(events, undefined);
  const puppets = [newPuppet(true, Infinity), newPuppet(true, Infinity)];
  for (const puppet of puppets) scheduler.add(puppet);
  for (let i = 0; i < 3; i++) {
    scheduler.push(newCall(i));
    scheduler.send();
    const puppet = puppets.find((it) => it.begin() === i)!;
    spin(11);
    puppet.end(scheduler, { took: 5, late: 10 });
  }
  for (let i = 0; i < 8; i++) scheduler.push(newCall(i));
  scheduler.send();
  assertEquals(scheduler.queued, 6);
});

test("What was sent ahead comes back once it is known to take long", {
  timeout,
}, () => {
  const { scheduler, hired, send, counts } = quickOffice(2, 100);
  send(8);
  assertEquals(counts(), [4, 4]);
  for (const { worker: { channel } } of hired) {
    const { cells } = channel.memory;
    assert(claim(cells, LaneCell.Claim));
    cells[LaneCell.Paces + 1] = 0;
  }
  for (const { worker } of hired) scheduler.answered(worker);
  assertEquals(counts(), [1, 1]);
  assertEquals(scheduler.queued, 6);
  scheduler.send();
  assertEquals(counts(), [1, 1]);
});

test("What waits behind a call that others pass goes on, though none sleeps", {
  timeout,
}, () => {
  const { scheduler, hired, send, counts } = quickOffice(2, 100);
  send(40);
  assertEquals(counts(), [20, 20]);
  const [first, second] = hired;
  assert(claim(first!.worker.channel.memory.cells, LaneCell.Claim));
  scheduler.dispatch(); // it sees that the first has begun one
  for (let i = 0; i < 10; i++) second!.answer();
  for (let reads = 0; counts()[0]! > 1; reads++) {
    assert(reads < 10_000, "it looks before it sleeps, and not while it reads");
    scheduler.drain();
  }
  assertEquals(scheduler.queued + counts()[1]!, 29);
});

test("More and more is sent ahead once no worker is passed any more", {
  timeout,
}, () => {
  const { scheduler, puppets, counts, begin } = stage([true, true], 100);
  const second = puppets[1]!;
  for (let n = 40; n < 2000; n++) scheduler.push(newCall(n));
  begin();
  scheduler.rest(); // it sees that the first has begun one
  for (let i = 0; i < 10; i++) {
    second.end(scheduler);
    second.begin();
  }
  assertEquals(counts(), [40, 40]);
  scheduler.rest();
  const [one, few] = counts();
  assertEquals(one, 1);
  assert(few! < 20, `${few} are ahead`);
  for (let answers = 0; counts()[1] === few; answers++) {
    assert(answers < 1000, "no more are sent ahead");
    second.end(scheduler);
    second.begin();
  }
  assertEquals(counts(), [1, 2 * few!]);
});

/** A clock that stands still but for what is added. */
function newClock() {
  let time = 1000;
  return {
    clock: () => time,
    advance: (milliseconds: number) => void (time += milliseconds),
  };
}

test("Calls are sent ahead while this thread is late for seconds at a time", {
  timeout,
}, () => {
  const { clock, advance } = newClock();
  const { scheduler, puppets, counts, begin } = stage(
    [true, true],
    Infinity,
    clock,
  );
  for (const expected of [1, 11]) {
    begin();
    advance(5000);
    puppets[0]!.end(scheduler, { took: 100, late: 4900 });
    assertEquals(counts()[0], expected);
  }
});

test("How late this thread is goes by what a call took, and by how often", {
  timeout,
}, () => {
  const cases = [
    { took: 5, late: 7, gap: 100, expected: 1 }, // not late at all
    { took: 5, late: 8, gap: 100, expected: 3 },
    { took: 100, late: 49, gap: 100, expected: 1 }, // not for such a call
    { took: 100, late: 50, gap: 100, expected: 2 },
    { took: 5, late: 8, gap: 1000 + 7, expected: 3 },
    { took: 5, late: 8, gap: 1000 + 8, expected: 1 }, // the first is forgotten
  ];
  for (const { took, late, gap, expected } of cases) {
    const { clock, advance } = newClock();
    const { scheduler, puppets: [first], counts, begin } = stage(
      [true, true],
      Infinity,
      clock,
    );
    const where = `${took} ms, late by ${late}, after ${gap}`;
    const answer = (lag: Lag) => {
      begin();
      first!.end(scheduler, lag);
      return counts()[0];
    };
    assertEquals(answer({ took, late }), 1, where);
    advance(gap);
    assertEquals(answer({ took, late }), expected, where);
    advance(4 * late - 1);
    assertEquals(answer({ took, late: 0 }), expected, where);
    advance(1);
    assertEquals(answer({ took, late: 0 }), 1, where);
  }
});

const cube = (n: number) => n ** 3;

test(
  "No call goes behind another's that takes long, nor such a call behind any",
  {
    timeout,
  },
  () => {
    const { scheduler, hired, counts } = quickOffice(2, 0);
    const newCube = () =>
      new AwaitedCall({ kind: "apply", fn: cube, payload: [2] });
    const numberOfCube = 2; // after that of square
    for (const { worker: { channel } } of hired) {
      channel.paceOf(cube);
      channel.memory.cells[LaneCell.Paces + numberOfCube] = 100;
    }
    const { channel } = hired[0]!.worker;
    assertEquals([channel.paceOf(cube), channel.paceOf(square)], [
      100,
      Infinity,
    ]);
    for (let i = 0; i < 3; i++) scheduler.push(newCube());
    scheduler.push(newCall(1));
    scheduler.push(newCube());
    scheduler.send();
    assertEquals(counts().sort(), [1, 2]);
    assertEquals(scheduler.queued, 2, "the long one waits, and what is newer");
    scheduler.clear();
    for (const { worker } of hired) scheduler.takeBack(worker);
    scheduler.push(newCall(1));
    for (let i = 0; i < 3; i++) scheduler.push(newCube());
    scheduler.send();
    assertEquals(counts().sort(), [1, 3], "the short ones are with each other");
  },
);

test("No call goes behind another once one was given something to wait for", {
  timeout,
}, () => {
  const { scheduler, puppets, counts, begin, empty } = stage([true, true], 100);
  empty();
  const submit = (count: number, mayWait = false) => {
    for (let n = 0; n < count; n++) {
      const call = newCall(n);
      call.mayWait = mayWait;
      scheduler.push(call);
    }
    scheduler.send();
    scheduler.rest();
  };
  submit(10);
  assertEquals(counts(), [5, 5]);
  empty();
  submit(1, true);
  submit(10);
  assertEquals([counts(), scheduler.queued], [[1, 1], 9]);
  begin();
  for (const puppet of puppets) puppet.end(scheduler);
  assertEquals([counts(), scheduler.queued], [[1, 1], 7]);
});

test("While this thread blocks, a worker gets the next call once it is free", {
  timeout,
}, () => {
  const { scheduler, puppets: [first, second], counts } = stage([true, true]);
  const begun = () => [first!.begin(), second!.begin()];
  assertEquals(begun(), [0, 1]);
  scheduler.attend(false);
  assertEquals(counts(), [1, 1]);
  second!.answer();
  scheduler.attend(true);
  assertEquals(begun(), [undefined, 2]);
  for (const puppet of [first, second]) puppet!.answer();
  scheduler.attend(true);
  assertEquals(begun(), [3, 4]);
});

test("While this thread blocks, what turns out to take long comes back", {
  timeout,
}, () => {
  const { scheduler, puppets, counts, begin } = stage([true, true], 100);
  assertEquals(counts(), [20, 20]);
  begin();
  for (const { channel } of puppets) channel.pace = Infinity;
  scheduler.attend(true);
  assertEquals([counts(), scheduler.queued], [[1, 1], 38]);
});

test("A thread that blocks looks the less often the longer nothing begins", {
  timeout,
}, () => {
  const { clock, advance } = newClock();
  const { scheduler, puppets: [only, other], begin, empty } = stage(
    [true, true],
    Infinity,
    clock,
  );
  empty();
  other!.stopping = newCall(0);
  for (let n = 0; n < 3; n++) {
    const call = newCall(n);
    call.mayWait = true;
    scheduler.push(call);
  }
  scheduler.send();
  begin();
  const after = (milliseconds: number) => {
    advance(milliseconds);
    return scheduler.attend(true);
  };
  assertEquals(scheduler.attend(false), 0.1);
  assertEquals(after(1), 0.1);
  assertEquals(after(9), 1);
  assertEquals(after(100), 10);
  only!.answer();
  assertEquals(after(0), 10, "it begins none");
  begin();
  assertEquals(after(0), 0.1);
  assertEquals(after(30), 3);
  assertEquals(scheduler.attend(false), 0.1);
  scheduler.clear();
  assertEquals(after(0), 10, "none waits");
});

test("What waits behind others goes to who is free, though none is told", {
  timeout,
}, () => {
  const { scheduler, puppets: [first, second], counts, empty } = stage([
    true,
    true,
  ], 100);
  empty();
  second!.stopping = newCall(0);
  for (let n = 0; n < 5; n++) scheduler.push(newCall(n));
  scheduler.attend(false);
  first!.begin();
  scheduler.attend(true);
  assertEquals(counts(), [5, 0], "nobody is free");
  second!.stopping = undefined;
  second!.headway.passed = true; // and has answered since
  first!.headway.since -= 10; // milliseconds
  scheduler.attend(true);
  assertEquals(counts(), [3, 2]);
});

test(
  "A worker that may have to be stopped is sent nothing",
  { timeout },
  () => {
    const { scheduler, puppets: [first], counts, empty } = stage([
      true,
      true,
    ], 100);
    empty();
    first!.stopping = newCall(0);
    for (let n = 0; n < 5; n++) scheduler.push(newCall(n));
    scheduler.send();
    scheduler.rest();
    scheduler.attend(false);
    assertEquals(counts(), [0, 5]);
  },
);

test("Calls with buffers, or that may wait, are sent to idle workers alone", {
  timeout,
}, () => {
  for (const kind of ["buffers", "waits"]) {
    const { scheduler, counts, begin, empty } = stage(
      [true, true],
      100,
    );
    empty();
    scheduler.push(newCall(0));
    scheduler.push(newCall(1));
    scheduler.send();
    begin();
    const buffer = new ArrayBuffer(8);
    const call = kind === "waits" ? newCall(2) : new AwaitedCall({
      kind: "apply",
      fn: square,
      payload: [buffer],
      transfer: [buffer],
    });
    call.mayWait = kind === "waits"; // it was seen before
    scheduler.push(call);
    scheduler.push(newCall(3));
    scheduler.send();
    scheduler.attend(false);
    assertEquals([counts(), scheduler.queued], [[1, 1], 2], kind);
  }
});

test("A worker alone is never passed, nor is one that has begun nothing", {
  timeout,
}, () => {
  for (const workers of [1, 2]) {
    const { scheduler, puppets } = stage(Array(workers).fill(true));
    const last = puppets.at(-1)!;
    for (let i = 0; i < 10; i++) {
      last.begin();
      scheduler.rest();
      assert(!puppets[0]!.headway.passed);
      last.end(scheduler);
    }
  }
});

test("Calls go to workers that are not ready once no other takes any", {
  timeout,
}, () => {
  for (const isGone of [true, false]) {
    const { scheduler, puppets: [first], counts } = stage([true, false, false]);
    assertEquals(counts(), [1, 0, 0]);
    if (isGone) scheduler.remove(first!);
    else first!.left = 0; // it is to be replaced
    scheduler.send();
    assertEquals(counts(), [1, 1, 1]);
  }
});

test("This thread stays late for as long as the worst time has said", {
  timeout,
}, () => {
  const { clock, advance } = newClock();
  const { scheduler, puppets: [first], counts, begin } = stage(
    [true, true],
    Infinity,
    clock,
  );
  const answer = (late: number) => {
    begin();
    first!.end(scheduler, { took: 5, late });
    return counts()[0];
  };
  answer(40);
  advance(100);
  assertEquals(answer(40), 1 + 40 / 5);
  advance(100);
  assertEquals(answer(8), 1 + 40 / 5, "late again, but not so much");
  advance(59);
  assertEquals(answer(0), 1 + 40 / 5);
  advance(1);
  assertEquals(answer(0), 1);
});

test("SharedChannel tells once how late this thread is with an answer", {
  timeout,
}, () => {
  const { hired } = quickOffice(1, 0);
  const { channel } = hired[0]!.worker;
  const { cells } = channel.memory;
  assertEquals(channel.lag(), undefined);
  cells[LaneCell.Took] = 7;
  cells[LaneCell.AnsweredAt] = Date.now() - 1000;
  const { took, late } = channel.lag()!;
  assertEquals(took, 7);
  assert(late >= 998 && late < 10_000, `received ${late}`);
  assertEquals(channel.lag(), undefined);
  cells[LaneCell.AnsweredAt] = Date.now() + 60_000; // the clock was set back
  assertEquals(channel.lag(), { took: 7, late: 0 });
});
