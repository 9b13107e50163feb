/**
 * Random values of every type that structured clone knows, and an exact
 * comparison.
 *
 * @module
 */

// deno-lint-ignore no-explicit-any
type Any = any;

/** Random numbers that a seed repeats. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** A number from 0 to 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer from 0 to below a limit. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** One of some values. */
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}

const NUMBERS = [
  0,
  -0,
  1,
  -1,
  NaN,
  Infinity,
  -Infinity,
  2 ** 31,
  2 ** 53,
  1e300,
  5e-324,
  0.1,
];
const TEXTS = [
  "",
  "a",
  "constructor",
  "__proto__",
  "toJSON",
  "length",
  "0",
  "-1",
  "\0",
  "\uFEFFmark",
  "\u2028",
  '"\\\n',
  "\ud800",
  "\udc00x",
  "ok\ud83d",
  "𝄞",
  "ß",
  "\x7f\x80",
];

class Point {
  x = 1;
  y: unknown;
  constructor(y: unknown) {
    this.y = y;
  }
  get sum() {
    return this.x;
  }
}

class List extends Array {
  toJSON() {
    return "not this";
  }
}

/** Makes random values. */
export class Values {
  readonly #random: Random;
  #parts: object[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  next(): unknown {
    this.#parts = [];
    return this.#value(this.#random.below(5));
  }

  #text(): string {
    const random = this.#random;
    if (random.below(3) === 0) return random.pick(TEXTS);
    const longest = random.below(5000) === 0
      ? 1 << 20
      : random.pick([8, 47, 48, 49, 300]);
    const length = random.below(longest + 1);
    const unit = random.pick(["x", "7 ", "é", "𝄞", "\ud800"]);
    const text = unit.repeat(Math.ceil(length / unit.length));
    return text.slice(0, length) + random.pick(["", "", "!", "\uFEFF"]);
  }

  #number(): number {
    const random = this.#random;
    return random.below(2) === 0
      ? random.pick(NUMBERS)
      : random.pick([random.below(1000), random.next() * 1e6 - 5e5]);
  }

  #primitive(): unknown {
    const random = this.#random;
    switch (random.below(7)) {
      case 0:
        return undefined;
      case 1:
        return null;
      case 2:
        return random.below(2) === 0;
      case 3:
      case 4:
        return this.#number();
      case 5:
        return random.pick([0n, -1n, 2n ** 64n, BigInt(random.below(99))]);
      default:
        return this.#text();
    }
  }

  /** What is inside, mostly what a frame takes. */
  #plain(): unknown {
    const random = this.#random;
    return random.pick([
      () => this.#text(),
      () => this.#number(),
      () => random.below(1e6),
      () => null,
      () => true,
    ])();
  }

  #value(depth: number): unknown {
    const random = this.#random;
    if (depth === 0) return this.#primitive();
    if (this.#parts.length > 0 && random.below(25) === 0) {
      return random.pick(this.#parts); // shared, or a cycle
    }
    return this.#object(depth);
  }

  #object(depth: number): unknown {
    const random = this.#random;
    const add = <T extends object>(object: T): T => {
      this.#parts.push(object);
      return object;
    };
    const count = random.below(6);
    const inner = () =>
      random.below(4) === 0 ? this.#value(depth - 1) : this.#plain();
    switch (random.below(22)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const object = add(random.below(6) === 0 ? Object.create(null) : {});
        for (let i = 0; i < count; i++) {
          Object.defineProperty(object, this.#key(), {
            value: inner(),
            enumerable: random.below(20) > 0,
            configurable: true,
            writable: true,
          });
        }
        return object;
      }
      case 4:
      case 5:
      case 6: {
        const array: unknown[] = add([]);
        for (let i = 0; i < count; i++) array.push(inner());
        if (random.below(12) === 0) (array as Any).extra = inner();
        if (random.below(12) === 0) delete array[random.below(count + 1)];
        if (random.below(20) === 0) array.length += 2;
        return array;
      }
      case 7:
      case 8: {
        const length = random.pick([count, 63, 64, 65, 255, 256, 257, 2000]);
        const numbers: number[] = add([]);
        for (let i = 0; i < length; i++) numbers.push(this.#number());
        if (random.below(12) === 0) (numbers as Any).extra = 1;
        if (random.below(12) === 0) delete numbers[random.below(length + 1)];
        return numbers;
      }
      case 9:
        return add(new Date(random.pick([0, NaN, 1e12, -1])));
      case 10: {
        const pattern = add(new RegExp(random.pick(["a", "[b]", "^é"]), "gu"));
        pattern.lastIndex = count;
        return pattern;
      }
      case 11: {
        const error = random.pick([Error, TypeError, RangeError]);
        return add(new error(this.#text().slice(0, 50)));
      }
      case 12: {
        const map = add(new Map());
        for (let i = 0; i < count; i++) map.set(inner(), inner());
        return map;
      }
      case 13: {
        const set = add(new Set());
        for (let i = 0; i < count; i++) set.add(inner());
        return set;
      }
      case 14: {
        const Class = random.pick([
          Uint8Array,
          Int16Array,
          Float32Array,
          Float64Array,
          BigInt64Array,
        ]);
        return add(new (Class as Any)(new ArrayBuffer(64), 8, count));
      }
      case 15:
        return add(new DataView(new ArrayBuffer(16), count, 4));
      case 16:
        return add(new Uint8Array([1, 2, count]).buffer);
      case 17:
        return add(new Point(inner()));
      case 18:
        return add(List.from([1, this.#plain()]));
      case 19:
        return add(Object(random.pick<unknown>([1, "text", true, 5n])));
      case 20: {
        const object = { before: 1 };
        Object.defineProperty(object, "seen", {
          enumerable: true,
          get: () => 5,
        });
        return add(object);
      }
      default:
        return this.#primitive();
    }
  }

  #key(): string {
    const random = this.#random;
    return random.below(3) === 0
      ? random.pick(TEXTS)
      : random.pick(["id", "name", "x", "y", "12", "3", "value", "a b"]);
  }
}

/** Says where two values differ, to the last detail, or `undefined`. */
export function difference(
  a: Any,
  b: Any,
  path = "value",
  pairs = new Map<object, object>(),
): string | undefined {
  if (typeof a !== "object" || a === null || typeof b !== "object" || !b) {
    return Object.is(a, b) ? undefined : path;
  }
  const known = pairs.get(a);
  if (known !== undefined) return known === b ? undefined : `${path} (shared)`;
  for (const other of pairs.values()) {
    if (other === b) return `${path} (shared)`;
  }
  pairs.set(a, b);
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) {
    return `${path} (prototype)`;
  }
  const inner = (a: unknown, b: unknown, key: string) =>
    difference(a, b, `${path}.${key}`, pairs);
  if (ArrayBuffer.isView(a)) {
    if (a.byteOffset !== b.byteOffset || a.byteLength !== b.byteLength) {
      return `${path} (view)`;
    }
    return inner(a.buffer, b.buffer, "buffer");
  }
  if (a instanceof ArrayBuffer) {
    const bytes = (it: ArrayBuffer) => new Uint8Array(it).join();
    return bytes(a) === bytes(b) ? undefined : `${path} (bytes)`;
  }
  if (a instanceof Map || a instanceof Set) {
    const flat = (it: Any) => a instanceof Map ? [...it].flat() : [...it];
    const [one, two] = [flat(a), flat(b)];
    if (one.length !== two.length) return `${path} (size)`;
    for (let i = 0; i < one.length; i++) {
      const found = inner(one[i], two[i], `[${i}]`);
      if (found) return found;
    }
    return undefined;
  }
  if (a instanceof Error) {
    return a.name === b.name && a.message === b.message
      ? undefined
      : `${path} (error)`;
  }
  for (const Class of [Date, RegExp, Number, String, Boolean, BigInt]) {
    if (!(a instanceof (Class as Any))) continue;
    const same = Object.is(a.valueOf(), b.valueOf()) ||
      String(a) === String(b) && a instanceof RegExp &&
        a.lastIndex === b.lastIndex;
    return same ? undefined : `${path} (${Class.name})`;
  }
  const [one, two] = [Object.keys(a), Object.keys(b)];
  if (one.length !== two.length || one.some((key, i) => key !== two[i])) {
    return `${path} (keys ${one} and ${two})`;
  }
  if (Array.isArray(a) && a.length !== b.length) return `${path} (length)`;
  for (const key of one) {
    const found = inner(a[key], b[key], key);
    if (found) return found;
  }
  return undefined;
}
