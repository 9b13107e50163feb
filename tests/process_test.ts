import { test } from "node:test";
import { readdir } from "node:fs/promises";
import { memoryUsage } from "node:process";
import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import {
  activeChildren,
  Barrier,
  currentProcess,
  Event,
  Process,
} from "../mod.ts";
import { runtime } from "../_internal/runtime/which.ts";
import { moduleUrl, runProgram } from "./_program.ts";
import { reached, sharedCells } from "./_pools.ts";
import { blockAfterLastCall } from "./testdata/pool_tasks.ts";
import { startAnother, startPulse, storeWho } from "./testdata/tasks.ts";
import { WatchedSignal } from "./_watched_signal.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

const timeout = 20_000;

/** A process that ends when it is told to, and not before. */
function waitingProcess(
  options: { name?: string; daemon?: boolean } = {},
): Process {
  const process = new Process(() => new Promise(() => {}), options);
  process.start();
  return process;
}

test("Process runs its target with its arguments", { timeout }, async () => {
  const cells = new Int32Array(new SharedArrayBuffer(8));
  const process = new Process((cells: Int32Array, a: number, b: string) => {
    Atomics.store(cells, 0, a);
    Atomics.store(cells, 1, b.length);
  }, { args: [cells, 7, "four"] });
  assertEquals(process.id, null);
  assertEquals(process.exitCode, null);
  assertFalse(process.isAlive());
  process.start();
  assert(process.isAlive());
  assertEquals(typeof process.id, "number");
  assertEquals(process.exitCode, null);
  assertStrictEquals(await process.join(), 0);
  assertFalse(process.isAlive());
  assertEquals(process.exitCode, 0);
  assertEquals([...cells], [7, 4]);
  assertStrictEquals(await process.join(), 0); // again
  assertStrictEquals(await process.join({ timeout: 0 }), 0);
});

test("Process waits for the target's promise", { timeout }, async () => {
  const event = new Event();
  const process = new Process(async (event: Event) => {
    await event.wait();
    event.clear();
  }, { args: [event] });
  process.start();
  assertStrictEquals(await process.join({ timeout: 50 }), null);
  assert(process.isAlive());
  event.set();
  assertStrictEquals(await process.join(), 0);
  assertFalse(event.isSet());
});

test("Process ends when its target has, whatever timers are left", {
  timeout,
}, async () => {
  const process = new Process(() => {
    setInterval(() => {}, 1000);
    setTimeout(() => {}, 60_000);
  });
  process.start();
  assertStrictEquals(await process.join({ timeout: 10_000 }), 0);
});

test("Process has a default name that counts, or the one it was given", {
  timeout,
}, () => {
  const [one, two] = [new Process(() => {}), new Process(() => {})];
  const number = (it: Process) => Number(/^Process-(\d+)$/.exec(it.name)?.[1]);
  assert(number(one) >= 1);
  assertEquals(
    number(two),
    number(one) + 1,
  );
  assertEquals(new Process(() => {}, { name: "diner" }).name, "diner");
  assertEquals(new Process(() => {}, { name: "" }).name, "");
  const next = new Process(() => {}); // the others have numbers too, as in Python
  assertEquals(
    number(next),
    number(one) + 4,
  );
  assertFalse(one.daemon);
  assert(new Process(() => {}, { daemon: true }).daemon);
});

test("Process gives its code its name in self.name", { timeout }, async () => {
  for (const name of ["restaurant", "Prozess Nº 1", ""]) {
    const process = new Process((name: string) => {
      if (self.name !== name) throw new Error(`self.name is ${self.name}`);
    }, { args: [name], name });
    process.start();
    assertStrictEquals(await process.join(), 0);
  }
});

test("currentProcess() tells the program from its processes", {
  timeout,
}, async () => {
  assertEquals(currentProcess(), { name: "MainProcess", id: 0 });
  const cells = new Int32Array(new SharedArrayBuffer(8));
  const process = new Process(storeWho, { args: [cells], name: "four" });
  process.start();
  assertStrictEquals(await process.join(), 0);
  assertEquals([...cells], [process.id, 4]);
});

test("Process has an id of its own", { timeout }, async () => {
  const processes = [1, 2, 3].map(() => new Process(() => {}));
  for (const process of processes) process.start();
  const ids = processes.map((it) => it.id);
  assertEquals(new Set(ids).size, 3);
  assertFalse(ids.includes(0));
  await Promise.all(processes.map((it) => it.join()));
  assertEquals(processes.map((it) => it.id), ids);
});

test("activeChildren() lists the processes that live", {
  timeout,
}, async () => {
  assertEquals(activeChildren(), []);
  const [one, two] = [waitingProcess(), waitingProcess()];
  new Process(() => {}); // was never started
  assertEquals(activeChildren(), [one, two]);
  assertStrictEquals(activeChildren()[0], one);
  one.terminate();
  assertEquals(activeChildren(), [two]);
  two.kill();
  assertEquals(activeChildren(), []);
  const three = new Process(() => {});
  three.start();
  assertEquals(activeChildren().length, 1);
  await three.join();
  assertEquals(activeChildren(), []);
});

test("Process.start() throws the second time", { timeout }, async () => {
  const process = new Process(() => {}, { name: "once" });
  process.start();
  assertThrows(() => process.start(), Error, 'Cannot start process "once"');
  await process.join();
  assertThrows(() => process.start(), Error, "started before");
});

test("Process that was not started cannot be joined or ended", {
  timeout,
}, async () => {
  const process = new Process(() => {});
  await assertRejects(() => process.join(), Error, "not started");
  assertThrows(() => process.terminate(), Error, "Cannot terminate process");
  assertThrows(() => process.kill(), Error, "Cannot kill process");
});

test("Process() throws for a bad argument", { timeout }, () => {
  for (const target of [undefined, null, "text", {}, 1]) {
    assertThrows(
      () => new Process(target as unknown as () => void),
      TypeError,
      "Cannot create process as target must be a function: received",
    );
  }
  for (const args of [null, "text", {}, 1, new Set()]) {
    assertThrows(
      () => new Process(() => {}, { args: args as unknown as [] }),
      TypeError,
      "args must be an array",
    );
  }
  for (const name of [null, 1, {}]) {
    assertThrows(
      () => new Process(() => {}, { name: name as unknown as string }),
      TypeError,
      "name must be a string",
    );
  }
  class Target {}
  for (
    const [target, includes] of [
      [(() => {}).bind(null), "wrap it in a function"],
      [Math.max, "native"],
      [parseInt, 'function "parseInt"'],
      [Target, "class"],
    ] as [() => void, string][]
  ) {
    assertThrows(() => new Process(target), TypeError, includes);
  }
});

test("Process() refuses permissions where they cannot be bounded", {
  timeout,
}, () => {
  if ("Deno" in globalThis) {
    new Process(() => {}, { permissions: "none" });
  } else {
    assertThrows(
      () => new Process(() => {}, { permissions: "none" }),
      TypeError,
      "cannot bound what a thread may do",
    );
  }
});

test("Process.join() rejects a bad timeout", { timeout }, async () => {
  const process = waitingProcess();
  for (const timeout of [-1, -Infinity, NaN]) {
    const joining = process.join({ timeout });
    await assertRejects(() => joining, RangeError, "Cannot join process");
  }
  process.terminate();
});

test("Process.join() resolves null after its timeout, and not before", {
  timeout,
}, async () => {
  const process = waitingProcess();
  assertStrictEquals(await process.join({ timeout: 0 }), null);
  for (const timeout of [1, 30]) {
    const began = performance.now();
    assertStrictEquals(await process.join({ timeout }), null);
    assert(performance.now() - began > timeout - 1.5);
  }
  const joining = process.join({ timeout: 2 ** 40 });
  await delay(10);
  process.terminate();
  assertStrictEquals(await joining, -15);
});

test("Process.join() sees an end in time although its thread was busy", {
  timeout,
}, async () => {
  const [started, never] = [new Event(), new Event()];
  const process = new Process((started: Event) => {
    started.set();
    return new Promise<void>((resolve) => setTimeout(resolve, 50));
  }, { args: [started] });
  process.start();
  await started.wait();
  const joined = process.join({ timeout: 1_000 });
  assertFalse(never.waitSync({ timeout: 1_300 }));
  assertStrictEquals(await joined, 0);
});

test("Process.join() rejects with the reason of its signal", {
  timeout,
}, async () => {
  const process = waitingProcess();
  const watched = new WatchedSignal();
  const { signal } = watched;
  const reason = new Error("no more");
  assertStrictEquals(await process.join({ signal, timeout: 1 }), null);
  const joining = process.join({ signal });
  assertEquals(watched.listeners, 1);
  watched.abort(reason);
  assertStrictEquals(await joining.catch((it) => it), reason);
  assertStrictEquals(
    await process.join({ signal, timeout: 0 }).catch((it) => it),
    reason,
  );
  assertEquals(watched.listeners, 0);
  assert(process.isAlive()); // it goes on
  const other = new WatchedSignal();
  const again = process.join({ signal: other.signal });
  process.terminate();
  assertStrictEquals(await again, -15);
  assertEquals(other.listeners, 0);
  const late = process.join({ signal }); // ended, and aborted: the signal wins
  assertStrictEquals(await late.catch((it) => it), reason);
});

test("Process.terminate() and kill() end it at once for everyone who looks", {
  timeout,
}, async () => {
  for (const [verb, code] of [["terminate", -15], ["kill", -9]] as const) {
    // An endless loop is in lifetime_test.ts: Deno cannot stop it here.
    const targets: (() => unknown)[] = [
      () => new Promise(() => {}),
      () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
      () => {},
    ];
    for (const target of targets) {
      const process = new Process(target);
      process.start();
      const joining = process.join();
      process[verb]();
      assertFalse(process.isAlive());
      assertEquals(process.exitCode, code);
      assertStrictEquals(await joining, code);
      process.terminate(); // changes nothing any more
      process.kill();
      assertEquals(process.exitCode, code);
      assertStrictEquals(await process.join(), code);
    }
  }
});

if (!("Deno" in globalThis)) {
  test("Process.terminate() stops a thread that is busy", {
    timeout,
  }, async () => {
    const cells = new Int32Array(new SharedArrayBuffer(4));
    const started = new Event();
    const process = new Process((cells: Int32Array, started: Event) => {
      started.set();
      for (;;) Atomics.add(cells, 0, 1);
    }, { args: [cells, started] });
    process.start();
    assert(await started.wait());
    process.terminate();
    assertStrictEquals(await process.join(), -15);
    let count: number;
    do {
      count = Atomics.load(cells, 0);
      await delay(20);
    } while (Atomics.load(cells, 0) !== count); // the deadline is the test's
  });
}

test("Process.terminate() leaves no thread behind that waits or works", {
  timeout: 60_000,
}, async () => {
  type Target = (started: Event, event: Event, broken: Barrier) => unknown;
  const targets: Target[] = [
    (started, event) => {
      started.set();
      event.waitSync();
    },
    (started, event) => {
      started.set();
      for (;;) {
        try {
          event.waitSync();
        } catch {
          // The loop of someone who wants to go on whatever comes.
        }
      }
    },
    (started, _event, broken) => {
      started.set();
      for (;;) {
        try {
          broken.waitSync();
        } catch {
          // Likewise.
        }
      }
    },
    async (started, _event, broken) => {
      started.set();
      for (;;) await broken.wait().catch(() => {});
    },
    (started) => {
      const end = Date.now() + 300;
      started.set();
      while (Date.now() < end);
    },
    (started) => {
      const end = Date.now() + 300;
      started.set();
      while (Date.now() < end);
      const { process } = globalThis as unknown as {
        process?: { exit(): void };
      };
      process?.exit();
    },
    (started) => {
      const end = Date.now() + 300;
      started.set();
      while (Date.now() < end);
      self.close();
    },
    (started) => {
      started.set();
      for (;;) console.debug(""); // reaches nobody, and is a place to leave by
    },
    async (started, event) => {
      const end = Date.now() + 300;
      started.set();
      while (Date.now() < end);
      await event.wait();
    },
    (started, event) => {
      const end = Date.now() + 300;
      started.set();
      while (Date.now() < end);
      event.waitSync();
    },
  ];
  if (runtime === "deno") {
    targets.push((started, event) => { // its end throws
      Object.preventExtensions(globalThis);
      started.set();
      return event.wait();
    });
  }
  const [event, broken] = [new Event(), new Barrier(2)];
  broken.abort();
  const run = async (target: Target) => {
    const started = new Event();
    const process = new Process(target, { args: [started, event, broken] });
    process.start();
    await started.wait();
    process.terminate();
    assertStrictEquals(await process.join(), -15);
  };
  await run((started) => started.set()); // threads that the runtime keeps
  const before = await countHandles();
  for (const target of targets) await run(target);
  // The deadline is the test's.
  while (await countHandles() > before) await delay(20);
});

test("Process.terminate() of one that starts leaves nothing open", {
  timeout: 60_000,
}, async () => {
  const run = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const process = waitingProcess();
      process.terminate();
      await process.join();
    }
  };
  await run(4);
  const before = await countHandles();
  await run(60);
  // The runtime may keep a few; the deadline is the test's.
  while (await countHandles() - before > 20) await delay(20);
});

test("Process goes on if what it let go is dealt with", {
  timeout,
}, async () => {
  const { stdout, stderr } = await runProgram(async ({ Process }) => {
    const target = async () => {
      const prevent = (event: globalThis.Event) => event.preventDefault();
      globalThis.addEventListener?.("error", prevent);
      globalThis.addEventListener?.("unhandledrejection", prevent);
      const { process } = globalThis as Any; // which Bun and Node tell
      process?.on?.("uncaughtException", () => {});
      process?.on?.("unhandledRejection", () => {});
      setTimeout(() => {
        throw new Error("an error");
      });
      Promise.reject(new Error("a rejection"));
      await new Promise((resolve) => setTimeout(resolve, 50));
    };
    const asOnNode = async () => {
      const { process } = globalThis as Any;
      process.on("unhandledRejection", (reason: Error) => {
        if (reason.message === "a rejection") process.exit(7);
      });
      Promise.reject(new Error("a rejection"));
      await new Promise(() => {});
    };
    for (const it of [target, asOnNode]) {
      const process = new Process(it);
      process.start();
      console.log(await process.join());
    }
  });
  assertEquals(stdout, "0\n7\n");
  assertEquals(stderr, "");
});

test("Process.terminate() of one that blocks leaves nothing open", {
  timeout: 60_000,
}, async () => {
  const run = async () => {
    const blocks = new Event();
    const workers = sharedCells();
    const args: [Event, Int32Array] = [blocks, workers];
    const process = new Process(blockAfterLastCall, { args });
    process.start();
    await blocks.wait();
    await reached(workers, 0, 2); // it blocks, and its pool has replaced a worker
    process.terminate();
    await process.join();
  };
  await countHandles(); // does not apply in browsers, which start no successor either
  await run();
  const before = await countHandles();
  await run();
  await run();
  while (await countHandles() > before) await delay(20);
});

test("Process.terminate() of one that has ended changes nothing", {
  timeout,
}, async () => {
  const process = new Process(() => {});
  process.start();
  await process.join();
  process.terminate();
  process.kill();
  assertEquals(process.exitCode, 0);
});

test("Process that was ended does nothing more to shared objects", {
  timeout,
}, async () => {
  const event = new Event();
  const started = new Event();
  const processes = [true, false].map((sync) => {
    const process = new Process(
      async (event: Event, started: Event, sync: boolean) => {
        started.set();
        for (;;) {
          try {
            event.set();
            if (!sync) await event.wait();
          } catch {
            // Even one that swallows what it is told.
          }
        }
      },
      { args: [event, started, sync] },
    );
    process.start();
    return process;
  });
  assert(await started.wait());
  assert(await event.wait());
  for (const process of processes) process.terminate();
  do { // what was under way may still come; the deadline is the test's
    event.clear();
    await delay(50);
  } while (event.isSet());
});

test("Process that was ended arrives at no barrier", { timeout }, async () => {
  for (const method of ["wait", "waitSync", "abort"] as const) {
    const barrier = new Barrier(2);
    const [begun, on] = [0, 1].map(() =>
      new Int32Array(new SharedArrayBuffer(4))
    );
    const process = new Process(
      (
        barrier: Barrier,
        method: "abort",
        begun: Int32Array,
        on: Int32Array,
      ) => {
        Atomics.store(begun, 0, 1);
        while (Atomics.load(on, 0) === 0);
        barrier[method]();
      },
      { args: [barrier, method as "abort", begun!, on!] },
    );
    process.start();
    while (Atomics.load(begun!, 0) === 0) await delay(1);
    process.terminate();
    assertEquals(await process.join(), -15);
    Atomics.store(on!, 0, 1); // only an abandoned thread sees it
    await delay(100);
    assertEquals([barrier.nWaiting, barrier.broken], [0, false]);
  }
});

// Every way to end, with the exit code. The target first notes the time in a
// cell that is shared, so that the delay until the parent knows can be told.
const endings: Record<
  string,
  { code: number; target: (end: Float64Array) => unknown }
> = {
  "returns": {
    code: 0,
    target: (end) => {
      end[0] = Date.now();
    },
  },
  "returns a promise that resolves": {
    code: 0,
    target: async (end) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      end[0] = Date.now();
    },
  },
  "throws": {
    code: 1,
    target: (end) => {
      end[0] = Date.now();
      throw new Error("expected by the test");
    },
  },
  "throws what is no error": {
    code: 1,
    target: (end) => {
      end[0] = Date.now();
      throw undefined;
    },
  },
  "returns a promise that rejects": {
    code: 1,
    target: async (end) => {
      await Promise.resolve();
      end[0] = Date.now();
      throw new Error("expected by the test");
    },
  },
  "calls process.exit(7)": {
    code: 7,
    target: (end) => {
      end[0] = Date.now();
      (globalThis as unknown as { process: { exit(code: number): void } })
        .process.exit(7);
    },
  },
  "calls process.exit(0) beside a target that goes on": {
    code: 0,
    target: (end) => {
      setTimeout(() => {
        end[0] = Date.now();
        (globalThis as unknown as { process: { exit(code: number): void } })
          .process.exit(0);
      }, 5);
      return new Promise(() => {});
    },
  },
  "calls self.close()": {
    code: 0,
    target: (end) => {
      end[0] = Date.now();
      self.close();
      return new Promise(() => {});
    },
  },
  "lets an error go beside the target": {
    code: 1,
    target: (end) => {
      setTimeout(() => {
        end[0] = Date.now();
        throw new Error("expected by the test");
      }, 5);
      return new Promise(() => {});
    },
  },
  "lets a rejection go beside the target": {
    code: 1,
    target: (end) => {
      setTimeout(() => {
        end[0] = Date.now();
        Promise.reject(new Error("expected by the test"));
      }, 5);
      return new Promise(() => {});
    },
  },
  "lets an error go and returns": {
    code: 1,
    target: (end) => {
      end[0] = Date.now();
      queueMicrotask(() => {
        throw new Error("expected by the test");
      });
    },
  },
  "lets a rejection go and returns": {
    code: 1,
    target: (end) => {
      end[0] = Date.now();
      Promise.reject(new Error("expected by the test"));
    },
  },
  "lets a rejection go and returns in a later turn": {
    code: 1,
    target: async (end) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      end[0] = Date.now();
      Promise.reject(new Error("expected by the test"));
    },
  },
  "returns before what it let go is rejected": {
    code: 1,
    target: (end) => {
      end[0] = Date.now();
      void (async () => {
        for (let i = 0; i < 10; i++) await undefined;
        throw new Error("expected by the test");
      })();
    },
  },
  "throws what has no text for a stack": {
    code: 1,
    target: (end) => {
      end[0] = Date.now();
      throw Object.assign(new Error("expected by the test"), { stack: 5 });
    },
  },
  "makes a console of its own": {
    code: 0,
    target: (end) => {
      const { Console } = console as unknown as Record<string, Any>;
      if (Console) new Console((globalThis as Any).process.stdout);
      end[0] = Date.now();
    },
  },
  "calls process.exit() with what is no code": {
    code: 1,
    target: (end) => {
      end[0] = Date.now();
      (globalThis as Any).process.exit("no code");
    },
  },
  "catches that process.exit() takes no such code": {
    code: 0,
    target: (end) => {
      try {
        (globalThis as Any).process.exit("no code");
      } catch {
        end[0] = Date.now();
      }
    },
  },
  "lets a rejection go and throws in a later turn": {
    code: 1,
    target: async (end) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      end[0] = Date.now();
      Promise.reject(new Error("expected by the test"));
      throw new Error("expected by the test");
    },
  },
  "lets a rejection go and calls process.exit(3)": {
    code: 3,
    target: async (end) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      end[0] = Date.now();
      Promise.reject(new Error("of no matter any more"));
      (globalThis as unknown as { process: { exit(code: number): void } })
        .process.exit(3);
    },
  },
  "lets a rejection go and calls self.close()": {
    code: 0,
    target: async (end) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      end[0] = Date.now();
      Promise.reject(new Error("of no matter any more"));
      self.close();
    },
  },
  "calls process.exit(256)": {
    code: 256,
    target: (end) => {
      end[0] = Date.now();
      (globalThis as unknown as { process: { exit(code: number): void } })
        .process.exit(256);
    },
  },
  "calls process.exit(3) while a timer is due that calls it again": {
    code: 3,
    target: async (end) => {
      const { process } = globalThis as unknown as {
        process: { exit(code: number): void };
      };
      setTimeout(() => process.exit(4), 1);
      // What goes on after an import is no timer's callback, nor a message's.
      await import("data:text/javascript,");
      const due = performance.now() + 10;
      while (performance.now() < due);
      end[0] = Date.now();
      process.exit(3);
    },
  },
  "calls process.exit(4) as it ends by process.exit(3)": {
    code: 4,
    target: (end) => {
      const { process } = globalThis as unknown as {
        process: {
          exit(code: number): void;
          on(event: "exit", listener: () => void): void;
        };
      };
      process.on("exit", () => process.exit(4));
      end[0] = Date.now();
      process.exit(3);
    },
  },
  "overflows the stack": {
    code: 1,
    target: (end) => {
      const deeper = (n: number): number => deeper(n + 1) + 1;
      end[0] = Date.now();
      deeper(0);
    },
  },
};
if ("Deno" in globalThis) {
  endings["calls Deno.exit(3)"] = {
    code: 3,
    target: (end) => {
      end[0] = Date.now();
      Deno.exit(3);
    },
  };
}

for (const [name, { code, target }] of Object.entries(endings)) {
  test(`Process that ${name} has exit code ${code}, known within 100 ms`, {
    timeout,
  }, async () => {
    const delays: number[] = [];
    for (let i = 0; i < 5; i++) {
      const end = new Float64Array(new SharedArrayBuffer(8));
      const process = new Process(target, { args: [end] });
      process.start();
      assertStrictEquals(await process.join(), code);
      assertFalse(process.isAlive());
      assertEquals(process.exitCode, code);
      delays.push(Date.now() - end[0]!);
      if (delays.at(-1)! < 100) return;
    }
    throw new Error(`known after ${delays} ms`);
  });
}

test("Process that never waits for anything ends all the same", {
  timeout,
}, async () => {
  // Nothing but a promise that is pending: it lives.
  const process = waitingProcess();
  assertStrictEquals(await process.join({ timeout: 200 }), null);
  process.terminate();
});

/** The threads and file descriptors of this program, where Linux tells them. */
async function countHandles(): Promise<number> {
  const folders = ["/proc/self/task", "/proc/self/fd"];
  const lists = folders.map((it) => readdir(it).catch(() => []));
  return (await Promise.all(lists)).flat().length;
}

test("Process takes 200 starts and joins without growing", {
  timeout: 120_000,
}, async () => {
  const run = async (count: number) => {
    for (let i = 0; i < count; i += 4) {
      const processes = Array.from({ length: 4 }, () => {
        const process = new Process((n: number[]) => n.length, {
          args: [[1, 2, 3]],
        });
        process.start();
        return process;
      });
      for (const process of processes) {
        assertStrictEquals(await process.join(), 0);
      }
    }
  };
  await run(40);
  const before = memoryUsage().rss;
  const handles = await countHandles();
  await run(160);
  const grown = (memoryUsage().rss - before) / 2 ** 20;
  assertEquals(activeChildren(), []);
  // A worker that stayed would keep a mebibyte on Bun, seven on the others.
  assert(grown < 100, `grew by ${grown} MiB`);
  // The runtime may keep a few threads and descriptors for later.
  const kept = await countHandles() - handles;
  assert(kept < 20, `${kept} threads and descriptors stayed`);
});

test("Process can start processes of its own", { timeout }, async () => {
  const event = new Event();
  const process = new Process(startAnother, { args: [event] });
  process.start();
  assertStrictEquals(await process.join(), 0);
  assert(event.isSet());
});

test("Process takes its children down with it", { timeout }, async () => {
  for (const verb of ["terminate", "kill", "exit"] as const) {
    const [born, pulse, exit] = [new Event(), new Event(), new Event()];
    const process = new Process(startPulse, { args: [born, pulse, exit] });
    process.start();
    assert(await born.wait({ timeout: 10_000 }));
    pulse.clear();
    assert(await pulse.wait({ timeout: 10_000 })); // the grandchild's
    if (verb === "exit") exit.set();
    else process[verb]();
    assertStrictEquals(
      await process.join(),
      { terminate: -15, kill: -9, exit: 0 }[verb],
    );
    do { // it ends soon; the deadline is the test's
      pulse.clear();
      await delay(50);
    } while (pulse.isSet());
  }
});

test(
  "Process writes the error of its target to standard error under its name",
  {
    timeout,
  },
  async () => {
    const { code, stdout, stderr } = await runProgram(async ({ Process }) => {
      const process = new Process(function fails() {
        throw new RangeError("outermost", { cause: new Error("innermost") });
      }, { name: "the unlucky one" });
      process.start();
      console.log("exit code", await process.join());
    });
    assertEquals(code, 0); // the parent lives on
    assertStringIncludes(stdout, "exit code 1");
    assertStringIncludes(stderr, "the unlucky one");
    assertStringIncludes(stderr, "outermost");
    assertStringIncludes(stderr, "innermost");
    assertStringIncludes(stderr, "multiprocessing:fails");
    assertFalse(stderr.includes("data:"), "the worker's program is printed");
  },
);

test(
  "Process says with a ReferenceError that outer variables are not visible",
  {
    timeout,
  },
  async () => {
    const { stdout, stderr } = await runProgram(async ({ Process }) => {
      const outer = { value: 1 };
      outer.value++; // or a transpiler would put it into the function
      const process = new Process(() => void outer.value);
      process.start();
      console.log("exit code", await process.join());
    });
    assertStringIncludes(stdout, "exit code 1");
    assertStringIncludes(stderr, "outer");
    assertStringIncludes(stderr, "pass them as arguments");
    assertStringIncludes(stderr, "task()");
  },
);

test("Process prints all that its target wrote before it ended", {
  timeout,
}, async () => {
  const { stdout } = await runProgram(async ({ Process }) => {
    for (const exits of [false, true]) {
      const process = new Process((exits: boolean) => {
        for (let i = 0; i < 200; i++) console.log(`line ${i}`);
        if (exits) {
          (globalThis as unknown as { process: { exit(code: number): void } })
            .process.exit(0);
        }
      }, { args: [exits] });
      process.start();
      await process.join();
    }
  });
  assertEquals(stdout.match(/^line \d+$/gm)?.length, 400);
});

test(
  "Process can be polled with timeout 0 in a loop",
  { timeout },
  async () => {
    const process = new Process(() => {});
    process.start();
    let code: number | null;
    while ((code = await process.join({ timeout: 0 })) === null);
    assertStrictEquals(code, 0);
  },
);

test("Process cannot be started by a getter of its own arguments", {
  timeout,
}, async () => {
  const runs = new Int32Array(new SharedArrayBuffer(4));
  const again: unknown[] = [];
  const args = {
    runs,
    get again() {
      try {
        process.start();
      } catch (error) {
        again.push((error as Error).message);
      }
      return 1;
    },
  };
  const process = new Process(
    ({ runs }: { runs: Int32Array }) => void Atomics.add(runs, 0, 1),
    { args: [args] },
  );
  process.start();
  assertStrictEquals(await process.join(), 0);
  assertStrictEquals(Atomics.load(runs, 0), 1);
  assert(again.length > 0);
  for (const it of again) assertStringIncludes(it as string, "started before");
});

test("What is shared is of the classes of every copy of the module", {
  timeout,
}, async () => {
  const barrier = new Barrier(2);
  barrier.abort();
  const told = new Int32Array(new SharedArrayBuffer(16));
  const target = async (
    url: string,
    barrier: Barrier,
    event: Event,
    told: Int32Array,
  ) => {
    const { BrokenBarrierError, Barrier, Event } = await import(url);
    const error = await barrier.wait().catch((error) => error);
    class Own extends Event {}
    const is = [
      error instanceof BrokenBarrierError && error instanceof Error,
      barrier instanceof Barrier && !(barrier instanceof Event),
      event instanceof Event && !(event instanceof Barrier),
      new Own() instanceof Event && new Own() instanceof Own &&
      !(event instanceof Own),
    ];
    for (const [i, it] of is.entries()) told[i] = it ? 1 : -1;
  };
  const args = [moduleUrl, barrier, new Event(), told] as const;
  const process = new Process(target, { args: [...args] });
  process.start();
  assertStrictEquals(await process.join(), 0);
  assertEquals([...told], [1, 1, 1, 1]);
});

test("Event.waitSync() lets another copy's pool send what it waits for", {
  timeout,
}, async () => {
  const told = new Int32Array(new SharedArrayBuffer(4));
  const target = async (url: string, event: Event, told: Int32Array) => {
    const { ProcessPool } = await import(url);
    const pool = new ProcessPool(1);
    const started = await pool.apply(() => 1);
    // The worker is busy with a call that takes long: the other one has to wait.
    const nap = () => new Promise((resolve) => setTimeout(resolve, 50));
    const calls = [
      pool.apply(nap),
      pool.apply((event: Event) => event.set(), [event]),
    ];
    told[0] = event.waitSync({ timeout: 10_000 }) ? started : -1;
    await Promise.all(calls);
    pool.terminate();
  };
  const args = [moduleUrl, new Event(), told] as const;
  const process = new Process(target, { args: [...args] });
  process.start();
  assertStrictEquals(await process.join(), 0);
  assertEquals([...told], [1]);
});

test(
  "Process explains a ReferenceError beside its target, and tells of any error",
  {
    timeout,
  },
  async () => {
    const { stdout, stderr } = await runProgram(async ({ Process }) => {
      const outer = { value: 1 };
      outer.value++;
      const targets = [
        () => {
          setTimeout(() => void outer.value, 1);
          return new Promise(() => {});
        },
        () => {
          throw Object.defineProperty(new Error("hidden"), "stack", {
            get() {
              throw new Error("of the getter");
            },
          });
        },
      ];
      for (const target of targets) {
        const process = new Process(target);
        process.start();
        console.log("exit code", await process.join());
      }
    });
    assertStringIncludes(stdout, "exit code 1\nexit code 1\n");
    assertStringIncludes(stderr, "outer is not defined");
    assertStringIncludes(stderr, "pass them as arguments");
    assertStringIncludes(stderr, "Error: hidden");
  },
);

test("Process that was ended tells other threads nothing more", {
  timeout,
}, async () => {
  const { code, stdout, stderr } = await runProgram(async ({ Process }) => {
    const cells = new Int32Array(new SharedArrayBuffer(8));
    const channel = new BroadcastChannel("of the test");
    channel.onmessage = ({ data }) => console.log(data);
    const process = new Process((cells: Int32Array) => {
      const channel = new BroadcastChannel("of the test");
      Atomics.store(cells, 0, 1);
      while (Atomics.load(cells, 1) === 0);
      channel.postMessage("by a channel");
      console.log("by the console");
      const { Deno } = globalThis as unknown as { Deno?: Any };
      Deno?.stdout.writeSync(new TextEncoder().encode("by Deno.stdout\n"));
    }, { args: [cells] });
    process.start();
    const pause = (ms: number) => new Promise((r) => setTimeout(r, ms));
    while (Atomics.load(cells, 0) === 0) await pause(1);
    process.terminate();
    await pause(200); // a thread that is busy is abandoned by then
    Atomics.store(cells, 1, 1);
    await pause(300); // what it did would be here by then
    channel.close();
    console.log("the end");
  });
  assertEquals([code, stdout, stderr], [0, "the end\n", ""]);
});
