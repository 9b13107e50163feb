// Arguments of the wrong type are refused at once, by name and with the value.

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { Barrier, Event, Process, ProcessPool, ThreadPool } from "../mod.ts";
import { shown } from "../_internal/check.ts";
import { checkMayBlock } from "../_internal/wait.ts";

const timeout = 20_000;

// deno-lint-ignore no-explicit-any
type Any = any;

const fn = (n: number) => n;

/** Options that no call over many items takes, and what is said of them. */
const BAD_MAPS: [options: Any, message: string][] = [
  [{ chunkSize: "2" }, "chunkSize must be a positive integer"],
  [{ timeout: -1 }, "timeout must"],
  [{ timeout: "soon" }, "timeout must"],
  [{ signal: {} }, "signal must be an AbortSignal"],
  [{ onProgress: 1 }, "onProgress must be a function"],
  [
    { transferResult: "yes" },
    'transferResult must be true or false: received "',
  ],
  [{ chunksize: 2 }, "there is no option chunksize: did you mean chunkSize?"],
  [{ chunk_size: 2 }, "there is no option chunk_size: did you mean chunkSize?"],
];

for (const Pool of [ProcessPool, ThreadPool]) {
  const { name } = Pool;

  test(`${name}.apply() refuses arguments of the wrong type`, {
    timeout,
  }, async () => {
    await using pool = new Pool(1);
    for (
      const [args, message] of [
        [[1], "fn must be a function: received 1"],
        [[fn, 1], "args must be an array: received 1"],
        [[fn, [1], { transfer: 1 }], "transfer must be an array: received 1"],
        [[fn, [1], { signal: "stop" }], "signal must be an AbortSignal"],
        [[fn, [1], { timeout: NaN }], "timeout must"],
        [[fn, [1], { timeOut: 1 }], "no option timeOut: did you mean timeout?"],
        [[fn, [1], { transferResult: 1 }], "transferResult must be true or"],
      ] as [Any, string][]
    ) {
      const apply = pool.apply.bind(pool) as Any;
      const applyAsync = pool.applyAsync.bind(pool) as Any;
      const error = await assertRejects(() => apply(...args), Error, message);
      assert(error.message.startsWith("Cannot apply function as "));
      assertThrows(() => applyAsync(...args), Error, message);
    }
    for (const key of ["callback", "errorCallback"]) {
      assertThrows(
        () => pool.applyAsync(fn, [1], { [key]: 1 } as Any),
        TypeError,
        `${key} must be a function: received 1`,
      );
    }
    assertEquals(await pool.apply(fn, [1]), 1);
  });

  test(
    `${name}.map(), starmap() and imap() refuse arguments of the wrong type`,
    {
      timeout,
    },
    async () => {
      await using pool = new Pool(1);
      for (const [options, message] of BAD_MAPS) {
        await assertRejects(() => pool.map(fn, [1], options), Error, message);
        await assertRejects(
          () => pool.starmap(fn, [[1]], options),
          Error,
          message,
        );
        for (
          const call of [
            () => pool.mapAsync(fn, [1], options),
            () => pool.starmapAsync(fn, [[1]], options),
            () => pool.imap(fn, [1], options),
            () => pool.imapUnordered(fn, [1], options),
          ]
        ) assertThrows(call, Error, message);
      }
      const inputs = [[undefined, undefined], [null, null], [7, 7], [{}, "{}"]];
      for (const [iterable, shown] of inputs as [Any, unknown][]) {
        const message =
          `input must be an iterable or async iterable, such as an array: ` +
          `received ${shown}`;
        await assertRejects(() => pool.map(fn, iterable), TypeError, message);
        assertThrows(() => pool.imap(fn, iterable), TypeError, message);
      }
      for (const item of [1, null, undefined, {}] as Any[]) {
        for (const options of [{ chunkSize: 2 }, {}]) {
          await assertRejects(
            () => pool.starmap(fn, [[1], "1", [1], item], options),
            TypeError,
            `such as [1, 2]: received ${
              item && typeof item === "object" ? "{}" : item
            } as item 3`,
          );
        }
      }
      assertEquals(await pool.starmap(fn, [[1], "x", new Set([2])] as Any), [
        1,
        "x",
        2,
      ]);
      assertThrows(
        () => pool.imap(7 as Any, [1]),
        TypeError,
        "Cannot imap function as fn must be",
      );
      assertThrows(
        () => pool.imapUnordered(7 as Any, [1]),
        TypeError,
        "Cannot imapUnordered function as fn must be",
      );
      assertEquals(await pool.map(fn, [1]), [1]);
    },
  );

  test(`${name}() refuses options of the wrong type`, { timeout }, () => {
    for (
      const [options, message] of [
        [{ initargs: 1 }, "initargs must be an array: received 1"],
        [{ initializer: 1 }, "initializer must be a function: received 1"],
        [{ maxtasksperchild: 1 }, "did you mean maxTasksPerChild?"],
      ] as [Any, string][]
    ) assertThrows(() => new Pool(1, options), TypeError, message);
  });
}

test("ProcessPool() refuses options of the wrong type", { timeout }, () => {
  for (
    const [options, message] of [
      [{ name: 7 }, "name must be a string: received 7"],
      [{ maxTasksPerChild: 0 }, "maxTasksPerChild must be a positive integer"],
    ] as [Any, string][]
  ) assertThrows(() => new ProcessPool(1, options), Error, message);
});

test("Waits refuse what is no signal, and leave nothing behind", {
  timeout,
}, async () => {
  const process = new Process(() => new Promise(() => {}));
  process.start();
  for (const signal of [{}, 5, "stop"] as Any[]) {
    const options = { signal, timeout: 1 };
    for (
      const [wait, action] of [
        [() => new Event().wait(options), "wait for event"],
        [() => new Barrier(2).wait(options), "wait at barrier"],
        [() => process.join(options), "join process"],
      ] as const
    ) {
      await assertRejects(
        wait,
        TypeError,
        `Cannot ${action} as signal must be an AbortSignal: received `,
      );
    }
  }
  process.terminate();
  assertEquals(await process.join(), -15);
});

test("Process() refuses options of the wrong type", { timeout }, async () => {
  for (
    const [args, message] of [
      [[7], "target must be a function: received 7"],
      [[fn, { args: 7 }], "args must be an array: received 7"],
      [[fn, { name: 7 }], "name must be a string: received 7"],
      [[fn, { daemon: "yes" }], 'daemon must be true or false: received "yes"'],
    ] as [Any, string][]
  ) {
    assertThrows(
      () => new (Process as Any)(...args),
      TypeError,
      `Cannot create process as ${message}`,
    );
  }
  const process = new Process(fn, { name: "unstarted", args: [1] });
  for (const call of ["terminate", "kill"] as const) {
    assertThrows(
      () => process[call](),
      Error,
      `Cannot ${call} process "unstarted" as it was not started`,
    );
  }
  await assertRejects(() => process.join(), Error, "was not started");
  assertEquals([process.id, process.exitCode, process.daemon], [
    null,
    null,
    false,
  ]);
  const bad = new Process((_: unknown) => {}, { args: [[new WeakMap()]] });
  const error = assertThrows(() => bad.start(), DOMException);
  assertInstanceOf(error, DOMException);
  assertEquals(error.name, "DataCloneError");
  assert(error.message.includes("args[0][0]"), error.message);
});

test("checkMayBlock() lets a thread that may block go on", { timeout }, () => {
  if ("document" in globalThis) {
    assertThrows(() => checkMayBlock("wait"), TypeError, "may not block");
  } else checkMayBlock("wait");
});

test("Whoever passes an option by itself is told how options go", {
  timeout,
}, async () => {
  const event = new Event();
  const barrier = new Barrier(2);
  const process = new Process(fn);
  await using pool = new ThreadPool(1);
  const result = pool.applyAsync(fn, [1]);
  const iterable = [1];
  const throwing: [call: (bad: Any) => unknown, message: string][] = [
    [(bad) => event.waitSync(bad), "wait for event"],
    [(bad) => barrier.waitSync(bad), "wait at barrier"],
    [(bad) => new Barrier(2, bad), "create barrier"],
    [(bad) => new Process(fn, bad), "create process"],
    [(bad) => new ProcessPool(1, bad), "create process pool"],
    [(bad) => new ThreadPool(1, bad), "create thread pool"],
    [(bad) => pool.applyAsync(fn, [1], bad), "apply function"],
    [(bad) => pool.mapAsync(fn, iterable, bad), "map function"],
    [(bad) => pool.starmapAsync(fn, [[1]], bad), "starmap function"],
    [(bad) => pool.imap(fn, iterable, bad), "imap function"],
    [(bad) => pool.imapUnordered(fn, iterable, bad), "imapUnordered function"],
  ];
  const rejecting: typeof throwing = [
    [(bad) => event.wait(bad), "wait for event"],
    [(bad) => barrier.wait(bad), "wait at barrier"],
    [(bad) => process.join(bad), "join process"],
    [(bad) => result.wait(bad), "wait for result"],
    [(bad) => result.get(bad), "get result"],
    [(bad) => pool.apply(fn, [1], bad), "apply function"],
    [(bad) => pool.map(fn, iterable, bad), "map function"],
    [(bad) => pool.starmap(fn, [[1]], bad), "starmap function"],
  ];
  const check = ({ message }: Error, action: string, bad: unknown) => {
    const [before, after] = message.split(", such as ");
    assertEquals(before, `Cannot ${action} as options must be an object`);
    assert(after!.startsWith("{ ") && after!.endsWith(` }: received ${bad}`));
  };
  for (const bad of [5, null, "soon", [1]] as Any[]) {
    const shown = typeof bad === "string"
      ? JSON.stringify(bad)
      : Array.isArray(bad)
      ? "an array of 1"
      : bad;
    for (const [call, action] of throwing) {
      check(assertThrows(() => call(bad), TypeError), action, shown);
    }
    for (const [call, action] of rejecting) {
      const promise = call(bad) as Promise<unknown>;
      check(await assertRejects(() => promise, TypeError), action, shown);
    }
  }
  assertEquals(await result, 1);
});

test("An error shows what was received, and no more of it than helps", {
  timeout,
}, () => {
  const long = "x".repeat(100_000);
  const keys = { a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 };
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const cases: [value: unknown, text: string][] = [
    [undefined, "undefined"],
    [-1.5, "-1.5"],
    [10n, "10"],
    [Symbol("s"), "Symbol(s)"],
    ["4", `"4"`],
    [long, `"${"x".repeat(80)}..."`],
    [function f() {}, `function "f"`],
    [() => {}, "a function"],
    [[1, 2], "an array of 2"],
    [new Array(1_000_000).fill(0), "an array of 1000000"],
    [new Uint16Array(8), "[object Uint16Array] of 16 bytes"],
    [{}, "{}"],
    [{ processes: 4 }, "{ processes }"],
    [keys, "{ a, b, c, d, e, ... }"],
    [Object.create(null), "{}"],
    [new Map(), "[object Map]"],
    [new URL("https://a.example/"), "https://a.example/"],
  ];
  for (const [value, text] of cases) assertEquals(shown(value), text);
  const textless = { [Symbol.toStringTag]: "Odd", toString: undefined };
  for (const odd of [revoked.proxy, textless]) {
    assertEquals(shown(odd), "object that cannot be shown");
  }
});

test("What surely cannot be transferred is refused before anything is taken", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const buffer = new ArrayBuffer(8);
  const bare = Object.create(null);
  for (const bad of [null, 5, "x", {}, bare, [], new Uint8Array(1)] as Any[]) {
    await assertRejects(
      () => pool.apply((_) => {}, [buffer], { transfer: [buffer, bad] }),
      TypeError,
      "transfer[1] must be a transferable object",
    );
    assertEquals(buffer.byteLength, 8);
  }
});
