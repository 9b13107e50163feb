// How errors come back, and what callbacks that throw do.

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import {
  type ApplyOptions,
  BrokenBarrierError,
  Event,
  PoolClosedError,
  ProcessPool,
  task,
  ThreadPool,
  WorkerExitError,
} from "../mod.ts";
import { type Module, runProgram } from "./_program.ts";
import {
  type AnyPool,
  drained,
  endInTurn,
  POOLS,
  type Turn,
} from "./_pools.ts";
import { failDeep, failWith, throwBarrier } from "./testdata/pool_tasks.ts";

const timeout = 30_000;

/** Whether stacks begin with the message; Firefox's do not. */
const stacksTell = new Error("told").stack!.includes("told");

// deno-lint-ignore no-explicit-any
type Any = any;

/** What a call rejects with. */
function thrown(
  pool: AnyPool,
  fn: (...args: Any[]) => unknown,
  args: unknown[] = [],
  options: ApplyOptions = {},
): Promise<Any> {
  return pool.apply(fn, args, options).then(
    (value) => {
      throw new Error(`no rejection: ${value}`);
    },
    (error) => error,
  );
}

for (const Pool of POOLS) {
  const { name } = Pool;

  test(`${name} passes errors on with their class`, { timeout }, async () => {
    await using pool = new Pool(1);
    const fail = (name: string, message: string) => {
      throw new (globalThis as Any)[name](message);
    };
    const names = [
      "Error",
      "TypeError",
      "RangeError",
      "SyntaxError",
      "ReferenceError",
      "EvalError",
      "URIError",
    ];
    for (const name of names) {
      const error = await thrown(pool, fail, [name, "a message"]);
      assertStrictEquals(error.constructor, (globalThis as Any)[name]);
      assertEquals(error.name, name);
      assertStringIncludes(error.message, "a message");
      assertStringIncludes(error.stack, stacksTell ? "a message" : "fail");
      assertFalse(error.stack.includes("blob:"), error.stack);
      assertFalse(Object.hasOwn(error, "name"));
      assert(Object.prototype.toString.call(error) === "[object Error]");
    }
    const aggregate = await thrown(pool, () => {
      throw new AggregateError(
        [new TypeError("one"), 2, new AggregateError([null], "in")],
        "several",
      );
    });
    assert(aggregate instanceof AggregateError);
    assertInstanceOf(aggregate.errors[0], TypeError);
    assertEquals(aggregate.errors[0].message, "one");
    assertEquals(aggregate.errors[1], 2);
    assertEquals(aggregate.errors[2].errors, [null]);
    const { SuppressedError } = globalThis as Any;
    if (SuppressedError !== undefined) { // not yet in every browser
      const both = await thrown(pool, () => {
        const { SuppressedError } = globalThis as Any;
        throw new SuppressedError(new TypeError("late"), new URIError("early"));
      });
      assertStrictEquals(both.constructor, SuppressedError);
      assertInstanceOf(both.error, TypeError);
      assertInstanceOf(both.suppressed, URIError);
    }
    const abort = await thrown(pool, () => {
      throw new DOMException("stop", "AbortError");
    });
    assert(abort instanceof DOMException);
    assertEquals([abort.name, abort.message, abort.code], [
      "AbortError",
      "stop",
      20,
    ]);
  });

  test(`${name} passes on cause, errors and own properties`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const error: Any = await thrown(pool, () => {
      const cause = new TypeError("the cause", { cause: { code: 7 } });
      throw Object.assign(new RangeError("the effect", { cause }), {
        code: "E_FAIL",
        details: { list: [1, new Date(5)] },
        inner: new SyntaxError("inside"),
        attempts: [Object.assign(new RangeError("first"), { code: 1 }), "last"],
      });
    });
    assertEquals(error.code, "E_FAIL");
    assertEquals(error.details, { list: [1, new Date(5)] });
    assertInstanceOf(error.inner, SyntaxError);
    const [first, last] = error.attempts;
    assertEquals([first.name, first.code, last], ["RangeError", 1, "last"]);
    assertInstanceOf(error.cause, TypeError);
    assertEquals(error.cause.cause, { code: 7 });
    assertFalse(Object.keys(error).includes("cause"));
    const circular = await thrown(pool, () => {
      const one: Any = new Error("one");
      const two = new Error("two", { cause: one });
      one.cause = two;
      one.self = one;
      throw one;
    });
    assertEquals(circular.cause.message, "two");
    assertStrictEquals(circular.cause.cause, circular);
    assertStrictEquals(circular.self, circular);
  });

  test(`${name} passes on a custom error's name and nearest class`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const error = await thrown(pool, () => {
      class QueryError extends TypeError {
        override name = "QueryError";
        line = 3;
      }
      throw new QueryError("bad query");
    });
    assert(error instanceof TypeError);
    assertEquals([error.name, error.message, (error as Any).line], [
      "QueryError",
      "bad query",
      3,
    ]);
  });

  test(`${name} passes on what is thrown and no error`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const values = [
      undefined,
      null,
      0,
      NaN,
      -0,
      "",
      "text",
      10n,
      true,
      { code: 1 },
      [1, [2]],
      new Date(0),
      new Map([[1, 2]]),
    ];
    const fail = (value: unknown) => {
      throw value;
    };
    for (const value of values) {
      assertEquals(await thrown(pool, fail, [value]), value);
      assertEquals(
        await thrown(pool, (value) => Promise.reject(value), [value]),
        value,
      );
    }
  });

  test(`${name} keeps the stack that names the function`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    const error = await thrown(pool, function outermost() {
      function innermost() {
        throw new Error("with a stack");
      }
      innermost();
    });
    assertStringIncludes(error.stack, "innermost");
    assertStringIncludes(error.stack, "outermost");
    assert(error.stack.length < 4000, error.stack);
    const deep = await thrown(pool, failDeep);
    assertStringIncludes(deep.stack, "innermost");
    assertStringIncludes(deep.stack, "pool_tasks.ts");
  });

  test(`${name}.map() passes errors on as apply() does`, {
    timeout,
  }, async () => {
    await using pool = new Pool(2);
    const fail = (n: number) => {
      throw Object.assign(new RangeError(`no ${n}`), { n });
    };
    const error = await assertRejects(() => pool.map(fail, [1]), RangeError);
    assertEquals((error as Any).n, 1);
    for (const it of [pool.imap(fail, [1]), pool.imapUnordered(fail, [1])]) {
      assertEquals((await drained(it)).error, error);
    }
  });
}

test("A callback that throws is an uncaught error and disturbs no call", {
  timeout,
}, async () => {
  const { code, stdout, stderr } = await runProgram(async (module: Module) => {
    const scope = globalThis as Any;
    let uncaught: string[] = [];
    const note = (error: unknown) => uncaught.push((error as Error).message);
    if (scope.Deno) {
      scope.addEventListener("error", (event: Any) => {
        event.preventDefault();
        note(event.error);
      });
    } else scope.process.on("uncaughtException", note);
    const fail = (which: string) => () => {
      throw new Error(which);
    };
    for (const name of ["ProcessPool", "ThreadPool"]) {
      const pool = new (module as Any)[name](1) as AnyPool;
      const good = pool.applyAsync(() => 1, [], { callback: fail("callback") });
      const bad = pool.applyAsync(
        () => {
          throw new RangeError("in the call");
        },
        [],
        { errorCallback: fail("errorCallback") },
      );
      const results: unknown[] = [
        await good,
        await bad.then(null, (error) => (error as Error).name),
      ];
      const onProgress = fail("onProgress");
      const double = (n: number) => n * 2;
      results.push(await pool.map(double, [1, 2], { onProgress }));
      for await (const n of pool.imap(double, [3], { onProgress })) {
        results.push(n);
      }
      while (uncaught.length < 5) await new Promise((r) => setTimeout(r, 1));
      console.log(JSON.stringify(results), uncaught.sort().join());
      uncaught = [];
      pool.close();
      await pool.join();
    }
  });
  const line = '[1,"RangeError",[2,4],6] ' +
    "callback,errorCallback,onProgress,onProgress,onProgress\n";
  assertEquals([code, stdout, stderr], [0, line + line, ""]);
});

test("ProcessPool passes on this module's own errors", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const broken = await thrown(pool, failWith, ["BrokenBarrierError"]);
  assertInstanceOf(broken, BrokenBarrierError);
  assertEquals(broken.message, "in the worker");
  const closed = await thrown(pool, failWith, ["PoolClosedError"]);
  assertInstanceOf(closed, PoolClosedError);
  const exit = await thrown(pool, failWith, ["WorkerExitError"]);
  assertInstanceOf(exit, WorkerExitError);
  assertEquals(exit.exitCode, 5);
});

test(
  "A class of a task's that has the name of one of this module's is another",
  {
    timeout,
  },
  async () => {
    await using pool = new ProcessPool(1);
    const error = await pool.apply(() => {
      class PoolClosedError extends Error {}
      throw new PoolClosedError("a task's own");
    }).then(undefined, (error: unknown) => error);
    assert(error instanceof Error && !(error instanceof PoolClosedError));
    assertEquals(error.message, "a task's own");
  },
);

test("ProcessPool refuses what the other thread could not read", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const make = function make(depth: number): unknown {
    let deep: unknown = 1;
    for (let i = 0; i < depth; i++) deep = { deep };
    return deep;
  };
  const take = function take(_: unknown): number {
    return 1;
  };
  const isDelivered = "Bun" in globalThis; // V8 writes what it cannot read
  const calls: [call: () => Promise<unknown>, place: string][] = [
    [() => pool.apply(take, [make(3_000)]), "args[0]"],
    [() => pool.map(take, [1, make(3_000)], { chunkSize: 2 }), "args[0]"],
    [() => pool.apply(make, [3_000]), "result"],
    [() => pool.map(make, [1, 3_000], { chunkSize: 2 }), "result"],
  ];
  for (const [call, place] of calls) {
    if (isDelivered) await call();
    else {
      const error = await assertRejects(call, DOMException);
      assertEquals(error.name, "DataCloneError");
      assertStringIncludes(error.message, place);
      assertStringIncludes(error.message, 'function "');
    }
  }
  assertEquals(await pool.apply(take, [make(900)]), 1);
  assertEquals(pool.stats().respawned, 0);
});

test("ProcessPool describes what is thrown and cannot be sent", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const fail = await thrown(pool, () => {
    throw () => "a function";
  });
  assertInstanceOf(fail, Error);
  assertStringIncludes(fail.message, "a function");
  const symbol = await thrown(pool, () => Promise.reject(Symbol("odd")));
  assertInstanceOf(symbol, Error);
  assertStringIncludes(symbol.message, "Symbol(odd)");
  // What cannot be sent of an error is left out, but for its cause.
  const error = await thrown(pool, () => {
    throw Object.assign(new Error("m", { cause: () => {} }), {
      fn: () => {},
      kept: 1,
    });
  });
  assertEquals([error.message, error.kept, "fn" in error], ["m", 1, false]);
  assertStringIncludes(error.cause.message, "cannot be sent: (");
  const getter = await thrown(pool, () => {
    throw Object.defineProperty(new Error("m"), "bad", {
      enumerable: true,
      get() {
        throw new Error("getter");
      },
    });
  });
  assertEquals(getter.message, "m");
  assertEquals(await pool.apply(() => 1), 1);
});

test("ProcessPool says why a variable around a function is missing", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const outer = 7;
  const useOuter = () => outer;
  for (
    const call of [
      () => pool.apply(useOuter),
      () => pool.map(useOuter, [1]),
      // deno-lint-ignore require-await
      () => pool.apply(async () => outer),
    ]
  ) {
    const error = await assertRejects(call, ReferenceError, "outer");
    assertStringIncludes(error.message, "argument");
    assertStringIncludes(error.message, "task()");
  }
});

test("ProcessPool says how a function can call itself", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const factorial = (n: number): number => n < 2 ? 1 : n * factorial(n - 1);
  assertEquals(await pool.apply(factorial, [1]), 1);
  const call = () => pool.apply(factorial, [3]);
  const error = await assertRejects(call, ReferenceError, "factorial");
  assertStringIncludes(error.message, 'written as "function factorial"');
  const other = await assertRejects(
    () => pool.apply(() => factorial(3)),
    ReferenceError,
  );
  assert(!other.message.includes("written as"));
});

test("ProcessPool takes an error's long message for no stack", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const fail = (): never => {
    const people = Array.from({ length: 60_000 }, (_, i) => `user${i}@here`);
    throw new Error(people.join(","));
  };
  const error = await assertRejects(() => pool.apply(fail), Error, "user9@");
  assert(error.message.length > 600_000);
});

for (const way of ["start", "initializer", "apply", "map"]) {
  test(
    `A module that is loaded for its task cannot run that elsewhere: ${way}`,
    {
      timeout,
    },
    async () => {
      const module = new URL("./testdata/unguarded.ts", import.meta.url);
      await using pool = new ProcessPool(1, { name: way });
      const error = await thrown(pool, task(module, "double"), [2]);
      assertStringIncludes(
        error.cause.message,
        `Cannot run task "double" elsewhere while process "${way}-1" loads its ` +
          `module "${module}"`,
      );
      assertStringIncludes(error.cause.message, "if (import.meta.main)");
    },
  );
}

test("A module that is loaded for its task may make a process of it", {
  timeout,
}, async () => {
  const module = new URL("./testdata/unguarded.ts", import.meta.url);
  await using pool = new ProcessPool(1, { name: "make" });
  assertEquals(await pool.apply(task(module, "double"), [2]), 4);
});

test("A failure that nobody looks at is no unhandled rejection", {
  timeout,
}, async () => {
  const { code, stdout, stderr } = await runProgram(async (module: Module) => {
    for (const name of ["ProcessPool", "ThreadPool"]) {
      const pool = new (module as Any)[name](1) as AnyPool;
      const fail = (): number => {
        throw new Error("unseen");
      };
      const one = pool.applyAsync(fail);
      const two = pool.mapAsync(fail, [1]);
      await one.wait();
      await two.wait();
      await new Promise((resolve) => setTimeout(resolve, 10));
      console.log("alive");
      pool.close();
      await pool.join();
    }
  });
  assertEquals([code, stdout, stderr], [0, "alive\nalive\n", ""]);
});

test("ProcessPool passes on events and barriers that are thrown", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const event = new Event();
  const fail = (event: Event, kind: string) => {
    if (kind === "itself") throw event;
    if (kind === "inside") throw { list: [event] };
    throw Object.assign(new Error("m"), { event });
  };
  assertStrictEquals(await thrown(pool, fail, [event, "itself"]), event);
  assertStrictEquals(
    (await thrown(pool, fail, [event, "inside"])).list[0],
    event,
  );
  assertStrictEquals((await thrown(pool, fail, [event, "error"])).event, event);
});

test("ProcessPool passes on errors that are odd, and loses no worker", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const odd: [fail: () => unknown, name: string][] = [
    [() => {
      throw Object.freeze(new ReferenceError("frozen"));
    }, "ReferenceError"],
    [
      () => Promise.reject(Object.freeze(new ReferenceError("frozen"))),
      "ReferenceError",
    ],
    [() => {
      throw Object.defineProperty(new ReferenceError("x"), "message", {
        get() {
          throw new Error("getter");
        },
      });
    }, "ReferenceError"],
    [() => {
      const { proxy, revoke } = Proxy.revocable({}, {});
      revoke();
      throw proxy;
    }, "Error"],
    [() => {
      throw new Proxy(new TypeError("x"), {
        ownKeys() {
          throw new Error("trap");
        },
      });
    }, "Error"],
    [() => {
      let error = new Error("the first");
      for (let i = 0; i < 5000; i++) error = new Error("x", { cause: error });
      throw error;
    }, "Error"],
    [() => ({
      get a() {
        throw { name: "DataCloneError" };
      },
    }), "DataCloneError"],
    [() => ({
      get a() {
        throw null;
      },
      later: new Map(),
    }), "null"],
  ];
  for (const [fail, name] of odd) {
    const error = await thrown(pool, fail);
    assertEquals(error === null ? "null" : error.name, name);
  }
  const inherited = await thrown(pool, () => {
    const error = Object.create(Error.prototype);
    throw Object.assign(error, { message: "as of old", code: 7 });
  });
  assert(inherited instanceof Error);
  assertEquals(inherited.message, "as of old");
  assertEquals((inherited as Any).code, 7);
  const named = await thrown(pool, () => {
    throw { [Symbol.toStringTag]: "Error", code: 7 };
  });
  assertEquals(named as unknown, { code: 7 }, "an error in name only");
  // What a function's text is called by others is no matter.
  const alpha = () => Symbol();
  const beta = () => Symbol();
  assertStringIncludes((await thrown(pool, alpha)).message, '"alpha"');
  assertStringIncludes((await thrown(pool, beta)).message, '"beta"');
  assertEquals(pool.stats().respawned, 0);
});

test(
  "ProcessPool lets many buffers' owners come back",
  { timeout },
  async () => {
    await using pool = new ProcessPool(1);
    const make = (length: number) => Array.from({ length }, (_, i) => `${i}`);
    const texts = await pool.apply(make, [200_000], { transferResult: true });
    assertEquals(texts.length, 200_000);
  },
);

test("ProcessPool copies what may not be transferred", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const options = { chunkSize: 4, transferResult: true };
  const mixed = (n: number) =>
    n === 0 ? new WebAssembly.Memory({ initial: 1 }).buffer : n;
  const [first, ...rest] = await pool.map(mixed, [0, 1, 2, 3], options);
  assertEquals((first as ArrayBuffer).byteLength, 65536);
  assertEquals(rest, [1, 2, 3]);
  const size = function size(buffer: ArrayBuffer) {
    return buffer.byteLength;
  };
  const own = new WebAssembly.Memory({ initial: 1 }).buffer as ArrayBuffer;
  assertEquals(await pool.apply(size, [own]), 65536);
  const { name, message } = await thrown(pool, size, [own], {
    transfer: [own],
  });
  assertEquals(name, "DataCloneError");
  assertStringIncludes(message, 'Cannot send args of function "size": ');
  const result = function result() {
    return [new WebAssembly.Memory({ initial: 1 }).buffer, () => {}];
  };
  const error = await thrown(pool, result, [], { transferResult: true });
  assertEquals(error.name, "DataCloneError");
  assertStringIncludes(error.message, 'result[1] of function "result"');
});

test("What an error has of a module that is not loaded is left out", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const error = await thrown(pool, throwBarrier, [true]);
  assertEquals([error.message, error.n], ["with a barrier", 1]);
  assertFalse("barrier" in error);
  const value = await thrown(pool, throwBarrier, [false]);
  assertInstanceOf(value, Error);
  assertStringIncludes(value.message, "cannot be sent was thrown");
});

test("Errors come with the message and the properties that they had", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const parse = () => {
    const place = { line: 12, column: 3, sourceURL: "x.css", originalLine: 2 };
    throw Object.assign(new SyntaxError("unexpected }"), place);
  };
  const { line, column, sourceURL, originalLine } = await thrown(pool, parse);
  assertEquals([line, column, sourceURL, originalLine], [12, 3, "x.css", 2]);
  for (
    const message of [
      "cannot load blob:123e4567-e89b-12d3-a456-426614174000",
      `cannot load data:text/javascript,${"x".repeat(300)}`,
    ]
  ) {
    const fail = (message: string) => {
      throw new Error(message);
    };
    assertEquals((await thrown(pool, fail, [message])).message, message);
  }
  const named = () => {
    class Own extends Error {
      override name = "Own";
      code = 7;
    }
    throw new Own("x");
  };
  const error = await thrown(pool, named);
  assertEquals([error.name, { ...error }], ["Own", { name: "Own", code: 7 }]);
});

test("ThreadPool.map() begins nothing once an item has thrown", {
  timeout,
}, async () => {
  for (const processes of [1, 2, 4]) {
    const pool = new ThreadPool(processes);
    const begun: number[] = [];
    const fail = (n: number) => {
      begun.push(n);
      throw new RangeError(`${n}`);
    };
    const call = pool.map(fail, [0, 1, 2, 3, 4, 5, 6, 7], { chunkSize: 1 });
    await assertRejects(() => call, RangeError, "0");
    pool.close();
    await pool.join();
    assertEquals(begun, [0]);
    assertEquals(pool.stats().busy, 0);
    assertEquals(pool.stats().failed, 1);
  }
});

test("map() rejects with the error that came first in time", {
  timeout,
}, async () => {
  const fail = ({ name, turn }: Turn) => {
    if (name === "late") Atomics.wait(turn, 0, 0);
    throw new Error(`${name} ${self.name}`);
  };
  await endInTurn(async (pool, items) => {
    const error = await assertRejects(
      () => pool.map(fail, items, { chunkSize: 1 }),
      Error,
    );
    return error.message;
  });
});
