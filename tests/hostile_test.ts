// Whoever means no good: what a task does to its worker, and what is not what it
// should be, fails with a clear error or not at all, and nothing hangs.

import { test } from "node:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Event, Process, ProcessPool, task, WorkerExitError } from "../mod.ts";
import { BellCell, CallFrame, LaneCell } from "../_internal/protocol.ts";
import { exposedPool, until } from "./_pools.ts";
import { execute, moduleUrl, withFolder } from "./_program.ts";

const timeout = 60_000;
const isDeno = "Deno" in globalThis;

// deno-lint-ignore no-explicit-any
type Any = any;

/** Fails instead of waiting for ever. */
async function inTime<T>(work: Promise<T>, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    return await Promise.race([
      work,
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${what} hangs`)), 15_000);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** Gives the error that a call rejects with. */
async function errorOf(work: Promise<unknown>): Promise<Error> {
  const [result] = await Promise.allSettled([inTime(work, "a call")]);
  if (result!.status === "fulfilled") throw new Error("Nothing was thrown");
  return result!.reason;
}

/** The same numbers in every run. */
function randomNumbers(seed: number): () => number {
  return () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}

// -- shared memory ------------------------------------------------------------

function fill(buffer: SharedArrayBuffer, random: () => number): void {
  const words = new Int32Array(buffer, 0, 256);
  for (let i = 0; i < words.length; i++) {
    // Small numbers are lengths and tags that come close to true ones.
    words[i] = random() < 0.5 ? random() * 64 : random() * 2 ** 32;
  }
}

test("Random bytes among the answers end the worker, and no more", {
  timeout,
}, async () => {
  const random = randomNumbers(1);
  for (let round = 0; round < 8; round++) {
    const { pool, bell, cells, answers } = exposedPool();
    const begun = new Event();
    const call = pool.apply((begun: Event) => {
      begun.set();
      return new Promise(() => {});
    }, [begun]);
    const end = call.then(() => undefined, (error) => error);
    assert(await inTime(begun.wait(), "a first call"));
    fill(answers, random);
    Atomics.store(cells, LaneCell.Written, 8 * Math.floor(random() * 100) + 8);
    Atomics.add(bell, BellCell.Answers, 1);
    Atomics.notify(bell, BellCell.Answers);
    const error = await inTime(end, "a call whose answer is no answer");
    if (error !== undefined) { // random bytes may happen to be an answer
      assert(error instanceof WorkerExitError, String(error));
      assertStringIncludes(error.message, "Cannot read");
    }
    assertEquals(
      await inTime(pool.apply((n: number) => n + 1, [1]), "the next call"),
      2,
    );
    pool.terminate();
    await inTime(pool.join(), "join()");
  }
});

test("Random bytes among the calls end the worker, and no more", {
  timeout,
}, async () => {
  const random = randomNumbers(2);
  for (let round = 0; round < 8; round++) {
    const { pool, cells, calls } = exposedPool();
    assertEquals(await inTime(pool.apply(() => 1), "a first call"), 1);
    fill(calls, random);
    // One more call than the pool has sent.
    Atomics.add(cells, LaneCell.Claim, 1 << 16);
    Atomics.notify(cells, LaneCell.Claim);
    const next = () =>
      inTime(pool.apply((n: number) => n + 1, [1]), "the next call");
    // It may go to the worker that is about to die; or random bytes happen to be
    // a call, of whatever arguments, whose answer is taken for this one's.
    const [result] = await Promise.allSettled([next()]);
    if (result.status === "rejected") {
      assert(result.reason instanceof Error, String(result.reason));
    }
    assertEquals(await next(), 2);
    pool.terminate();
    await inTime(pool.join(), "join()");
  }
});

test("A call whose message nobody will post ends the worker, and no more", {
  timeout,
}, async () => {
  const { pool, cells, calls } = exposedPool();
  assertEquals(await inTime(pool.apply(() => 1), "a first call"), 1);
  const words = new Int32Array(calls);
  const at = words[0]! >> 2; // behind the first call
  words[at] = CallFrame.Values;
  words[at + 1] = CallFrame.Posted;
  words[at + CallFrame.Function] = 0;
  words[at + CallFrame.Count] = 1; // the next one has the number 0
  Atomics.add(cells, LaneCell.Claim, 1 << 16);
  Atomics.notify(cells, LaneCell.Claim);
  await until(() => pool.stats().respawned === 1);
  assertEquals(await inTime(pool.apply(() => 2), "the next call"), 2);
  pool.terminate();
  await inTime(pool.join(), "join()");
});

// -- modules and names --------------------------------------------------------

test("task() takes modules and names with odd characters", {
  timeout,
}, async () => {
  await withFolder(async (folder) => {
    const file = join(folder, 'odd näme\'`$ #1 %20 "x".mjs');
    await writeFile(
      file,
      `const f = (n) => n + 1;
       export { f as default, f as "a name", f as "${"`${x}`"}", f as constructor,
         f as __proto__, f as "\\u{1f600}", f as then2 };`,
    );
    const url = pathToFileURL(file);
    await using pool = new ProcessPool(1);
    const names = [
      "default",
      "a name",
      "`${x}`",
      "constructor",
      "__proto__",
      "\u{1f600}",
    ];
    for (const name of names) {
      const fn = task<(n: number) => number>(url, name);
      assertEquals(await inTime(pool.apply(fn, [1]), name), 2, name);
    }
    for (const name of ["toString", "hasOwnProperty", "a\nname", "\0", "]"]) {
      const fn = task<(n: number) => number>(url, name);
      const error = await errorOf(pool.apply(fn, [1]));
      assertStringIncludes(error.message, name);
      assertStringIncludes(error.message, url.href);
    }
    const missing = new URL("no%00such?query#hash", url);
    const fn = task<() => void>(missing, "f");
    const error = await errorOf(pool.apply(fn));
    assertStringIncludes(error.message, missing.href);
    assertEquals(await pool.apply(() => 1), 1);
  });
  for (const module of ["", "relative.ts", "//host", "\0"]) {
    assertThrows(() => task(module, "f"), TypeError, "absolute URL");
  }
});

// -- values -------------------------------------------------------------------

test("Keys of prototypes are keys like any other", { timeout }, async () => {
  await using pool = new ProcessPool(1);
  const text = '{"__proto__":{"evil":1},"constructor":{"prototype":2},' +
    '"toString":3,"hasOwnProperty":4,"then":5,"valueOf":null}';
  const echo = (value: unknown) => {
    if ("evil" in {}) throw new Error("a prototype was changed");
    return value;
  };
  const event = new Event();
  for (const beside of [1, new Map([[1, 2]]), event]) {
    const sent = [JSON.parse(text), beside] as const;
    const [got, also] = await inTime(
      pool.apply(echo, [sent]),
      "a call",
    ) as typeof sent;
    assertEquals(JSON.stringify(got), text);
    assertEquals(Object.getPrototypeOf(got), Object.prototype);
    assertEquals(also, beside);
  }
  assert(!("evil" in {}));
  const error = await errorOf(pool.apply((text: string) => {
    throw Object.assign(new Error("x"), { data: JSON.parse(text) });
  }, [text])) as Error & { data: unknown };
  assertEquals(JSON.stringify(error.data), text);
});

test("A getter that throws while its object is cloned fails its call alone", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const bad = {
    get value(): number {
      throw new RangeError("from a getter");
    },
  };
  for (const args of [[bad], [[bad]], [new Map([[1, bad]])], [1, { bad }]]) {
    const error = await errorOf(
      pool.apply((...args: unknown[]) => args.length, args),
    );
    assertStringIncludes(error.message, "from a getter");
    assertEquals(await pool.apply(() => 1), 1);
  }
  const results: (() => unknown)[] = [
    () => ({
      get value() {
        throw new RangeError("from a getter");
      },
    }),
    () =>
      new Proxy({}, {
        ownKeys() {
          throw new RangeError("from a getter");
        },
      }),
    () => {
      throw Object.defineProperty(new RangeError("from a getter"), "data", {
        enumerable: true,
        get() {
          throw new Error("of an error");
        },
      });
    },
  ];
  for (const fn of results) {
    const error = await errorOf(pool.apply(fn));
    assert(
      /from a getter|Proxy/.test(error.message) ||
        error.name === "DataCloneError",
      error.message,
    );
    assertEquals(await pool.apply(() => 1), 1);
  }
});

test("A getter may use the pool while its object is cloned", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const echo = (value: unknown) => value;
  const inner: Promise<unknown>[] = [];
  const controller = new AbortController();
  const { signal } = controller;
  const given = errorOf(
    pool.apply(() => new Promise(() => {}), [], { signal }),
  );
  const outer = pool.apply(echo, [{
    get value() {
      for (let i = 0; i < 3; i++) inner.push(pool.apply(echo, [`inner ${i}`]));
      controller.abort();
      return "outer";
    },
  }]);
  assertEquals(await inTime(outer, "outer"), { value: "outer" });
  // A getter is read more than once on the way.
  assert(inner.length >= 3);
  assertEquals(
    await inTime(Promise.all(inner), "inner"),
    inner.map((_, i) => `inner ${i % 3}`),
  );
  assertEquals((await given).name, "AbortError");
  const last = errorOf(pool.apply(echo, [{
    get value() {
      pool.terminate();
      return 1;
    },
  }]));
  assertEquals((await last).name, "PoolClosedError");
  await inTime(pool.join(), "join()");
});

// -- the worker ---------------------------------------------------------------

test("A task's own messages and handlers reach no other call", {
  timeout,
}, async () => {
  await using pool = new ProcessPool(1);
  const tricks: (() => unknown)[] = [
    () => {
      const scope = globalThis as Any;
      for (const kind of ["answer", "ready", "broken", "spoilt", "exit"]) {
        const message = { kind, outcome: { ok: true, payload: { value: [] } } };
        scope.postMessage?.(message);
        scope.process?.getBuiltinModule?.("node:worker_threads").parentPort
          ?.postMessage(message);
      }
    },
    () => {
      const scope = globalThis as Any;
      scope.onmessage = () => {};
      scope.onerror = () => {};
      scope.onmessageerror = () => {};
    },
    () => {
      const scope = globalThis as Any;
      const hold = (event: Any) => event.stopImmediatePropagation?.();
      scope.addEventListener?.("message", hold, { capture: true });
      scope.dispatchEvent?.(
        new MessageEvent("message", { data: { kind: "define", id: 0 } }),
      );
    },
    () => {
      const scope = globalThis as Any;
      scope.postMessage = scope.close = scope.addEventListener = undefined;
    },
  ];
  for (const trick of tricks) {
    await inTime(pool.apply(trick), "a trick");
    assertEquals(
      await inTime(
        pool.map((n: number): [number, Map<number, number>] => [n, new Map()], [
          1,
          2,
          3,
        ]),
        "the next call",
      ),
      [1, 2, 3].map((n) => [n, new Map()] as [number, Map<number, number>]),
    );
  }
});

test("A call does not hang as a task lets no message wake its worker", {
  timeout,
}, async () => {
  const { pool, cells } = exposedPool();
  const trick = pool.apply(() => {
    EventTarget.prototype.dispatchEvent = () => true;
  });
  await inTime(trick, "a trick");
  await until(() => Atomics.load(cells, LaneCell.WorkerAsleep) === 1);
  const call = pool.apply((map: Map<number, number>) => map.size, [new Map()]);
  const [result] = await inTime(Promise.allSettled([call]), "a call");
  // Elsewhere messages may come by other means.
  if (isDeno || result.status === "rejected") {
    assertEquals(result.status, "rejected");
    const { reason } = result as PromiseRejectedResult;
    assert(reason instanceof WorkerExitError, String(reason));
  } else assertEquals(result.value, 0);
  assertEquals(await inTime(pool.apply(() => 1), "the next call"), 1);
  pool.terminate();
  await inTime(pool.join(), "join()");
});

/** What a task may replace, each in a worker of its own. */
const replaced = [
  "postMessage",
  "Promise",
  "JSON",
  "Atomics",
  "Date",
  "Map",
  "Set",
  "WeakMap",
  "Object",
  "Array",
  "Error",
  "TypeError",
  "RegExp",
  "Symbol",
  "Reflect",
  "SharedArrayBuffer",
  "Int32Array",
  "Uint8Array",
  "Float64Array",
  "ArrayBuffer",
  "BigInt",
  "Boolean",
  "EvalError",
  "MessagePort",
  "Uint32Array",
  "WeakSet",
  "Worker",
  "TextEncoder",
  "TextDecoder",
  "DOMException",
  "setTimeout",
  "clearTimeout",
  "setImmediate",
  "queueMicrotask",
  "structuredClone",
  "performance",
  "console",
  "self",
  "process",
  "MessageChannel",
  "Promise.resolve",
  "Promise.all",
  "Promise.prototype.then",
  "Function.prototype.call",
  "EventTarget.prototype.dispatchEvent",
  "JSON.parse",
  "JSON.stringify",
  "Atomics.load",
  "Atomics.store",
  "Atomics.add",
  "Atomics.compareExchange",
  "Atomics.notify",
  "Atomics.waitAsync",
  "Object.keys",
  "Object.defineProperty",
  "Object.getPrototypeOf",
  "Date.now",
  "performance.now",
  "Array.isArray",
  "Array.from",
  "Array.prototype.push",
  "Array.prototype.map",
  "Array.prototype.slice",
  "Array.prototype.includes",
  "Map.prototype.get",
  "Map.prototype.set",
  "Set.prototype.add",
  "WeakMap.prototype.get",
  "String.prototype.charCodeAt",
  "TextEncoder.prototype.encodeInto",
  "TextDecoder.prototype.decode",
];

test("What a task does to the globals hangs no call, in its worker or beside", {
  timeout: 120_000,
}, async () => {
  /** Calls of every kind: each is right, or fails with an error. */
  const probe = async (pool: ProcessPool, what: string) => {
    const work: [Promise<unknown>, expected: unknown][] = [
      [pool.apply((n: number) => n + 1, [1]), 2],
      [pool.apply((it: unknown) => it, [{ a: [1, "x"] }]), { a: [1, "x"] }],
      [
        pool.apply((it: unknown) => it, [new Map([[1, 2]])]),
        new Map([[1, 2]]),
      ],
      [pool.apply(async (n: number) => await n, [7]), 7],
      [pool.map((n: number) => n * 2, [1, 2]), [2, 4]],
    ];
    let failed = 0;
    for (const [call, expected] of work) {
      const [result] = await inTime(Promise.allSettled([call]), what);
      if (result!.status === "rejected") failed++;
      else assertEquals(result!.value, expected, what);
    }
    return failed;
  };
  // Elsewhere the global itself is bound to what it was at the beginning.
  const names = replaced.map((path) => {
    const dot = path.lastIndexOf(".");
    return [path.slice(0, Math.max(0, dot)), path.slice(dot + 1)] as const;
  });
  const spoil = (holder: string, key: string, quietly: boolean) => {
    const target = holder
      .split(".")
      .reduce((at, name) => name ? at[name] : at, globalThis as Any);
    try {
      target[key] = () => {
        if (!quietly) throw new Error("this was replaced");
      };
    } catch {
      // Some cannot be replaced.
    }
  };
  const untouched = new ProcessPool(1);
  let next = 0;
  const one = async () => {
    for (let i; (i = next++) < 2 * names.length;) {
      const [holder, key] = names[i >> 1]!;
      const quietly = i % 2 === 1;
      const what = replaced[i >> 1]! + (quietly ? ", quietly" : "");
      const pool = new ProcessPool(1);
      await inTime(pool.apply(spoil, [holder, key, quietly]), what).catch(
        () => {},
      );
      const failed = await probe(pool, what);
      // Globals themselves are no longer used, only what hangs on them.
      if (holder === "") assertEquals(failed, 0, what);
      pool.terminate();
      await inTime(pool.join(), `${what}: join()`);
    }
  };
  // Several at once, as some of the workers find out only after seconds.
  await Promise.all(Array.from({ length: 6 }, one));
  assertEquals(await probe(untouched, "another pool"), 0);
  untouched.terminate();
});

// -- permissions --------------------------------------------------------------

/** Runs a file with a Deno that lets threads be bounded, and all permissions. */
const runUnbounded = (file: string) =>
  execute(
    process.execPath,
    ["run", "-A", "--no-prompt", "--unstable-worker-options", file],
    { timeout: 50_000 },
  );

test("A process is bounded by its permissions", { timeout }, async () => {
  if (!isDeno) {
    assertThrows(
      () => new Process(() => {}, { permissions: "none" }),
      TypeError,
    );
    return;
  }
  await withFolder(async (folder) => {
    const [open, secret] = ["open.txt", "secret.txt"].map((name) =>
      join(folder, name)
    );
    await writeFile(open!, "open");
    await writeFile(secret!, "secret");
    const file = join(folder, "program.mjs");
    await writeFile(
      file,
      `import { Process } from ${JSON.stringify(moduleUrl)};
      const read = (file) => void Deno.readTextFileSync(file);
      for (const permissions of [
        undefined,
        "none",
        { read: [new URL("open.txt", import.meta.url)] },
      ]) {
        for (const file of ${JSON.stringify([open, secret])}) {
          const process = new Process(read, { args: [file], permissions });
          process.start();
          console.log(await process.join());
        }
      }
      for (const key of ["ffi", "read", "run", "write", "net", "env"]) {
        for (const url of ["file:///a", "https://a"]) {
          try {
            new Process(read, { permissions: { [key]: [new URL(url)] } });
            console.log(key);
          } catch (error) {
            console.log(error.name);
          }
        }
      }`,
    );
    const { code, stdout, stderr } = await runUnbounded(file);
    assertEquals([code, stdout.trim().split("\n").join(" ")], [
      0,
      "0 0 1 1 0 1 " +
      "ffi TypeError read TypeError run TypeError write TypeError " +
      "TypeError TypeError TypeError TypeError",
    ], stderr);
  });
});

test("A pool without permissions touches neither disk nor network", {
  timeout,
}, async () => {
  if (!isDeno) {
    assertThrows(() => new ProcessPool(1, { permissions: "none" }), TypeError);
    return;
  }
  await withFolder(async (folder) => {
    const secret = join(folder, "secret.txt");
    await writeFile(secret, "secret");
    const file = join(folder, "program.mjs");
    await writeFile(
      file,
      `import { ProcessPool } from ${JSON.stringify(moduleUrl)};
      const secret = ${JSON.stringify(secret)};
      const attempts = {
        read: (file) => Deno.readTextFile(file),
        readSync: (file) => Deno.readTextFileSync(file),
        node: async (file) =>
          (await import("node:fs")).readFileSync(file, "utf8"),
        write: (file) => Deno.writeTextFile(file, "changed"),
        remove: (file) => Deno.remove(file),
        import: (file) => import("file://" + file),
        fetch: () => fetch("http://127.0.0.1:9/"),
        connect: () => Deno.connect({ port: 9 }),
        listen: () => Deno.listen({ port: 0 }).close(),
        run: () => new Deno.Command("true").output(),
        env: () => Deno.env.get("PATH"),
        worker: (file) => new Promise((resolve, reject) => {
          const code = "Deno.readTextFile(" + JSON.stringify(file) +
            ").then((it) => postMessage(it), (error) => postMessage(null))";
          const worker = new Worker(
            "data:text/javascript," + encodeURIComponent(code),
            { type: "module" },
          );
          worker.onmessage = ({ data }) =>
            data === null ? reject(new Error("denied")) : resolve(data);
          worker.onerror = (event) => {
            event.preventDefault();
            reject(new Error("denied"));
          };
        }),
      };
      const pool = new ProcessPool(1, { permissions: "none" });
      for (const [name, attempt] of Object.entries(attempts)) {
        const result = await pool.apply(attempt, [secret], { timeout: 10_000 })
          .then((value) => "did: " + value, (error) => "denied " + error.name);
        console.log(name, result.startsWith("did") ? result : "denied");
      }
      console.log("sum", await pool.apply((a, b) => a + b, [1, 2]));
      console.log(Deno.readTextFileSync(secret));
      pool.terminate();
      await pool.join();`,
    );
    const { code, stdout, stderr } = await runUnbounded(file);
    const attempts = "read readSync node write remove import fetch connect " +
      "listen run env worker";
    assertEquals(
      { code, stdout: stdout.trim().split("\n"), stderr },
      {
        code: 0,
        stdout: [
          ...attempts.split(" ").map((name) => `${name} denied`),
          "sum 3",
          "secret",
        ],
        stderr: "",
      },
    );
  });
});

if (isDeno) {
  test(
    "Permissions are refused at once unless they are some",
    { timeout },
    () => {
      for (
        const [permissions, message] of [
          [null, "permissions must be"],
          ["all", 'permissions must be "none", "inherit" or an object'],
          [["read"], "permissions must be"],
          [{ read: 5 }, "permissions.read must be"],
          [{ net: null }, "permissions.net must be"],
          [{ read: "/etc" }, 'an array: received "/etc"'],
          [
            { env: [new URL("file:///etc")] },
            "permissions.env[0] must be a string",
          ],
          [{ read: ["/", new URL("http://x")] }, "permissions.read[1] must be"],
        ] as [Any, string][]
      ) {
        for (
          const create of [
            () => new ProcessPool(1, { permissions }),
            () => new Process(() => {}, { permissions }),
          ]
        ) assertThrows(create, TypeError, message);
      }
    },
  );

  test("Permissions are those of when the pool was made, and may be URLs", {
    timeout,
  }, async () => {
    await withFolder(async (folder) => {
      const program = join(folder, "program.mjs");
      await writeFile(
        program,
        `import { Process, ProcessPool } from ${JSON.stringify(moduleUrl)};
        const here = new URL(".", import.meta.url);
        const permissions = { read: [here], net: undefined };
        const read = (file) => void Deno.readTextFileSync(file);
        const mine = new URL(import.meta.url).pathname;
        const pool = new ProcessPool(1, { permissions, maxTasksPerChild: 1 });
        permissions.read = true;
        for (const file of [mine, "/proc/self/status", mine]) {
          const end = pool.apply(read, [file]);
          console.log(await end.then(() => "read", (error) => error.name));
        }
        pool.terminate();
        await pool.join();
        const process = new Process(read, {
          args: [mine],
          permissions: { read: [here] },
        });
        process.start();
        console.log(await process.join());`,
      );
      const { code, stdout, stderr } = await runUnbounded(program);
      assertEquals(
        { code, stdout: stdout.trim().split("\n"), stderr },
        { code: 0, stdout: ["read", "NotCapable", "read", "0"], stderr: "" },
      );
    });
  });
}
