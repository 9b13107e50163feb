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
      for (const iterable of [undefined, null, 7, {}] as Any[]) {
        const message = `iterable must be iterable: received ${iterable}`;
        await assertRejects(() => pool.map(fn, iterable), TypeError, message);
        assertThrows(() => pool.imap(fn, iterable), TypeError, message);
      }
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
    [(bad) => result.get(bad), "wait for result"],
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
    const shown = typeof bad === "string" ? JSON.stringify(bad) : bad;
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

test("What surely cannot be transferred is refused before anything is taken", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const buffer = new ArrayBuffer(8);
  for (const bad of [null, 5, "x", {}, [], new Uint8Array(1)] as Any[]) {
    await assertRejects(
      () => pool.apply((_) => {}, [buffer], { transfer: [buffer, bad] }),
      TypeError,
      "transfer[1] must be a transferable object",
    );
    assertEquals(buffer.byteLength, 8);
  }
});
