// Values as frames: exactly what structured clone delivers, whatever they are.

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertThrows,
} from "@std/assert";
import { ProcessPool } from "../mod.ts";
import { travel } from "../_internal/dispatcher.ts";
import {
  type Cursor,
  type Memory,
  memoryOf,
  readValue,
  writeValue,
} from "../_internal/frame.ts";
import { follow, link, ringOf, roomAt } from "../_internal/ring.ts";
import { difference, Random, Values } from "./_random.ts";
import * as plainData from "./testdata/plain_data.ts";

const timeout = 120_000;
const seed = Date.now() | 0;

/** What structured clone delivers, in a box, unless it throws. */
function cloned(value: unknown): { value: unknown } | undefined {
  try {
    return { value: structuredClone(value) };
  } catch {
    return undefined;
  }
}

/** Writes and reads a value; `undefined` if it was not taken. */
function throughFrame(
  memory: Memory,
  value: unknown,
  from = 0,
): { value: unknown } | undefined {
  const limit = memory.bytes.length;
  const end = writeValue(memory, from, limit, value);
  if (end < 0) return undefined;
  assertEquals(end % 8, 0);
  assert(end > from && end <= limit);
  const cursor: Cursor = { at: from };
  const read = readValue(memory, cursor, end);
  assertEquals(cursor.at, end);
  return { value: read };
}

test("Frames carry 100,000 random values as structured clone does", {
  timeout,
}, () => {
  const random = new Random(seed);
  const values = new Values(random);
  const memory = memoryOf(new SharedArrayBuffer(1 << 22));
  let taken = 0;
  for (let i = 0; i < 100_000; i++) {
    const value = values.next();
    // What was there before must not matter.
    if (i % 16 === 0) memory.words.fill(random.below(2 ** 31), 0, 256);
    const read = throughFrame(memory, value, random.below(4) * 8);
    if (read === undefined) continue;
    taken++;
    const clone = cloned(value);
    assert(clone, `seed ${seed}, ${i}: what cannot be cloned was taken`);
    const at = difference(clone.value, read.value);
    assert(at === undefined, `seed ${seed}, ${i}: differs at ${at}`);
  }
  assert(taken > 20_000, `${taken} taken`);
});

test("Frames take what is small and plain", { timeout }, () => {
  const memory = memoryOf(new SharedArrayBuffer(1 << 16));
  const values = [
    undefined,
    null,
    true,
    NaN,
    -0,
    "",
    "text",
    "\uFEFFé𝄞",
    "x".repeat(10_000),
    [1, -0, NaN],
    [],
    {},
    { x: 1, y: "two", z: null },
    { list: [1, { deep: [true] }], "": 0 },
    JSON.parse('{"__proto__": 1, "toString": 2}'),
    Object.create(null),
    [null, "a"],
  ];
  for (const value of values) {
    const read = throughFrame(memory, value);
    assert(read, `not taken: ${JSON.stringify(value)}`);
    assertEquals(difference(structuredClone(value), read.value), undefined);
  }
});

test("Frames leave the rest to the other lane", { timeout }, () => {
  const memory = memoryOf(new SharedArrayBuffer(1 << 10));
  const shared = {};
  const cycle: unknown[] = [];
  cycle.push(cycle);
  const values = [
    1n,
    Symbol("s"),
    () => {},
    new Date(),
    /x/,
    new Map(),
    new Set(),
    new Error("e"),
    new Uint8Array(2),
    Object(1),
    [shared, shared],
    cycle,
    { x: undefined },
    { x: NaN },
    { x: -0 },
    "\ud800",
    [, 1], // deno-lint-ignore no-sparse-arrays
    Object.assign([1, 2], { extra: 1 }),
    Object.assign([, 2], { extra: 1 }), // deno-lint-ignore no-sparse-arrays
    Object.defineProperty({}, "x", { get: () => 1, enumerable: true }),
    Object.defineProperty({}, "toJSON", { value: () => 1 }),
    { toJSON: () => 1 },
    new (class A {})(),
    plainData,
    "x".repeat(2000),
    new Array(200).fill(1),
  ];
  for (const value of values) {
    assertEquals(throughFrame(memory, value), undefined);
  }
});

test("Frames do not pass what does not fit, at any length", {
  timeout,
}, () => {
  const memory = memoryOf(new SharedArrayBuffer(256));
  const guard = 0x5a5a5a5a;
  for (const value of [true, null, undefined, 0.1, [0.1], [0.1, 0.2], [], {}]) {
    for (let end = 8; end <= 64; end += 8) {
      memory.words.fill(guard);
      const after = writeValue(memory, 8, end, value);
      assert(after <= end);
      assert(memory.words.subarray(end >> 2).every((word) => word === guard));
    }
  }
  for (const unit of ["x", "é", "𝄞"]) {
    for (let length = 0; length < 140; length++) {
      for (const value of [unit.repeat(length), [unit.repeat(length)]]) {
        for (const end of [32, 64, 128]) {
          memory.words.fill(guard);
          const after = writeValue(memory, 8, end, value);
          assert(after <= end);
          for (let word = end >> 2; word < memory.words.length; word++) {
            assertEquals(memory.words[word], guard);
          }
          if (after >= 0) {
            assertEquals(readValue(memory, { at: 8 }, after), value);
          }
        }
      }
    }
  }
});

test("Frames of random bytes are refused with an error", { timeout }, () => {
  const cut = memoryOf(new SharedArrayBuffer(64));
  for (const value of [1.5, [1, 2], "text", [""], true, null, undefined]) {
    const end = writeValue(cut, 8, 64, value);
    assertThrows(() => readValue(cut, { at: 8 }, end - 8), Error);
    assertThrows(() => readValue(cut, { at: 8 }, 72), Error);
    assertThrows(() => readValue(cut, { at: 12 }, end), Error);
    if (typeof value === "object" && value !== null) {
      cut.words[3] = -8;
      assertThrows(() => readValue(cut, { at: 8 }, end), Error);
    }
  }
  const random = new Random(seed + 1);
  const memory = memoryOf(new SharedArrayBuffer(1 << 10));
  const values = new Values(random);
  for (let i = 0; i < 50_000; i++) {
    let end = random.below(140) * 8 - 16;
    if (i % 2 === 0) {
      // A frame with one thing wrong.
      const written = writeValue(memory, 0, 1024, values.next());
      if (written > 0) end = written;
      memory.words[random.below(4)] = random.pick([
        -1,
        random.below(12),
        random.below(2 ** 31),
        2 ** 31 - 1,
        2 ** 29,
      ]);
    } else {
      for (let word = 0; word < 256; word++) {
        memory.words[word] = random.next() * 2 ** 32;
      }
      memory.words[0] = random.below(12);
    }
    try {
      const cursor = { at: random.pick([0, 0, 0, 8, 4, -8, NaN, 1024]) };
      readValue(memory, cursor, end);
      assert(cursor.at <= Math.max(end, 0));
    } catch (error) {
      assertInstanceOf(error, Error, `seed ${seed}`);
      assert(error.message !== "out of memory");
    }
  }
});

test("Rings refuse a wrong length", { timeout }, () => {
  const random = new Random(seed + 2);
  const ring = ringOf(new SharedArrayBuffer(512));
  for (let i = 0; i < 20_000; i++) {
    for (let word = 0; word < 128; word++) {
      ring.words[word] = random.pick([
        -1,
        0,
        4,
        8,
        512,
        520,
        random.below(600),
        random.next() * 2 ** 32,
      ]);
    }
    try {
      const start = follow(ring, random.below(65) * 8);
      const length = ring.words[start >> 2]!;
      assert(length >= 8 && length % 8 === 0 && start + length <= 512);
    } catch (error) {
      assertInstanceOf(error, Error);
      assert(error.message.startsWith("Cannot read frame"));
    }
  }
});

test("Rings keep frames of all sizes in order, however full", {
  timeout,
}, () => {
  const random = new Random(seed + 3);
  for (const size of [128, 256, 1024]) {
    const ring = ringOf(new SharedArrayBuffer(size));
    const written: { from: number; end: number; mark: number }[] = [];
    let [at, read, mark] = [0, 0, 0];
    for (let i = 0; i < 20_000; i++) {
      const begin = roomAt(ring, at, written[0]?.from ?? -1);
      if (begin >= 0 && random.below(3) > 0) {
        const length = 8 + random.below(ring.largest / 8) * 8;
        link(ring, at, begin);
        ring.words[begin >> 2] = length;
        for (let b = begin + 4; b < begin + length; b += 4) {
          ring.words[b >> 2] = mark;
        }
        written.push({ from: at, end: begin + length, mark: mark++ });
        at = begin + length;
      } else if (written.length > 0) {
        const { end, mark } = written.shift()!;
        const begin = follow(ring, read);
        assertEquals(begin + ring.words[begin >> 2]!, end);
        for (let b = begin + 4; b < end; b += 4) {
          assertEquals(ring.words[b >> 2], mark, `seed ${seed}`);
        }
        read = end;
      }
    }
  }
});

const { lane, sizes } = travel;

test("Answers no larger than their calls find room at once", {
  timeout,
}, () => {
  const random = new Random(seed + 4);
  /** Frames in a ring, oldest first. */
  class Frames {
    readonly #ring;
    readonly #from: number[] = [];
    #at = 0;
    constructor(size: number) {
      this.#ring = ringOf(new SharedArrayBuffer(size));
    }
    get room() {
      return roomAt(this.#ring, this.#at, this.#from[0] ?? -1);
    }
    write(length: number) {
      const { room } = this;
      this.#from.push(this.#at);
      this.#at = room + length;
    }
    read() {
      this.#from.shift();
    }
  }
  const [calls, answers] = [new Frames(sizes.calls), new Frames(sizes.answers)];
  const sent: number[] = [];
  let unread = 0;
  let full = 0;
  for (let i = 0; i < 100_000; i++) {
    // Long stretches of each, so that the rings are full and empty again.
    const phase = i >> 12 & 3;
    if (random.below(4) !== phase && calls.room >= 0) {
      const length = 24 + random.below(phase === 3 ? 1000 : 8) * 8;
      calls.write(length);
      sent.push(length);
    } else if (sent.length > 0 && random.below(4) > 0) {
      assert(answers.room >= 0, `seed ${seed}`);
      answers.write(8 + random.below(sent.shift()! / 8) * 8);
      unread++;
    } else if (unread > 0 && (phase > 1 || calls.room < 0)) {
      answers.read();
      calls.read();
      unread--;
    }
    if (calls.room < 0) full++;
  }
  assert(full > 0, "the ring of calls was never full");
});

for (
  const [name, way] of [
    ["shared memory", { lane, sizes }],
    ["tiny rings", {
      lane,
      sizes: { calls: 1024, answers: 512, definitions: 512 },
    }],
    ["messages alone", { lane: "plain", sizes }],
  ] as const
) {
  test(`A pool carries random values there and back by ${name}`, {
    timeout,
  }, async () => {
    Object.assign(travel, way);
    await using pool = new ProcessPool(2);
    Object.assign(travel, { lane, sizes });
    const identity = (value: unknown) => value;
    const values = new Values(new Random(seed + 4));
    for (let round = 0; round < 20; round++) {
      const sent = Array.from({ length: 100 }, () => values.next());
      const clones = sent.map((it) => cloned(cloned(it)?.value));
      const results = await Promise.allSettled([
        ...sent.map((it) => pool.apply(identity, [it])),
        pool.map(identity, sent, { chunkSize: 9 }),
      ]);
      const chunked = results.pop()!;
      assertEquals(chunked.status, "fulfilled");
      sent.forEach((_, i) => {
        const result = results[i]!;
        assertEquals(result.status, "fulfilled");
        const { value } = result as PromiseFulfilledResult<unknown>;
        const at = difference(clones[i]!.value, value);
        assert(at === undefined, `seed ${seed}, ${round}.${i}: ${at}`);
        const item = (chunked as PromiseFulfilledResult<unknown[]>).value[i];
        const mapped = difference(clones[i]!.value, item);
        assert(mapped === undefined, `seed ${seed}, map ${i}: ${mapped}`);
      });
    }
  });
}
