// What keeps a program alive, and what does not: each test runs a program.

import { test } from "node:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  execute,
  gcArgs,
  moduleUrl,
  type ProgramResult,
  runArgs,
  runProgram,
  withFolder,
} from "./_program.ts";

const timeout = 40_000;

function assertEnded(result: ProgramResult, stdout: string): void {
  assertEquals(
    { code: result.code, stdout: result.stdout, stderr: result.stderr },
    { code: 0, stdout, stderr: "" },
  );
}

test("Importing the module does not keep a program alive", {
  timeout,
}, async () => {
  assertEnded(
    await runProgram(({ Barrier, Event }) => {
      new Event().set();
      new Barrier(1).waitSync();
    }),
    "",
  );
});

test("A wait that is pending keeps the program alive", {
  timeout,
}, async () => {
  assertEnded(
    await runProgram(async ({ Barrier, Event, Process }) => {
      console.log(await new Event().wait({ timeout: 100 }));
      const barrier = new Barrier(2, { timeout: 100 });
      console.log(await barrier.wait().catch((error) => error.name));
      const { signal } = new AbortController();
      console.log(await new Event().wait({ timeout: 100, signal }));
      const daemon = new Process(() => new Promise(() => {}), { daemon: true });
      daemon.start();
      console.log(await daemon.join({ timeout: 100 }));
    }),
    "false\nTimeoutError\nfalse\nnull\n",
  );
});

test("All that workers print is there, however soon they end", {
  timeout,
}, async () => {
  const LINES = 300;
  const printing = await runProgram(async ({ Event, Process, ProcessPool }) => {
    const print = (who: string) => {
      for (let i = 1; i <= 300; i++) console.log(`${who} ${i}`);
    };
    const stopped = new ProcessPool(1);
    await stopped.apply(print, ["stopped"]);
    stopped.terminate();
    await stopped.join();
    const closed = new ProcessPool(1, { maxTasksPerChild: 1 });
    await closed.apply(print, ["closed"]);
    closed.close();
    await closed.join();
    const done = new Event();
    const ended = new Process((done: InstanceType<typeof Event>) => {
      for (let i = 1; i <= 300; i++) console.log(`ended ${i}`);
      done.set();
      return new Promise(() => {});
    }, { args: [done] });
    ended.start();
    await done.wait();
    ended.terminate();
    await ended.join();
    await new ProcessPool(1).apply(print, ["left"]);
  });
  assertEquals([printing.code, printing.stderr], [0, ""]);
  const lines = printing.stdout.trimEnd().split("\n");
  for (const who of ["stopped", "closed", "ended", "left"]) {
    assertEquals(
      lines.filter((line) => line.startsWith(who)),
      Array.from({ length: LINES }, (_, i) => `${who} ${i + 1}`),
    );
  }
});

// On Node what cannot be written ends the program, whoever writes it.
if (
  process.platform === "linux" && ("Deno" in globalThis || process.versions.bun)
) {
  test("A process that throws is no harm where its error cannot be written", {
    timeout,
  }, () =>
    withFolder(async (folder) => {
      const file = join(folder, "program.mjs");
      await writeFile(
        file,
        `import { Process } from ${JSON.stringify(moduleUrl)};
        const process = new Process(() => { throw new Error("lost"); });
        process.start();
        console.log(await process.join());`,
      );
      const command = [process.execPath, ...runArgs, file];
      const script = 'exec "$0" "$@" 2>/dev/full';
      const { code, stdout } = await execute("sh", ["-c", script, ...command]);
      assertEquals([code, stdout], [0, "1\n"]);
    }));
}

test("A wait that another thread ends keeps the program alive until then", {
  timeout,
}, async () => {
  assertEnded(
    await runProgram(async ({ Barrier, Event, Process }) => {
      const event = new Event();
      const barrier = new Barrier(2);
      // Daemons, so that nothing but the wait holds the program.
      const start = (
        target: (
          event: InstanceType<typeof Event>,
          barrier: InstanceType<typeof Barrier>,
        ) => unknown,
      ) => {
        const process = new Process(target, {
          args: [event, barrier],
          daemon: true,
        });
        process.start();
        return process;
      };
      start((event) => {
        setTimeout(() => event.set(), 200);
        return event.wait();
      });
      console.log("event", await event.wait());
      start((_, barrier) =>
        new Promise((resolve) =>
          setTimeout(() => resolve(barrier.waitSync()), 200)
        )
      );
      console.log("barrier", await barrier.wait());
      const process = start(() =>
        new Promise((resolve) => setTimeout(resolve, 200))
      );
      console.log("join", await process.join());
    }),
    "event true\nbarrier 0\njoin 0\n",
  );
});

test("A wait that never ends keeps the program alive for ever", {
  timeout,
}, async () => {
  const programs = [
    runProgram(({ Event }) => new Event().wait(), { timeout: 1000 }),
    runProgram(({ Barrier }) => new Barrier(2).wait(), { timeout: 1000 }),
    runProgram(({ Process }) => {
      const process = new Process(() => new Promise(() => {}), {
        daemon: true,
      });
      process.start();
      return process.join();
    }, { timeout: 1000 }),
  ];
  for (const { code, stderr } of await Promise.all(programs)) {
    assertEquals([code, stderr], [null, ""]); // it had to be killed
  }
});

test("A wait that nobody awaits keeps the program alive too", {
  timeout,
}, async () => {
  assertEnded(
    await runProgram(({ Event, Process }) => {
      const event = new Event();
      const process = new Process((event: InstanceType<typeof Event>) => {
        setTimeout(() => event.set(), 200);
        return new Promise(() => {});
      }, { args: [event], daemon: true });
      process.start();
      void event.wait().then(() => console.log("set"));
    }),
    "set\n",
  );
});

test("A wait keeps a process alive though nothing else is pending there", {
  timeout,
}, async () => {
  assertEnded(
    await runProgram(async ({ Barrier, Event, Process }) => {
      const [event, done] = [new Event(), new Event()];
      const barrier = new Barrier(2);
      const process = new Process(
        async (
          event: InstanceType<typeof Event>,
          done: InstanceType<typeof Event>,
          barrier: InstanceType<typeof Barrier>,
        ) => {
          if (!await event.wait()) throw new Error("not set");
          if (await event.wait({ timeout: 100 })) event.clear();
          if (await event.wait({ timeout: 100 })) throw new Error("set");
          await barrier.wait();
          done.set();
          await barrier.wait();
        },
        { args: [event, done, barrier] },
      );
      process.start();
      const pause = () => new Promise((resolve) => setTimeout(resolve, 200));
      await pause();
      event.set();
      await pause();
      await barrier.wait();
      console.log(await done.wait());
      await pause();
      await barrier.wait();
      console.log(await process.join());
    }),
    "true\n0\n",
  );
});

test("A timeout ends within 20 ms of its time with nothing else pending", {
  timeout,
}, async () => {
  const { stdout } = await runProgram(async ({ Barrier, Event, Process }) => {
    const measure = async (
      event: InstanceType<typeof Event>,
      barrier: InstanceType<typeof Barrier>,
    ) => {
      for (let i = 0; i < 5; i++) {
        for (const timeout of [1, 10, 100]) {
          const began = performance.now();
          await event.wait({ timeout });
          console.log(performance.now() - began - timeout);
          const again = performance.now();
          await barrier.wait({ timeout }).catch(() => barrier.reset());
          console.log(performance.now() - again - timeout);
        }
      }
    };
    const args = () => [new Event(), new Barrier(2)] as const;
    await measure(...args());
    const process = new Process(measure, { args: [...args()] });
    process.start();
    await process.join();
  });
  const late = stdout.trim().split("\n").map(Number);
  assertEquals(late.length, 60);
  for (const half of [late.slice(0, 30), late.slice(30)]) {
    half.sort((a, b) => a - b);
    assert(half[0]! > -0.1, `too early: ${half}`);
    // A machine that is busy with something else may delay some of them.
    assert(half[15]! < 20, `too late: ${half}`);
  }
});

test("A wait that is over keeps nothing alive", { timeout }, async () => {
  const result = await runProgram(async ({ Barrier, Event, Process }) => {
    const event = new Event();
    const controller = new AbortController();
    const { signal } = controller;
    const waits: Promise<unknown>[] = [
      event.wait({ timeout: 3_600_000 }),
      event.wait({ timeout: 3_600_000, signal: new AbortController().signal }),
    ];
    event.set();
    event.clear();
    const aborted = event.wait({ signal, timeout: 3_600_000 });
    waits.push(aborted.catch(() => {}));
    controller.abort();
    const barrier = new Barrier(2, { timeout: 3_600_000 });
    waits.push(barrier.wait(), barrier.wait());
    const process = new Process(() => new Promise(() => {}));
    process.start();
    waits.push(process.join({ timeout: 3_600_000 }));
    process.kill();
    await Promise.all(waits);
  });
  assertEnded(result, "");
});

test("A wait that was over counts no more when what it waited for comes", {
  timeout,
}, async () => {
  const result = await runProgram(async ({ Process }) => {
    const [first, second] = [500, 1000].map((ms) => {
      const pause = (ms: number) =>
        new Promise<void>((resolve) => setTimeout(resolve, ms));
      const daemon = new Process(pause, { args: [ms], daemon: true });
      daemon.start();
      return daemon;
    });
    const polls = [1, 2, 3].map((timeout) => first!.join({ timeout }));
    for (const poll of polls) console.log(await poll);
    console.log(await first!.join());
    console.log(await second!.join()); // nothing else keeps the program alive
  });
  assertEnded(result, "null\nnull\nnull\n0\n0\n");
});

test("What runs on in a pool and nobody waits for keeps nothing alive", {
  timeout,
}, async () => {
  const program = async (
    { ProcessPool, ThreadPool }: typeof import("../mod.ts"),
  ) => {
    const endless = (n: number) => {
      if (n === 2) throw new RangeError("two");
      return n === 1 ? new Promise<number>(() => {}) : n;
    };
    for (const Pool of [ProcessPool, ThreadPool]) {
      const left = new Pool(2).imapUnordered(endless, [1, 0]);
      for await (const n of left) {
        console.log(n);
        break;
      }
      const failed = new Pool(2).map(endless, [1, 2], { chunkSize: 1 });
      await failed.catch((error) => console.log(error.message));
    }
  };
  assertEnded(await runProgram(program), "0\ntwo\n0\ntwo\n");
});

test("A process keeps the program alive until it ends", {
  timeout,
}, async () => {
  assertEnded(
    await runProgram(({ Process }) => {
      const process = new Process(() =>
        new Promise<void>((resolve) =>
          setTimeout(() => {
            console.log("from the process");
            resolve();
          }, 300)
        )
      );
      process.start();
    }),
    "from the process\n",
  );
});

test("A daemon does not keep the program alive, and ends with it", {
  timeout,
}, async () => {
  assertEnded(
    await runProgram(async ({ Event, Process }) => {
      const [started, never] = [new Event(), new Event()];
      const targets = [
        (started: InstanceType<typeof Event>) => {
          started.set();
          return new Promise(() => {});
        },
        (
          started: InstanceType<typeof Event>,
          never: InstanceType<typeof Event>,
        ) => {
          started.set();
          never.waitSync();
        },
        (started: InstanceType<typeof Event>) => {
          started.set();
          for (;;);
        },
        (
          started: InstanceType<typeof Event>,
          never: InstanceType<typeof Event>,
        ) => {
          started.set();
          setInterval(() => {}, 100);
          return never.wait();
        },
      ];
      for (const target of targets) {
        const process = new Process(target, {
          args: [started, never],
          daemon: true,
        });
        process.start();
        await started.wait();
        started.clear();
      }
      console.log("over");
    }),
    "over\n",
  );
});

test("A call that the program itself has ended is no unhandled rejection", {
  timeout,
}, async () => {
  assertEnded(
    await runProgram(async ({ PoolClosedError, ProcessPool, ThreadPool }) => {
      const never = () => new Promise<never>(() => {});
      for (const Pool of [ProcessPool, ThreadPool]) {
        const leave = async () => {
          await using pool = new Pool(1);
          void pool.apply(never); // nobody asks for these
          void pool.apply(never, [], { timeout: 60_000 });
          void pool.map(never, [1, 2]);
          void pool.starmap(never, [[], []]);
          return pool.map(never, [1]);
        };
        try {
          await leave();
        } catch (error) {
          console.log(error instanceof PoolClosedError);
        }
      }
    }),
    "true\ntrue\n",
  );
});

test("A process that was ended does not keep the program from ending", {
  timeout,
}, async () => {
  for (const verb of ["terminate", "kill"] as const) {
    // As text, as the program sees nothing from here.
    const result = await runProgram(
      verb === "terminate"
        ? async ({ Event, Process }) => {
          const started = new Event();
          const process = new Process(
            (started: InstanceType<typeof Event>) => {
              started.set();
              for (;;);
            },
            { args: [started] },
          );
          process.start();
          await started.wait();
          process.terminate();
          console.log(process.isAlive(), await process.join());
        }
        : async ({ Barrier, Event, Process }) => {
          const started = new Event();
          const barrier = new Barrier(2);
          const targets = [
            (started: InstanceType<typeof Event>) => {
              started.set();
              new Int32Array(1).fill(0);
              Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
            },
            (
              started: InstanceType<typeof Event>,
              barrier: InstanceType<typeof Barrier>,
            ) => {
              started.set();
              barrier.waitSync();
            },
            (started: InstanceType<typeof Event>) => {
              started.set();
              return new Promise(() => {});
            },
          ];
          let codes = "";
          for (const target of targets) {
            const process = new Process(target, { args: [started, barrier] });
            process.start();
            await started.wait();
            started.clear();
            process.kill();
            codes += await process.join();
          }
          console.log(codes);
        },
    );
    assertEnded(result, verb === "kill" ? "-9-9-9\n" : "false -15\n");
    assert(result.milliseconds < 5000, `took ${result.milliseconds} ms`);
  }
});

test("A process is no reason not to exit at once", { timeout }, async () => {
  const result = await runProgram(async ({ Event, Process }) => {
    const started = new Event();
    const child = new Process((started: InstanceType<typeof Event>) => {
      started.set();
      for (;;);
    }, { args: [started] });
    child.start();
    await started.wait();
    (globalThis as unknown as { process: { exit(code: number): void } })
      .process.exit(5);
  });
  assertEquals(result.code, 5);
});

test("A process whose error nobody asks for does not end the program", {
  timeout,
}, async () => {
  const result = await runProgram(async ({ activeChildren, Process }) => {
    for (
      const target of [
        () => {
          throw new Error("thrown");
        },
        () => {
          setTimeout(() => {
            throw new Error("stray");
          }, 1);
          return new Promise(() => {});
        },
        () => {
          Promise.reject(new Error("rejected"));
          return new Promise(() => {});
        },
      ]
    ) {
      const process = new Process(target);
      process.start();
    }
    while (activeChildren().length > 0) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    console.log("still here");
  });
  assertEquals([result.code, result.stdout], [0, "still here\n"]);
  for (const message of ["thrown", "stray", "rejected"]) {
    assertStringIncludes(result.stderr, message);
  }
});

if ("Deno" in globalThis) {
  test("A wait passes Deno's sanitizers of ops and resources", {
    timeout,
  }, () =>
    withFolder(async (folder) => {
      const file = join(folder, "sanitized_test.mjs");
      await writeFile(
        file,
        `import { Barrier, Event, Process, ProcessPool } from ${
          JSON.stringify(moduleUrl)
        };
         Deno.test("waits", async () => {
           const event = new Event();
           const barrier = new Barrier(2, { timeout: 60_000 });
           const { signal } = new AbortController();
           await event.wait({ timeout: 5, signal });
           const waits = [event.wait(), event.wait({ timeout: 60_000, signal }),
             barrier.wait(), barrier.wait()];
           event.set();
           event.clear();
           await Promise.all(waits);
         });
         Deno.test("a wait that stays", () => {
           void new Event().wait();
         });
         Deno.test("a process", async () => {
           const process = new Process(() => {});
           process.start();
           await process.join({ timeout: 60_000 });
         });
         Deno.test("a process that is ended", () => {
           const process = new Process(() => new Promise(() => {}));
           process.start();
           process.terminate();
         });
         for (const task of [() => new Promise(() => {}), () => { for (;;); }]) {
           Deno.test("a pool with a call that was stopped", async () => {
             await using pool = new ProcessPool(1);
             await pool.apply(task, [], { timeout: 20 }).catch(() => {});
           });
         }`,
      );
      const flags = ["--sanitize-ops", "--sanitize-resources"];
      const { code, stdout, stderr } = await execute(
        process.execPath,
        ["test", "--no-check", "--no-prompt", ...flags, file],
      );
      assertEquals(code, 0, stdout + stderr);
    }));
}

test("A pool that is gone leaves nothing behind", { timeout }, async () => {
  const program = async ({ ProcessPool }: typeof import("../mod.ts")) => {
    // deno-lint-ignore no-explicit-any
    const scope = globalThis as any;
    let collected = 0;
    const registry = new FinalizationRegistry(() => collected++);
    const use = async () => {
      const pool = new ProcessPool(1);
      registry.register(pool, undefined);
      await pool.apply((n: number) => n, [1]);
      await pool.apply(() => new Map([[1, 2]])); // its answer is a message
      pool.terminate();
      await pool.join();
    };
    for (let i = 0; i < 10; i++) await use();
    const end = performance.now() + 15_000;
    while (collected < 8 && performance.now() < end) { // the stack may keep one
      if (scope.gc) scope.gc();
      else scope.Bun.gc(true);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    console.log(collected >= 8 || `${collected} of 10 were collected`);
  };
  assertEnded(await runProgram(program, { args: gcArgs }), "true\n");
});

test("A process keeps its arguments no longer than for its start", {
  timeout,
}, async () => {
  const program = async ({ Process }: typeof import("../mod.ts")) => {
    // deno-lint-ignore no-explicit-any
    const scope = globalThis as any;
    let collected = 0;
    const registry = new FinalizationRegistry(() => collected++);
    const start = () => {
      const numbers = [1, 2, 3];
      registry.register(numbers, undefined);
      const child = new Process((_: number[]) => new Promise(() => {}), {
        args: [numbers],
        daemon: true,
      });
      child.start();
      return child;
    };
    const running = Array.from({ length: 5 }, start);
    const end = performance.now() + 15_000;
    while (collected < 4 && performance.now() < end) { // the stack may keep one
      if (scope.gc) scope.gc();
      else scope.Bun.gc(true);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const alive = running.filter((it) => it.isAlive()).length;
    console.log(alive, collected >= 4 || `${collected} of 5 were collected`);
    for (const child of running) child.terminate();
  };
  assertEnded(await runProgram(program, { args: gcArgs }), "5 true\n");
});

test("Events and barriers that are dropped do not pile up", {
  timeout,
}, async () => {
  const program = async ({ Barrier, Event }: typeof import("../mod.ts")) => {
    let most = 0;
    for (let i = 0; i < 40_000; i++) {
      new Barrier(2);
      new Event();
      if (i % 500 > 0) continue;
      await new Promise((resolve) => setTimeout(resolve, 0));
      most = Math.max(most, process.memoryUsage().rss / 2 ** 20);
    }
    // If none had gone it would be 1,300 MiB.
    console.log(most < 700 || `${most} MiB`);
  };
  const { code, stdout } = await runProgram(program);
  assertEquals([code, stdout], [0, "true\n"]);
});

test("A barrier's action that is not over keeps the program alive", {
  timeout,
}, async () => {
  assertEnded(
    await runProgram(({ Barrier }) => {
      const action = () =>
        new Promise<void>((resolve) => {
          const timer: unknown = setTimeout(resolve, 200);
          (timer as { unref?(): void }).unref?.();
        });
      void new Barrier(1, { action }).wait().then(() => console.log("over"));
    }),
    "over\n",
  );
});

test(
  "A call that begins with nothing leaves no rejection of its input behind",
  {
    timeout,
  },
  async () => {
    assertEnded(
      await runProgram(async ({ ProcessPool, ThreadPool }) => {
        const fail = () => Promise.reject(new Error("of the input"));
        const limits = [{ timeout: 0 }, { signal: AbortSignal.abort("stop") }];
        const same = (it: unknown) => it;
        for (const pool of [new ProcessPool(1), new ThreadPool(1)]) {
          for (const limit of limits) {
            for (
              const call of [
                () => pool.map(same, [fail()], limit),
                () => pool.starmap(same, [fail()], limit),
                () => pool.imap(same, [fail()], limit).next(),
              ]
            ) await call().catch(() => {});
          }
          pool.terminate();
          await pool.join();
        }
        console.log("goes on");
      }),
      "goes on\n",
    );
  },
);

test("A step of the system's clock ends no call before its time", {
  timeout,
}, async () => {
  await withFolder(async (folder) => {
    const file = join(folder, "program.mjs");
    await writeFile(
      file,
      `
      const { now } = Date;
      let step = 0;
      Date.now = () => now() + step;
      const { ProcessPool, ThreadPool } = await import(${
        JSON.stringify(moduleUrl)
      });
      const work = () => new Promise((resolve) => setTimeout(resolve, 50, "in time"));
      for (const pool of [new ProcessPool(1), new ThreadPool(1)]) {
        await pool.apply(() => {});
        const options = { timeout: 60_000 };
        const calls = [pool.apply(work, [], options), pool.map(work, [1], options)];
        step += 120_000;
        console.log(...(await Promise.all(calls)).flat());
        pool.terminate();
        await pool.join();
      }`,
    );
    assertEnded(
      await execute(process.execPath, [...runArgs, file]),
      "in time in time\nin time in time\n",
    );
  });
});
