// What goes over the wire, without a thread.

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Barrier, Event, PoolClosedError, ProcessPool, task } from "../mod.ts";
import { brand } from "../_internal/brand.ts";
import {
  type AnyFunction,
  describe,
  explained,
  reviveCallable,
  reviveSync,
} from "../_internal/callable.ts";
import { decode, encode, hasShared, located } from "../_internal/codec.ts";
import { fromThrownWire, toThrownWire } from "../_internal/error_wire.ts";
import { Latch } from "../_internal/latch.ts";
import { blame, buffersIn, pack, unpack } from "../_internal/payload.ts";
import { tidyStack } from "../_internal/stack.ts";
import { difference } from "./_random.ts";

const timeout = 20_000;

/** Whether stacks begin with the message; Firefox's do not. */
const stacksTell = new Error("told").stack!.includes("told");
const tasks = new URL("./testdata/tasks.ts", import.meta.url).href;

// -- payloads -----------------------------------------------------------------

test("pack() makes many numbers a typed array, and nothing else", {
  timeout,
}, async () => {
  const integers = Array.from({ length: 64 }, (_, i) => i - 7);
  const halves = integers.map((n) => n / 2);
  for (
    const [numbers, kind] of [
      [integers, Int32Array],
      [halves, Float64Array],
      [[...integers.slice(1), 2 ** 31], Float64Array],
      [[...integers.slice(1), -0], Float64Array],
    ] as const
  ) {
    const { wire, transfer } = pack(numbers, "args", "f");
    assert(wire.numbers instanceof kind);
    assertEquals(transfer as unknown[], [wire.numbers!.buffer]);
    assertEquals(Array.from(await unpack(wire)), [...numbers]);
  }
  for (
    const values of [integers.slice(1), [...integers, "64"], new Array(64)]
  ) {
    const { wire, transfer } = pack(values, "args", "f");
    assertEquals([wire.numbers, transfer.length], [undefined, 0]);
    assertStrictEquals(await unpack(wire), values);
  }
});

test(
  "pack() makes arrays of very many numbers typed arrays where nothing refers to them",
  {
    timeout,
  },
  async () => {
    const many = Array.from({ length: 1024 }, (_, i) => i / 4);
    const extra = Object.assign(many.slice(), { extra: 1 });
    const hole = many.slice();
    delete hole[7];
    class Special extends Array {}
    const values: [args: unknown[], typed: number][] = [
      [[many], 1],
      [["a", many, null, many.map((n) => n * 4), 7n], 2],
      [[Object.freeze(many.slice())], 1],
      [[[...many, -0, NaN, Infinity]], 1],
      [[many.slice(1)], 0],
      [[many, many], 0],
      [[many, { many }], 0],
      [[many, new Event()], 0],
      [[extra], 0],
      [[hole], 0],
      [[Special.from(many)], 0],
      [[[...many.slice(1), "1024"]], 0],
      [["none"], 0],
    ];
    // Only a console tells cheaply what other properties an array has.
    const known = typeof process === "object";
    for (const [args, typed] of values) {
      const { wire, transfer } = pack(args, "args", "f");
      assertEquals(wire.lists?.length ?? 0, known ? typed : 0);
      assertEquals(transfer.length, known ? typed : 0);
      const sent = structuredClone(wire, { transfer });
      const expected = structuredClone(encode(args, "args", "f").value);
      if (wire.value.stand === undefined) {
        assertEquals(difference(await unpack(sent), expected), undefined);
      }
    }
    const proxy = new Proxy(many, {});
    assertThrows(
      () => structuredClone(pack([proxy], "args", "f").wire),
      DOMException,
    );
  },
);

test("blame() finds the item, or nobody", { timeout }, () => {
  const error = new Error("of the platform");
  assertEquals(blame(error, [1, {}], "args[0]", "f"), { index: -1, error });
  const found = blame(error, [1, { a: [Symbol()] }], "args[0]", "f");
  assertEquals(found.index, 1);
  assertStringIncludes(String(found.error), "args[0].a[0]");
  const { port1 } = new MessageChannel();
  const refused = blame(error, [{ port: [port1] }], "args[0]", "f"); // by the platform
  port1.close();
  assertEquals(refused.index, 0);
  assertStringIncludes(
    String(refused.error),
    "Cannot send args[0].port[0] of f",
  );
});

test("buffersIn() finds each buffer once, wherever it is", { timeout }, () => {
  const [a, b, c, d] = [1, 2, 3, 4].map((size) => new ArrayBuffer(size));
  const shared = new SharedArrayBuffer(5);
  const value: Record<string, unknown> = {
    direct: a,
    view: new Uint8Array(b!),
    again: new DataView(a!),
    map: new Map<unknown, unknown>([[c, new Set([d, d])]]),
    nothing: [null, undefined, 1, "text", shared, new Uint8Array(shared)],
  };
  value.self = value;
  assertEquals(buffersIn(value).length, 4);
  assertEquals(new Set(buffersIn(value)), new Set([a!, b!, c!, d!]));
});

// -- values -------------------------------------------------------------------

test("located() leaves other errors as they are", { timeout }, () => {
  const other = new TypeError("no");
  assertStrictEquals(located(other, 1, "args", "f"), other);
  const known = new DOMException("Cannot send x", "DataCloneError");
  assertStrictEquals(located(known, 1, "args", "f"), known);
});

test("located() finds what structured clone refuses", { timeout }, () => {
  const error = new DOMException("refused", "DataCloneError");
  const bad = new WeakMap();
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  circular.bad = bad;
  for (
    const [value, path] of [
      [[1, [bad]], "args[1][0]"],
      [{ "a b": { c: bad } }, 'args["a b"].c'],
      [new Map<unknown, unknown>([["key", bad]]), 'args.get("key")'],
      [new Map<unknown, unknown>([[1, 2], [3, bad]]), "args.values()[1]"],
      [new Map<unknown, unknown>([[bad, 1]]), "args.keys()[0]"],
      [new Set<unknown>([1, bad]), "args.values()[1]"],
      [circular, "args.bad"],
    ] as const
  ) {
    const found = located(error, value, "args", "f");
    assertInstanceOf(found, DOMException);
    assertEquals(found.message, `Cannot send ${path} of f: refused`);
  }
});

test("encode() refuses what only looks as if it could be sent", {
  timeout,
}, () => {
  const likePromise = Object.create({ [Symbol.toStringTag]: "Promise" });
  for (
    const [value, what] of [
      [Promise.resolve(), "a promise"],
      [likePromise, "a promise"],
      [(function* () {})(), "a generator"],
      [(async function* () {})(), "a generator"],
      [new WeakMap(), "a weak reference"],
      [new WeakSet(), "a weak reference"],
      [new WeakRef({}), "a weak reference"],
      [Symbol(), "a symbol"],
      [() => {}, "a function that is not marked with task()"],
    ] as const
  ) {
    const error = assertThrows(
      () => encode([value], "args", "f"),
      DOMException,
    );
    assertEquals(
      error.message,
      `Cannot send args[0] of f as ${what} cannot be cloned`,
    );
  }
});

test("encode() leaves alone what structured clone takes by its slots", {
  timeout,
}, async () => {
  const event = new Event();
  for (
    const object of [
      new Date(1),
      /x/,
      new Uint8Array(1),
      new ArrayBuffer(1),
      new SharedArrayBuffer(1),
      new Error("e"),
      Object("text"),
      Object(1),
      Object(true),
      Object(1n),
    ]
  ) {
    // No clone has what it has beside.
    Object.assign(object, { fn: () => {}, symbol: Symbol() });
    assertStrictEquals(encode(object, "args", "f").value, object);
    const wire = encode([object, event], "args", "f");
    assertStrictEquals((wire.value as unknown[])[0], object);
    assertEquals(wire.stand!.length, 1);
    assertEquals(await decode(wire), [object, event]);
  }
});

test("hasShared() finds what threads can wait for", { timeout }, () => {
  const buffer = new SharedArrayBuffer(8);
  const size = { initial: 1, maximum: 1 };
  const shared = [
    buffer,
    new Int32Array(buffer),
    new DataView(buffer),
    new WebAssembly.Memory({ ...size, shared: true }),
    new Event(),
    new Barrier(2),
  ];
  for (const it of shared) {
    assert(hasShared(encode([1, { it }], "args", "f")), String(it));
  }
  const own = [new Int32Array(2), new ArrayBuffer(8), task(tasks, "double"), [
    1,
  ], { a: 1 }];
  for (const it of own) assertFalse(hasShared(encode([it], "args", "f")));
});

test("decode() leaves nothing in maps and sets of what stood there", {
  timeout,
}, async () => {
  const event = new Event();
  class Special extends Map<unknown, unknown> {
    override get [Symbol.toStringTag]() {
      return "Special";
    }
  }
  const entries = [[1, event], [event, 2], ["last", 3]] as const;
  for (
    const map of [new Map<unknown, unknown>(entries), new Special(entries)]
  ) {
    const wire = structuredClone(encode([map], "args", "f"));
    const [back] = await decode(wire) as [Map<unknown, unknown>];
    assertEquals([...back].flat(), [1, event, event, 2, "last", 3]);
  }
  const set = structuredClone(encode(new Set([1, event, 2]), "args", "f"));
  assertEquals([...await decode(set) as Set<unknown>], [1, event, 2]);
});

test("decode() puts shared objects back everywhere, in cycles too", {
  timeout,
}, async () => {
  const event = new Event();
  const value: Record<string, unknown> = {
    event,
    list: [event, [event]],
    set: new Set([event]),
    map: new Map([[event, { event }]]),
    plain: new Date(0),
    text: Object("boxed"),
  };
  value.self = value;
  const wire = structuredClone(encode(value, "args", "f"));
  const back = await decode(wire) as typeof value;
  const same = back.event;
  assert(same instanceof Event);
  assertStrictEquals(back.self, back);
  assertEquals((back.list as unknown[])[0] === same, true);
  assert((back.set as Set<unknown>).has(same));
  const inner = (back.map as Map<unknown, { event: unknown }>).get(same);
  assertStrictEquals(inner!.event, same);
  assertEquals(back.plain, new Date(0));
});

test("A transferred port goes to a worker and back", { timeout }, async () => {
  await using pool = new ProcessPool(1);
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise((resolve) => {
    port1.onmessage = ({ data }) => resolve(data);
  });
  await pool.apply(
    (port: MessagePort, twice: { port: MessagePort }) => {
      if (twice.port !== port) throw new Error("two ports");
      port.postMessage("from the worker");
      port.close();
    },
    [port2, { port: port2 }],
    { transfer: [port2] },
  );
  assertEquals(await answer, "from the worker");
  port1.close();
  const left = new MessageChannel();
  await assertRejects(
    () => pool.apply((_: MessagePort) => {}, [left.port1]),
    DOMException,
  );
  left.port1.close();
  left.port2.close();
});

// -- functions ----------------------------------------------------------------

test("reviveCallable() says what is wrong with a text", { timeout }, () => {
  const error = assertThrows(
    () => reviveCallable({ kind: "source", text: "function (", name: "odd" }),
    SyntaxError,
  );
  assertStringIncludes(
    error.message,
    'Cannot compile function "odd" from its source text: ',
  );
});

test("reviveCallable() says who forbids to compile", { timeout }, () => {
  // As eval() fails under a Content Security Policy.
  const text = "(() => { throw new EvalError('by policy'); })()";
  const error = assertThrows(
    () => reviveCallable({ kind: "source", text, name: "f" }),
    Error,
    "Content Security Policy",
  );
  assertInstanceOf(error.cause, EvalError);
});

test("reviveCallable() makes functions of every form", { timeout }, () => {
  const key = "computed]";
  const forms: AnyFunction[] = [
    function () {
      return 1;
    },
    () => 1,
    {
      method() {
        return 1;
      },
    }.method, // deno-fmt-ignore-line
    { [key]() { return 1; } }[key]!, // deno-fmt-ignore-line
    { get() { return 1; } }.get, // deno-fmt-ignore-line
    { class$() { return 1; } }.class$, // deno-fmt-ignore-line
    { class_() { return 1; } }.class_, // deno-fmt-ignore-line
    Object.defineProperty(() => 1, "name", { value: 7 }),
    class {
      static #hidden() {
        return 1;
      }
      static get hidden() {
        return this.#hidden;
      }
    }.hidden,
  ];
  for (const form of forms) {
    const wire = describe(form);
    assertEquals(wire.kind, "source");
    const made = reviveCallable(wire) as AnyFunction;
    assertEquals(made(), 1, String(form));
  }
});

test("An arrow function sees nothing of the function it is made in", {
  timeout,
}, () => {
  const make = (text: string) =>
    reviveCallable({ kind: "source", text, name: "f" }) as AnyFunction;
  assertEquals(make("() => this")(), undefined);
  assertThrows(() => make("() => arguments[0]")(1), ReferenceError);
  assertThrows(() => make("() => new.target"), SyntaxError);
  assertEquals(make("function f() { return arguments[0]; }")(1), 1);
  const named = "() => __name(() => 1, 'a')() + __name(() => 2, 'b')()";
  assertEquals(make(named)(), 3);
  assertEquals(make("get f() { return 1; }")(), 1);
  assertEquals(make("set f(value) { value.is = 1; }").length, 1);
  for (const name of ["#f", "[f]", "[f[0]]", "f", "*#f", "*[f]"]) {
    for (const start of ["async", "async ", "async/**/", ""]) {
      if (start === "async" && name === "f") continue;
      const made = make(`${start}${name}(){return 1}`) as AnyFunction;
      const kind = made.constructor.name;
      assertEquals(kind.startsWith("Async"), start !== "", kind);
      assertEquals(kind.includes("Generator"), name.startsWith("*"), kind);
    }
  }
  assertEquals(make("f() { return [this, arguments[0]]; }")(1), [undefined, 1]);
});

test("reviveSync() explains a missing variable, now or later", {
  timeout,
}, async () => {
  const text = (source: string) =>
    reviveSync({ kind: "source", text: source, name: "f" });
  const error = assertThrows(() => text("() => missing")(), ReferenceError);
  assertStringIncludes(error.message, "task()");
  if (stacksTell) assertStringIncludes(error.stack!, "task()");
  const later = await assertRejects(
    () => text("async () => missing")() as Promise<unknown>,
    ReferenceError,
  );
  assertStringIncludes(later.message, "task()");
  assertEquals(text("() => 1")(), 1);
  assertEquals(await text("async () => 2")(), 2);
  // Once is enough, and other functions' errors are nobody's business.
  const { message } = error;
  const fn = reviveCallable({
    kind: "source",
    text: "() => missing",
    name: "",
  });
  assertEquals((explained(error, fn as AnyFunction) as Error).message, message);
  const odd = assertThrows(
    () => text('() => { throw new ReferenceError("$& is not defined"); }')(),
    ReferenceError,
  );
  assertEquals(odd.message.split("$&").length, 2);
  if (stacksTell) assertStringIncludes(odd.stack!, odd.message);
  const own = new ReferenceError("own");
  assertEquals((explained(own, () => {}) as Error).message, "own");
});

test("reviveSync() loads the module of a task when it is called", {
  timeout,
}, async () => {
  const module = `${tasks}?not-loaded-yet`;
  const double = reviveSync({ kind: "task", module, name: "double" });
  assertEquals(await double(2), 4);
  const again = reviveSync({ kind: "task", module, name: "double" });
  assertEquals(again(2), 4); // it is there now
  const missing = reviveSync({
    kind: "task",
    module,
    name: "nothing",
  });
  await assertRejects(() => missing() as Promise<unknown>, Error, "no such");
});

test("reviveCallable() finds marked functions, exports, and nothing else", {
  timeout,
}, async () => {
  const find = async (task: { module: string; name: string }) =>
    await reviveCallable({ kind: "task", ...task });
  const { double } = await import("./testdata/tasks.ts");
  const found = await find({ module: tasks, name: "double" });
  assertStrictEquals(found, double);
  for (const name of ["constructor", "toString", "__proto__", "missing"]) {
    await assertRejects(
      () => find({ module: tasks, name }),
      Error,
      `Cannot run task "${name}"`,
    );
  }
  const error = await assertRejects(
    () => find({ module: `${tasks}.missing.ts`, name: "f" }),
    Error,
    "cannot be loaded",
  );
  assert(error.cause !== undefined);
  await assertRejects(
    () => find({ module: "data:text/javascript,throw 'odd';", name: "f" }),
    Error,
    "cannot be loaded: odd",
  );
  for (
    const module of [
      "data:text/javascript,export const f = () => 'a/b';",
      "data:text/javascript,export%20const%20f%20=%20()%20=>%20'a%2Fb'",
    ]
  ) {
    assertEquals((await find({ module, name: "f" }))(), "a/b");
  }
  const stub = task<(a: string, b: string) => string>("node:path", "join");
  assertEquals(describe(stub).kind, "task");
});

test("What only says that it is an error is sent as what it is", {
  timeout,
}, async () => {
  const event = new Event();
  const named = { [Symbol.toStringTag]: "Error", event };
  const heirs = [Error, Map, Set].map(({ prototype }) =>
    Object.assign(Object.create(prototype), { event })
  );
  for (const value of [named, ...heirs]) {
    const sent = structuredClone(encode(value, "args", "test"));
    assert((await decode(sent) as typeof named).event instanceof Event);
  }
});

// -- stacks -------------------------------------------------------------------

test("tidyStack() leaves out what is the worker's program, and nothing else", {
  timeout,
}, () => {
  const blob = "blob:34ca9896-2046-4e56-8662-7013b09da398";
  const message = "Error: at last\n  at home, at multiprocessing/worker";
  const stacks = [
    [
      "    at f (multiprocessing:f:1:30)\n    at file:///a/b.ts:3:4",
      `    at async ot.#o (multiprocessing/worker, <anonymous>:3:5)\n` +
      `    at Jo (${blob}:3:87)`,
    ],
    [
      "f@multiprocessing:f:1:30\n@file:///a/b.ts:3:4",
      "Jo@" + blob + ":3:87\n@multiprocessing/worker:1:2",
    ],
  ];
  for (const [theirs, ours] of stacks) {
    assertEquals(
      tidyStack(`${message}\n${theirs}\n${ours}`),
      `${message}\n${theirs}`,
    );
    const alone = tidyStack(`${message}\n${ours}`);
    assertEquals(alone.split("\n").length, 4, alone);
    assertFalse(alone.includes(blob));
  }
});

// -- errors -------------------------------------------------------------------

function sent(thrown: unknown): unknown {
  return fromThrownWire(structuredClone(toThrownWire(thrown)));
}

test("Errors are sent however odd they are", { timeout }, () => {
  const odd = new Error("odd");
  const { port1 } = new MessageChannel();
  Object.defineProperties(odd, {
    message: {
      get: () => {
        throw new Error("never");
      },
    },
    name: { value: { toString: () => "named" } },
    ruined: {
      enumerable: true,
      get: () => {
        throw new Error("never");
      },
    },
    fn: { value: () => {}, enumerable: true },
    weak: { value: new WeakMap(), enumerable: true },
    port: { value: [port1], enumerable: true },
    ok: { value: [1, { two: 2 }], enumerable: true },
    task: { value: [task(tasks, "double")], enumerable: true },
  });
  const back = sent(odd) as Error & { ok: unknown };
  port1.close();
  assertInstanceOf(back, Error);
  assertEquals([back.name, back.message], ["named", ""]);
  assertEquals(back.ok, [1, { two: 2 }]);
  assertFalse("fn" in back || "weak" in back || "ruined" in back);
  assertFalse("port" in back); // which only the platform refuses
  assertFalse("task" in back); // its module would have to be loaded first
});

test("Errors whose name cannot be text are sent", { timeout }, () => {
  const odd = new Error("odd");
  Object.defineProperty(odd, "name", { value: Object.create(null) });
  assertEquals((sent(odd) as Error).name, "[object Object]");
});

test("Errors without a class, and of another realm, are errors", {
  timeout,
}, () => {
  for (const prototype of [null, Object.create(null)]) {
    const bare = new Error("bare");
    Object.setPrototypeOf(bare, prototype);
    const back = sent(bare) as Error;
    assertEquals(back.constructor, Error);
    assertEquals([back.name, back.message], ["Error", "bare"]);
  }
  class Copy extends Error {} // as another copy of the module has it
  brand(Copy, "PoolClosedError");
  const other = sent(new Copy("other")) as Error;
  assertEquals(other.constructor, PoolClosedError);
  class PoolClosedErrorOfMine extends Error {}
  Object.defineProperty(PoolClosedErrorOfMine, "name", {
    value: "PoolClosedError",
  });
  const mine = sent(new PoolClosedErrorOfMine("mine")) as Error;
  assertEquals(mine.constructor, Error);
});

test("Errors keep cycles of causes, lists and their classes", {
  timeout,
}, () => {
  const cause = new RangeError("inner");
  const outer = new AggregateError(
    [cause, "text", () => {}],
    "outer",
    { cause },
  );
  cause.cause = outer;
  const back = sent(outer) as AggregateError & { cause: Error };
  assertInstanceOf(back, AggregateError);
  assertInstanceOf(back.cause, RangeError);
  assertStrictEquals(back.cause.cause, back);
  assertEquals(back.errors.length, 3);
  assertStrictEquals(back.errors[0], back.cause);
  assertEquals(back.errors[1], "text");
  assertInstanceOf(back.errors[2], Error);
  const exception = sent(new DOMException("gone", "AbortError"));
  assertInstanceOf(exception, DOMException);
  assertEquals(exception.name, "AbortError");
  const failed = new DOMException("gone", "AbortError");
  Object.defineProperty(failed, "stack", { value: "at home:1:2" });
  assertEquals((sent(failed) as Error).stack, "at home:1:2");
  for (const value of [1, null, undefined, "text", { a: [1] }]) {
    assertEquals(sent(value), value);
  }
  const described = sent(Symbol("me")) as Error;
  assertStringIncludes(described.message, "Symbol(me)");
});

// -- latches ------------------------------------------------------------------

test("Latch.wait() ends by its value, its time or its signal", {
  timeout,
}, async () => {
  const latch = new Latch<number>();
  assertEquals(await latch.wait({ timeout: 0 }), undefined);
  assertEquals(await latch.wait({ timeout: 1 }), undefined);
  const reason = new Error("enough");
  const aborted = { timeout: Infinity, signal: AbortSignal.abort(reason) };
  await assertRejects(() => latch.wait(aborted), Error, "enough");
  const controller = new AbortController();
  const waiting = latch.wait({ timeout: 9000, signal: controller.signal });
  controller.abort(reason);
  await assertRejects(() => waiting, Error, "enough");
  const open = latch.wait({ timeout: Infinity });
  latch.open(1);
  latch.open(2);
  assertEquals(await open, { value: 1 });
  assertEquals(await latch.wait({ timeout: 0 }), { value: 1 });
});
