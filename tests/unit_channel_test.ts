/**
 * Channels over a port that the test has in its hands.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { test } from "node:test";
import {
  type Call,
  CallbackCall,
  type Outcome,
  UnsentError,
} from "../_internal/call.ts";
import type { ChannelEvents } from "../_internal/channel.ts";
import { PlainChannel } from "../_internal/plain_channel.ts";
import { SharedChannel } from "../_internal/shared_channel.ts";
import { claim } from "../_internal/claim.ts";
import { Child } from "../_internal/child.ts";
import { Definitions } from "../_internal/definitions.ts";
import {
  AnswerFrame,
  BELL_CELLS,
  LaneCell,
  type ToServer,
} from "../_internal/protocol.ts";
import { HEADER, link, ringOf } from "../_internal/ring.ts";
import type { Port } from "../_internal/runtime/threads.ts";
import { mayBlock } from "../_internal/runtime/which.ts";
import { until } from "./_pools.ts";

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
  const exits: number[] = [];
  return {
    outcomes,
    exits,
    onAnswer(_: Call, outcome: Outcome | Promise<Outcome>) {
      outcomes.push(outcome as Outcome);
    },
    onHeard() {},
    onReady() {},
    onBroken() {},
    onSpoilt() {},
  };
}

const sizes = { calls: 1 << 12, answers: 1 << 12, definitions: 1 << 12 };

/** A channel of small rings. */
function sharedChannel(events: ChannelEvents): SharedChannel {
  const definitions = new Definitions(sizes.definitions);
  const bell = new Int32Array(new SharedArrayBuffer(BELL_CELLS * 4));
  return new SharedChannel(events, { bell, definitions }, sizes);
}

/** A real worker, and a channel to it. */
function openWorker() {
  const events = noted();
  const channel = sharedChannel(events);
  const gone = Promise.withResolvers<void>();
  const child = new Child({
    name: "worker of a channel",
    job: { kind: "server", initializer: undefined, lane: channel.memory },
    workerUrl: undefined,
    onExit: (code) => void events.exits.push(code),
    onGone: () => gone.resolve(),
  });
  /** Resolves when there are so many answers, or the worker has ended. */
  const answered = async (count: number) => {
    await until(() => {
      channel.drain();
      return events.outcomes.length >= count || events.exits.length > 0;
    });
    assertEquals(events.exits, []);
    return events.outcomes;
  };
  return { channel, child, answered, gone: gone.promise };
}

function newCall(): Call {
  const fn = function named() {};
  return new CallbackCall({ kind: "apply", fn, payload: [] }, () => {});
}

function assertUnreadable(outcomes: Outcome[]): void {
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
  assertUnreadable(events.outcomes);
  assertEquals(channel.inFlight, 0);
});

test("An answer that cannot be read fails its call, by shared memory", {
  timeout,
}, () => {
  const port = fakePort();
  const events = noted();
  const channel = sharedChannel(events);
  channel.open(port);
  channel.send(newCall());
  port.onmessageerror!();
  assertEquals(events.outcomes.length, 0); // its frame has not come
  // What the worker writes for an answer that it has posted.
  const { cells, answers } = channel.memory;
  const ring = ringOf(answers);
  link(ring, 0, 0);
  ring.words[0] = HEADER;
  ring.words[1] = AnswerFrame.Posted;
  Atomics.store(cells, LaneCell.Written, HEADER);
  channel.drain();
  assertUnreadable(events.outcomes);
  assertEquals(channel.inFlight, 0);
});

test("Everyone who waits for a worker's last answers hears of them at once", {
  timeout,
}, async () => {
  const channel = sharedChannel(noted());
  channel.open(fakePort());
  channel.send(newCall());
  const { cells, answers } = channel.memory;
  const ring = ringOf(answers);
  const answer = (kind: number) => {
    link(ring, 0, 0);
    ring.words[0] = HEADER;
    ring.words[1] = kind;
    Atomics.store(cells, LaneCell.Written, HEADER);
  };
  answer(AnswerFrame.Posted); // whose message is on its way
  let heard = 0;
  const waits = [1, 2].map(() => channel.settled().then(() => heard++));
  await Promise.resolve();
  assertEquals(heard, 0);
  answer(AnswerFrame.Dropped);
  channel.drain();
  for (let i = 0; i < 10; i++) await Promise.resolve();
  assertEquals(heard, 2);
  await Promise.all(waits);
});

test("A worker is told which payloads it need not keep", { timeout }, () => {
  const messages: ToServer[] = [];
  const { port1 } = new MessageChannel();
  const channel = sharedChannel(noted());
  channel.open({
    ...fakePort(),
    postMessage: (message: ToServer) => void messages.push(message),
  });
  const calls = [
    newCall(),
    bigCall(),
    bigCall([port1]), // a port cannot be sent twice
    bigCall(),
  ];
  for (const call of calls) channel.send(call);
  const kinds = () => messages.splice(0).map(({ kind }) => kind);
  assertEquals(kinds(), ["payload", "payload", "payload"]);
  const [small, big, bound, last] = calls;
  last!.settled = true; // nobody waits for it
  assertEquals(channel.takeBack(), [small, big, last]);
  assertEquals(messages.splice(0), [{ kind: "forget", numbers: [2] }]);
  bound!.settled = true;
  assertEquals(channel.takeBack(), [bound]);
  assertEquals(messages.splice(0), [{ kind: "forget", numbers: [1] }]);
  assertEquals(channel.takeBack(), []);
  // It has the payload, so a frame is enough.
  channel.send(big!);
  assertEquals(channel.takeBack(), [big]);
  assertEquals(messages, []);
  // Until it goes elsewhere, or nobody waits for it any more.
  const other = sharedChannel(noted());
  other.open(fakePort());
  other.send(big!);
  assertEquals(messages.splice(0), [{ kind: "forget", numbers: [0] }]);
  const more = bigCall();
  channel.send(more);
  assertEquals(kinds(), ["payload"]);
  channel.takeBack();
  more.forgetPayload();
  assertEquals(messages.splice(0), [{ kind: "forget", numbers: [3] }]);
  channel.send(more);
  assertEquals(kinds(), ["payload"]);
  channel.takeBack();
  channel.abandon();
  more.forgetPayload(); // the worker is gone
  assertEquals(messages, []);
  port1.close();
});

/** A port to a worker that is told of each payload before it is posted. */
function watchedPort({ port }: Child, before: () => void): Port {
  return {
    postMessage(message: ToServer, transfer) {
      if (message.kind === "payload") before();
      port.postMessage(message, transfer);
    },
    set onmessage(listener: Port["onmessage"]) {
      port.onmessage = listener;
    },
    onmessageerror: null,
    close() {},
  };
}

/** Does nothing for a while. */
function block(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  const cells = new Int32Array(new SharedArrayBuffer(4));
  if (mayBlock) Atomics.wait(cells, 0, 0, milliseconds);
  while (performance.now() < end);
}

const sizeOf = (map: Map<number, number>) => map.size;

/** A call whose payload goes as a message. */
function bigCall(transfer?: Transferable[]): Call {
  const payload = [new Map([[1, 2]])];
  const request = { kind: "apply", fn: sizeOf, payload, transfer } as const;
  return new CallbackCall(request, () => {});
}

test("A worker is rung for till it sees a call whose message it did not hear", {
  timeout: 60_000,
}, async () => {
  const channel = sharedChannel(noted());
  channel.open(fakePort()); // nobody hears what is posted
  channel.send(bigCall());
  const { cells } = channel.memory;
  Atomics.store(cells, LaneCell.WorkerAsleep, 1);
  for (let i = 0; i < 2; i++) {
    const seen = Atomics.load(cells, LaneCell.Claim);
    let isRung = false;
    const sleep = Atomics.waitAsync(cells, LaneCell.Claim, seen);
    assert(sleep.async);
    void sleep.value.then(() => isRung = true);
    await until(() => isRung);
  }
  assert(claim(cells, LaneCell.Claim));
});

test("A worker waits for a payload that takes long to write", {
  timeout: 60_000,
}, async () => {
  const { channel, child, answered, gone } = openWorker();
  channel.open(watchedPort(child, () => {
    // The worker sees the frame long before it gets the message.
    Atomics.notify(channel.memory.cells, LaneCell.Claim);
    block(7_000);
    assertEquals(channel.waiting, 0, "the worker has not begun");
  }));
  channel.send(newCall());
  await answered(1);
  channel.send(bigCall());
  assertEquals((await answered(2))[1], { ok: true, value: 1 });
  child.terminate();
  await gone;
});

test("A worker waits for a payload that comes behind other messages", {
  timeout: 60_000,
}, async () => {
  const { channel, child, answered, gone } = openWorker();
  const { port } = child;
  const listener = watchedPort(child, () => {});
  const postMessage: Port["postMessage"] = (message, transfer) => {
    if ((message as ToServer).kind !== "payload") {
      return port.postMessage(message, transfer);
    }
    Atomics.notify(channel.memory.cells, LaneCell.Claim); // it needs the payload now
    let others = 0;
    const timer = setInterval(() => {
      if (others++ < 8) {
        return port.postMessage({ kind: "forget", numbers: [] });
      }
      clearInterval(timer);
      port.postMessage(message, transfer);
    }, 500);
  };
  channel.open(Object.assign(listener, { postMessage }));
  channel.send(bigCall());
  assertEquals(await answered(1), [{ ok: true, value: 1 }]);
  child.terminate();
  await gone;
});

test(
  "A call that cannot be sent is taken back, or answered if it was claimed",
  {
    timeout,
  },
  async () => {
    const { channel, child, answered, gone } = openWorker();
    let claims = false;
    channel.open(watchedPort(child, () => {
      if (!claims) return;
      Atomics.notify(channel.memory.cells, LaneCell.Claim);
      const end = performance.now() + timeout;
      while (channel.waiting > 0) assert(performance.now() < end);
    }));
    channel.send(bigCall());
    const outcomes = await answered(1);
    const buffer = new ArrayBuffer(8);
    for (let i = 0; i < 100; i++) {
      claims = i % 2 === 0;
      const before = outcomes.length;
      let error;
      try {
        channel.send(bigCall([buffer, buffer])); // one buffer twice
      } catch (thrown) {
        error = thrown;
      }
      const withdrawn = error instanceof UnsentError && error.withdrawn;
      // An idle worker may have seen the frame by itself.
      if (claims) assert(withdrawn, `received ${error}`);
      const reason = withdrawn ? (error as UnsentError).reason : error;
      assertEquals((reason as Error).name, "DataCloneError");
      assertEquals(channel.inFlight, withdrawn ? 1 : 0);
      claims = false;
      channel.send(bigCall());
      await answered(before + (withdrawn ? 2 : 1));
      if (withdrawn) {
        const outcome = outcomes.at(-2)!;
        assert(!outcome.ok && outcome.dropped);
      }
      assertEquals(outcomes.at(-1), { ok: true, value: 1 });
    }
    assertEquals(channel.inFlight, 0);
    child.terminate();
    await gone;
  },
);
