// What can be sent to another process: functions, tasks, arguments, errors.

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  activeChildren,
  Barrier,
  BrokenBarrierError,
  Event,
  Process,
  ProcessPool,
  task,
  ThreadPool,
} from "../mod.ts";
import { decode, encode } from "../_internal/codec.ts";
import { fromThrownWire, toThrownWire } from "../_internal/error_wire.ts";
import { runProgram } from "./_program.ts";
import * as tasks from "./testdata/tasks.ts";

const timeout = 20_000;
const tasksUrl = new URL("./testdata/tasks.ts", import.meta.url);

// deno-lint-ignore no-explicit-any
type Any = any;

/** Runs a function in a process; tells the exit code. */
async function run<A extends unknown[]>(
  target: (...args: A) => unknown,
  ...args: A
): Promise<number | null> {
  const process = new Process(target, { args });
  process.start();
  return await process.join();
}

function sharedCell(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4));
}

/** What the other side gets, without another side. */
async function sent<T>(value: T): Promise<T> {
  return await decode(structuredClone(encode(value, "args", "test"))) as T;
}

// -- functions --------------------------------------------------------------

const key = "computed]name";
const symbol = Symbol("a ] symbol");

class Holder {
  static of(cell: Int32Array) {
    cell[0] = 42;
  }
  method(cell: Int32Array) {
    cell[0] = 42;
  }
  static(cell: Int32Array) {
    cell[0] = 42;
  }
  async asyncMethod(cell: Int32Array) {
    await null;
    cell[0] = 42;
  }
  #hidden(cell: Int32Array) {
    cell[0] = 42;
  }
  get hidden() {
    return this.#hidden;
  }
}

/** Every way to write a function, each of which stores 42. */
const functions: Record<string, (cell: Int32Array) => unknown> = {
  "function": function (cell) {
    cell[0] = 42;
  },
  "function with a name": function stores(cell) {
    cell[0] = 42;
  },
  "async function": async function (cell) {
    await null;
    cell[0] = 42;
  },
  "arrow": (cell) => {
    cell[0] = 42;
  },
  "arrow of an expression": (cell) => cell[0] = 42,
  "arrow that returns an object": (cell) => ({ was: cell[0] = 42 }),
  "async arrow": async (cell) => {
    await null;
    cell[0] = 42;
  },
  "destructuring and defaults": ({ 0: old }: Int32Array, ...rest) => {
    if (old !== 0 || rest.length > 0) throw new Error("arguments");
  },
  "comments": /* before */ (/* in */ cell /* after ] } ) */) => {
    // in the body ` ' "
    cell[0] = 42; // }
  },
  "static method": Holder.of,
  "method of a class": Holder.prototype.method,
  "method named static": Holder.prototype.static,
  "async method of a class": Holder.prototype.asyncMethod,
  "private method": new Holder().hidden,
  ...Object.fromEntries(
    Object.entries({
      method(cell: Int32Array) {
        cell[0] = 42;
      },
      async asyncMethod(cell: Int32Array) {
        await null;
        cell[0] = 42;
      },
      async(cell: Int32Array) {
        cell[0] = 42;
      },
      get(cell: Int32Array) {
        cell[0] = 42;
      },
      set(cell: Int32Array) {
        cell[0] = 42;
      },
      static(cell: Int32Array) {
        cell[0] = 42;
      },
      function(cell: Int32Array) {
        cell[0] = 42;
      },
      class$(cell: Int32Array) {
        cell[0] = 42;
      },
      classé(cell: Int32Array) {
        cell[0] = 42;
      },
      class(cell: Int32Array) {
        cell[0] = 42;
      },
      constructor(cell: Int32Array) {
        cell[0] = 42;
      },
      async await(cell: Int32Array) {
        await null;
        cell[0] = 42;
      },
      "quoted name, with (signs) => {"(cell: Int32Array) {
        cell[0] = 42;
      },
      1.5(cell: Int32Array) {
        cell[0] = 42;
      },
      ünïcode$_1(cell: Int32Array) {
        cell[0] = 42;
      },
      [key](cell: Int32Array) {
        cell[[0][0]!] = 42;
      },
      [[1, 2].map((n) => `]${n}`)[1]! + "]"](cell: Int32Array) {
        cell[0] = [42][0]!;
      },
      async [`async ${key}`](cell: Int32Array) {
        await null;
        cell[0] = 42;
      },
      async "async quoted"(cell: Int32Array) {
        await null;
        cell[0] = 42;
      },
    }).map(([name, fn]) => [`method "${name}"`, fn]),
  ),
  "method with a symbol": {
    [symbol](cell: Int32Array) {
      cell[0] = 42;
    },
  }[symbol],
  "async method with a symbol": {
    async [symbol](cell: Int32Array) {
      await null;
      cell[0] = 42;
    },
  }[symbol],
  "getter": Object.getOwnPropertyDescriptor({
    get value() {
      return 1;
    },
  }, "value")!.get!,
};

test("Process runs every kind of self-contained function", {
  timeout: 60_000,
}, async () => {
  for (const [name, target] of Object.entries(functions)) {
    const cell = sharedCell();
    assertEquals(await run(target, cell), 0, name);
    if (name === "getter" || name.startsWith("destructuring")) continue;
    assertEquals(cell[0], 42, name);
  }
});

test("Process refuses a function that has no source text", {
  timeout,
}, () => {
  class Target {}
  for (
    const target of [
      Math.max,
      console.log,
      ((_: number) => {}).bind(null),
      async function () {}.bind(null),
      Int32Array,
    ] as (() => void)[]
  ) {
    const error = assertThrows(() => new Process(target), TypeError);
    assertStringIncludes(error.message, "wrap it in a function");
    assertStringIncludes(error.message, "task()");
  }
  assertThrows(() => new Process(Target as Any), TypeError, "class");
});

test("Process runs a function in strict mode, without what is around it", {
  timeout,
}, async () => {
  const around = { value: 1 };
  around.value++; // or a transpiler would put it into the function
  const code = await run(function (this: unknown, cell: Int32Array) {
    if (this !== undefined) throw new Error("this is something");
    try {
      (0, eval)("1");
      (Object.freeze([1]) as number[])[0] = 2;
      throw new Error("sloppy mode");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    try {
      void (around.value + cell.length);
      throw new Error("the variables around it are visible");
    } catch (error) {
      if (!(error instanceof ReferenceError)) throw error;
    }
  }, sharedCell());
  assertEquals(code, 0, String(around.value));
  const arrow = function (this: unknown) {
    return () => {
      if (this !== undefined) throw new Error("this is something");
    };
  }.call(around);
  assertEquals(await run(arrow), 0);
});

test("Process gives the same function its own start each time", {
  timeout,
}, async () => {
  const cell = sharedCell();
  const add = (cell: Int32Array, n: number) => void Atomics.add(cell, 0, n);
  await Promise.all([run(add, cell, 1), run(add, cell, 10)]);
  assertEquals(cell[0], 11);
});

// -- tasks ------------------------------------------------------------------

test("task() returns the function itself, marked", { timeout }, async () => {
  assertEquals(tasks.double(4), 8);
  const triple = (n: number) => n * 3;
  assertStrictEquals(task(import.meta.url, triple), triple);
  assertStrictEquals(task(new URL(import.meta.url), triple), triple); // again
  const cell = sharedCell();
  assertEquals(await run(tasks.callIt, tasks.double, cell), 0);
  assertEquals(cell[0], 42);
});

test("task() marks a function that is not exported", {
  timeout,
}, async () => {
  const event = new Event();
  assertEquals(await run(tasks.getHidden(), event), 0);
  assert(event.isSet());
});

test("task() names an export of a module that is not loaded here", {
  timeout,
}, async () => {
  for (const url of [tasksUrl, tasksUrl.href]) {
    const cell = sharedCell();
    const store = task<typeof tasks.store>(url, "store");
    assertEquals(await run(store, cell, 1), 0);
    assertEquals(cell[0], 14);
    await (store(cell, 2) as unknown); // directly
    assertEquals(cell[0], 15);
  }
  const double = task<typeof tasks.double>(tasksUrl, "double");
  assertEquals(await (double(21) as unknown), 42);
  await assertRejects(
    () => task<() => Promise<never>>(tasksUrl, "fail")(),
    RangeError,
    "from the task",
  );
});

test("task() makes a module know that it is not the program", {
  timeout,
}, async () => {
  const cell = sharedCell();
  assertEquals(await run(tasks.storeMain, cell), 0);
  assertEquals(cell[0], 2);
});

test("task() throws for a bad argument", { timeout }, () => {
  const url = "file:///nowhere.ts";
  assertThrows(() => task(url, () => {}), TypeError, "has no name");
  assertThrows(() => task(url, (() => function () {})()), TypeError, "no name");
  assertThrows(() => task(url, ""), TypeError, "exportName is empty");
  for (const module of ["./tasks.ts", "tasks.ts", "", "/tasks.ts"]) {
    assertThrows(
      () => task(module, "run"),
      TypeError,
      "module must be an absolute URL",
    );
  }
  for (const target of [undefined, null, 1, {}]) {
    assertThrows(() => task(url, target as Any), TypeError, "Cannot mark task");
  }
  function once() {}
  task(url, once);
  task(url, once);
  const another = { once() {} };
  task("file:///elsewhere.ts", another.once);
  const error = assertThrows(() => task(url, another.once), TypeError);
  assertStringIncludes(error.message, '"once"');
  assertStringIncludes(error.message, url);
});

test("ProcessPool sends what is shared in another global's maps and sets", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const { runInNewContext } = await import("node:vm");
  const event = new Event();
  const make: (event: Event) => object = runInNewContext(
    "(event) => new Map([['set', new Set([event])]])",
  );
  const set = (map: Map<string, Set<Event>>) => {
    for (const event of map.get("set")!) event.set();
  };
  await pool.apply(set, [make(event) as Map<string, Set<Event>>]);
  assert(event.isSet());
  const error = await assertRejects(
    () => pool.apply((_) => {}, [make(pool as unknown as Event)]),
    DOMException as unknown as typeof Error,
  );
  assertStringIncludes(error.message, 'args[0].get("set").values()[0]');
});

test("ProcessPool sends functions in which a compiler keeps names", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  // So esbuild writes them if it is told to keep names.
  const texts = [
    "(n) => { const add = /* @__PURE__ */ __name((x) => x + n, 'add');" +
    "return add.name + add(1); }",
    "function named(n) { const add = __name((x) => x + n, 'add');" +
    "return add.name + add(arguments[0] - n + 1); }",
    "async (n) => { function add(x) { return x + n; } __name(add, 'add');" +
    "return add.name + add(1); }",
    // A bundle in a bundle.
    "(n) => { const add = __name2(__name((x) => x + n, 'other'), 'add');" +
    "return add.name + add(1); }",
  ];
  for (const text of texts) {
    const fn: (n: number) => string = (0, eval)(`(${text})`);
    assertEquals(await pool.apply(fn, [1]), "add2");
  }
});

test("task() of a module or a name that is missing fails with both", {
  timeout,
}, async () => {
  const nowhere = new URL("./testdata/nowhere.ts", import.meta.url).href;
  for (
    const [module, name] of [
      [nowhere, "run"],
      [tasksUrl.href, "nothing"],
      [tasksUrl.href, "answer"], // an export, and no function
      [tasksUrl.href, "toString"],
      [tasksUrl.href, "constructor"],
    ] as const
  ) {
    const error = await assertRejects(
      () => task<() => Promise<void>>(module, name)(),
      Error,
    );
    assertStringIncludes(error.message, module);
    assertStringIncludes(error.message, `"${name}"`);
  }
  const never = task(tasksUrl, function never() {}); // marked only here
  assertEquals(await run(never), 1);
  assertEquals(await run(task<() => void>(nowhere, "run")), 1);
  const { stdout, stderr } = await runProgram(async ({ Process, task }) => {
    const module = "data:text/javascript,export const other = 1";
    const process = new Process(task<() => void>(module, "missing"));
    process.start();
    console.log(await process.join());
    const marked = task(module, function marked() {});
    const second = new Process((_: unknown) => {}, { args: [marked] });
    second.start();
    console.log(await second.join());
  });
  assertEquals(stdout, "1\n1\n");
  assertStringIncludes(stderr, '"missing"');
  assertStringIncludes(stderr, '"marked"');
  assertStringIncludes(stderr, "data:text/javascript,export");
});

// -- arguments --------------------------------------------------------------

test("Arguments travel by structured clone", { timeout }, async () => {
  const values = {
    undefined: undefined,
    null: null,
    numbers: [0, -0, NaN, Infinity, 1.5, 2n ** 70n],
    text: "ünï\u{1f600}\ud800",
    date: new Date(0),
    regexp: /a/gi,
    bytes: new Uint8Array([1, 2, 3]),
    map: new Map<unknown, unknown>([[{ a: 1 }, new Set([1, "2"])]]),
    boxed: [Object(1), Object("text"), Object(true)],
    error: new RangeError("of range"),
    // deno-lint-ignore no-sparse-arrays
    sparse: [1, , 3],
    "a key": { "": { ["__proto__"]: 1 } },
  };
  assertEquals(await sent(values), values);
  // The same beside something that is shared.
  const event = new Event();
  const shared = await sent({ event, values });
  assertStrictEquals(shared.event, event);
  assertEquals(shared.values, values);
  assertNotEquals(shared.values.map, new Map());
  assertFalse(1 in shared.values.sparse);
  assertEquals(Object.keys(shared.values["a key"][""]), ["__proto__"]);
});

test("Events, barriers and tasks may stand anywhere in arguments", {
  timeout,
}, async () => {
  const [event, barrier] = [new Event(), new Barrier(2)];
  const object: Any = {
    list: [1, event, [barrier], new Map<Any, Any>([[event, { barrier }]])],
    set: new Set<Any>([event, "text", tasks.double]),
    "__proto__x": { deep: { deeper: [[[event]]] } },
    plain: Object.assign([1, 2], { event }),
    long: Object.assign(Array(2000).fill(0), { barrier }),
  };
  object.self = object;
  object.set.add(object.set);
  object.list[3].set("map", object.list[3]);
  const copy = await sent(object);
  assertNotEquals(copy === object, true);
  assertStrictEquals(copy.self, copy);
  assertStrictEquals(copy.list[1], event);
  assertStrictEquals(copy.list[2][0], barrier);
  assertStrictEquals(copy.list[3].get(event).barrier, barrier);
  assertStrictEquals(copy.list[3].get("map"), copy.list[3]);
  assertEquals([...copy.set].slice(0, 3), [event, "text", tasks.double]);
  assert(copy.set.has(copy.set));
  assertStrictEquals(copy["__proto__x"].deep.deeper[0][0][0], event);
  assertStrictEquals(copy.plain.event, event);
  assertStrictEquals(copy.long.barrier, barrier);
  assertStrictEquals(await sent(event), event);
  assertStrictEquals(await sent(tasks.double), tasks.double);
  await using pool = new ProcessPool(1);
  const there = await pool.apply((...shared: unknown[]) => shared, [
    event,
    barrier,
    tasks.double,
  ]);
  assertStrictEquals(there[0], event);
  assertStrictEquals(there[1], barrier);
  assertStrictEquals(there[2], tasks.double);
  const isSame = (event: Event, barrier: Barrier) => {
    const { kept } = globalThis as Any;
    (globalThis as Any).kept = [event, barrier];
    return kept?.[0] === event && kept?.[1] === barrier;
  };
  await pool.apply(isSame, [event, barrier]);
  assert(await pool.apply(isSame, [event, barrier]));
  // And to another process.
  const joining = run(async (object: Any) => {
    const event = object.list[1];
    const check = (fact: boolean) => {
      if (!fact) throw new Error("it is another object");
    };
    check(object.self === object);
    check(object.set.has(event));
    check(object.list[3].get(event).barrier === object.list[2][0]);
    check(object["__proto__x"].deep.deeper[0][0][0] === event);
    check([...object.set][2](4) === 8);
    event.set();
    await object.list[2][0].wait();
  }, object);
  assert(await event.wait({ timeout: 10_000 }));
  await barrier.wait({ timeout: 10_000 });
  assertEquals(await joining, 0);
});

test("Arguments that are deep or wide are sent as they are", {
  timeout,
}, async () => {
  const event = new Event();
  let deep: Any = event;
  for (let i = 0; i < 1000; i++) deep = i % 2 ? [deep] : { deep };
  let copy = await sent(deep);
  for (let i = 999; i >= 0; i--) copy = i % 2 ? copy[0] : copy.deep;
  assertStrictEquals(copy, event);
  const most = typeof process === "object" ? 1_950 : 950;
  for (const depth of [most, 3_000, 10_000]) {
    deep = 1;
    for (let i = 0; i < depth; i++) deep = { deep };
    try {
      copy = await sent(deep);
      let reached = 0;
      for (; copy !== 1; copy = copy.deep) reached++;
      assertEquals(reached, depth);
    } catch (error) {
      // V8 writes what it cannot read.
      assert(depth > most && !("Bun" in globalThis), `refused: ${depth}`);
      assertEquals((error as Error).name, "DataCloneError");
      assertStringIncludes((error as Error).message, "args");
    }
  }
  const wide = Array.from({ length: 10_000 }, (_, i) => i % 100 ? i : event);
  assertEquals(await sent(wide), wide);
});

/** What cannot be sent, where it stands, and what the error calls it. */
const refused: [args: unknown[], position: string][] = [
  [[() => {}], "args[0]"],
  [[1, function named() {}], "args[1]"],
  [[{ list: [0, 1, 2, () => {}] }], "args[0].list[3]"],
  [[0, { list: [0, 1, 2, () => {}] }], "args[1].list[3]"],
  [[Symbol("s")], "args[0]"],
  [[[Symbol.iterator]], "args[0][0]"],
  [[Promise.resolve()], "args[0]"],
  [[{ later: Promise.resolve() }], "args[0].later"],
  [[new (class extends Promise<void> {})(() => {})], "args[0]"],
  [[new WeakMap()], "args[0]"],
  [[[[new WeakRef({})]]], "args[0][0][0]"],
  [[{ "a key": { 7: new WeakSet() } }], 'args[0]["a key"]["7"]'],
  [[new Map([["name", () => {}]])], 'args[0].get("name")'],
  [[new Map([[1, () => {}]])], "args[0].values()[0]"],
  [[new Map([[() => {}, 1]])], "args[0].keys()[0]"],
  [[new Set([1, Symbol("s")])], "args[0].values()[1]"],
  [[new Process(() => {})], "args[0]"],
  [[(function* () {})()], "args[0]"],
  [[(async function* () {})()], "args[0]"],
  [[new Event(), { event: [new Event(), () => {}] }], "args[1].event[1]"],
  [[tasks.double, [tasks.double, new ReadableStream()]], "args[1][1]"],
  [[{ event: new Event(), stream: new ReadableStream() }], "args[0].stream"],
  [[Object.assign([1, 2], { pool: new ThreadPool(1) })], "args[0].pool"],
  [[new ThreadPool(1).imap((n: number) => n, [1])], "args[0]"],
  [[new URL("http://localhost/")], "args[0]"],
  [[{ list: [new Headers(), new Event()] }], "args[0].list[0]"],
  [[new AbortController().signal], "args[0]"],
  [[[new Map([["target", new EventTarget()]])]], 'args[0][0].get("target")'],
  [[1, { encoder: new TextEncoder() }], "args[1].encoder"],
  [[new Error("e", { cause: [() => {}] })], "args[0].cause[0]"],
  [[new Proxy(new Map(), {})], "args[0]"],
  [[1, { list: [argumentsOf(1, 2)] }], "args[1].list[0]"],
  [[1, new Set([new Proxy(new Set(), {})])], "args[1].values()[0]"],
  [[[revokedProxy()]], "args[0][0]"],
  [[new Error("e", { cause: new Event() })], "args[0].cause"],
  [[cyclic()], "args[0].odd"],
];

/** What only the platform refuses, beside a cycle. */
function cyclic(): unknown {
  const object: Any = { odd: [1].values() };
  object.self = object;
  return object;
}

function argumentsOf(..._: unknown[]): unknown {
  return arguments;
}

function revokedProxy(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

// Bun leaves the cause out.
if (!("Bun" in globalThis)) {
  refused.push([[new Error("e", { cause: cyclic() })], "args[0].cause.odd"]);
}
// Only a browser cannot tell them from what they look like.
if (typeof process === "object") {
  const proxy: unknown = new Proxy({ a: 1 }, {});
  refused.push(
    [[proxy], "args[0]"],
    [[proxy, new Event()], "args[0]"],
    [[1, [new Proxy([], {})]], "args[1][0]"],
  );
}

test("Process.start() throws a DataCloneError that says what cannot be sent", {
  timeout,
}, () => {
  for (const [args, position] of refused) {
    const process = new Process(
      function target(..._: unknown[]) {},
      { args },
    );
    const error = assertThrows(() => process.start(), DOMException);
    assertEquals(error.name, "DataCloneError");
    assertStringIncludes(error.message, 'function "target"');
    assertStringIncludes(error.message, `${position} of `);
    assertFalse(process.isAlive());
    assertEquals(process.id, null);
  }
  assertEquals(activeChildren(), []);
  const anonymous = new Process((() => () => {})(), {
    args: [() => {}] as Any,
  });
  assertThrows(() => anonymous.start(), DOMException, "anonymous function");
});

test("Process.start() may be called again after a DataCloneError", {
  timeout,
}, async () => {
  const args: unknown[] = [() => {}];
  const process = new Process((..._: unknown[]) => {}, { args });
  assertThrows(() => process.start(), DOMException);
  args[0] = 1;
  process.start();
  assertEquals(await process.join(), 0);
});

// -- errors -----------------------------------------------------------------

/** What the other side gets of something thrown. */
function thrown(error: unknown): Any {
  return fromThrownWire(structuredClone(toThrownWire(error)));
}

test("An error arrives with its class, name, message and stack", {
  timeout,
}, () => {
  for (
    const Class of [
      Error,
      TypeError,
      RangeError,
      SyntaxError,
      ReferenceError,
      EvalError,
      URIError,
      BrokenBarrierError,
    ]
  ) {
    const error = new Class("a message");
    const copy = thrown(error);
    assertInstanceOf(copy, Class);
    assertStrictEquals(copy.constructor, Class);
    assertEquals(copy.name, error.name);
    assertEquals(copy.message, "a message");
    assertEquals(copy.stack, error.stack);
  }
  class Own extends RangeError {
    override name = "Own";
  }
  const own = thrown(new Own("a message"));
  assertInstanceOf(own, RangeError);
  assertEquals([own.name, own.message], ["Own", "a message"]);
  const exception = thrown(new DOMException("a message", "AbortError"));
  assertInstanceOf(exception, DOMException);
  assertEquals([exception.name, exception.code], ["AbortError", 20]);
});

test("An error arrives with its cause, errors and own properties", {
  timeout,
}, () => {
  const first: Any = new TypeError("first");
  const second: Any = new Error("second", { cause: first });
  first.cause = second; // a cycle
  const copy = thrown(second);
  assertEquals(copy.cause.message, "first");
  assertInstanceOf(copy.cause, TypeError);
  assertStrictEquals(copy.cause.cause, copy);
  const all: Any = thrown(new AggregateError([first, "text", 7], "all"));
  assertStrictEquals(all.constructor, AggregateError);
  assertEquals(all.errors[0].message, "first");
  assertEquals(all.errors.slice(1), ["text", 7]);
  const odd: Any = thrown(
    new AggregateError([() => {}, 7], "odd", { cause: Symbol("s") }),
  );
  assertInstanceOf(odd.errors[0], Error);
  assertStringIncludes(odd.errors[0].message, "cannot be sent: (");
  assertEquals(odd.errors[1], 7);
  assertInstanceOf(odd.cause, Error);
  assertStringIncludes(odd.cause.message, "cannot be sent: Symbol(s)");
  const error = Object.assign(new Error("a message", { cause: "text" }), {
    code: "E_CODE",
    details: { list: [1, 2] },
    fn: () => {},
    related: first,
  });
  const other = thrown(error);
  assertEquals(other.cause, "text");
  assertEquals(other.code, "E_CODE");
  assertEquals(other.details, { list: [1, 2] });
  assertFalse("fn" in other);
  assertInstanceOf(other.related, TypeError);
  const hostile = new Error("a message");
  Object.defineProperty(hostile, "trap", {
    enumerable: true,
    get() {
      throw new Error("from the getter");
    },
  });
  assertEquals(thrown(hostile).message, "a message");
});

test("What is thrown and no error arrives as it is, or described", {
  timeout,
}, () => {
  for (const value of [undefined, null, 0, "text", { a: [1] }, 1n]) {
    assertEquals(thrown(value), value);
  }
  const described = thrown(() => 1);
  assertInstanceOf(described, Error);
  assertStringIncludes(described.message, "=>");
  assertStringIncludes(thrown(Symbol("sign")).message, "Symbol(sign)");
});

// -- types ------------------------------------------------------------------

test("Types of arguments are those of the target", { timeout }, () => {
  const target = (_a: number, _b?: string) => {};
  new Process(target, { args: [1] });
  new Process(target, { args: [1, "text"] });
  // @ts-expect-error: the first argument is a number
  new Process(target, { args: ["text"] });
  // @ts-expect-error: there are two arguments
  new Process(target, { args: [1, "text", 3] });
  // @ts-expect-error: the first argument must be there
  new Process(target, { args: [] });
  // @ts-expect-error: parties are missing
  assertThrows(() => new Barrier(), RangeError);
  const double: (n: number) => number = task(import.meta.url, tasks.double);
  assertEquals(double(1), 2);
});
