// Everything at once: calls of all kinds while workers die at random.

import { test } from "node:test";
import process from "node:process";
import { readdirSync } from "node:fs";
import { assert, assertEquals } from "@std/assert";
import { Barrier, Event, ProcessPool, ThreadPool } from "../mod.ts";
import { travel } from "../_internal/dispatcher.ts";
import { runtime } from "../_internal/runtime/which.ts";
import { outcomes, sharedCells } from "./_pools.ts";
import { Random } from "./_random.ts";

const timeout = 120_000;

/** In full where most programs run, and a fifth of it elsewhere. */
const part = runtime === "deno" || runtime === "bun" ? 1 : 1 / 5;

// deno-lint-ignore no-explicit-any
type Any = any;

/** Counts an execution in the worker, and returns what it was given. */
const echo = (id: number, payload: unknown) => {
  Atomics.add((globalThis as Any).runs, id, 1);
  return payload;
};
const echoLater = async (id: number, payload: unknown) => {
  Atomics.add((globalThis as Any).runs, id, 1);
  await new Promise((resolve) => setTimeout(resolve, 1));
  return payload;
};
const count = (id: number) => {
  Atomics.add((globalThis as Any).runs, id, 1);
  return -id;
};
const fail = (id: number) => {
  Atomics.add((globalThis as Any).runs, id, 1);
  throw new RangeError(`${id}`);
};
const stick = (id: number) => {
  Atomics.add((globalThis as Any).runs, id, 1);
  return new Promise(() => {});
};
const spin = (id: number) => {
  Atomics.add((globalThis as Any).runs, id, 1);
  for (;;);
};
const exit = (id: number) => {
  Atomics.add((globalThis as Any).runs, id, 1);
  const { process } = globalThis as Any;
  if (process) process.exit(3);
  self.close(); // a browser
};
const close = (id: number) => {
  Atomics.add((globalThis as Any).runs, id, 1);
  self.close();
  return new Promise(() => {});
};
/** Answers, and ends the worker some time later. */
const bomb = (id: number) => {
  Atomics.add((globalThis as Any).runs, id, 1);
  setTimeout(() => {
    (globalThis as Any).console.error = () => {};
    throw new Error("the storm's");
  }, 2);
};

const PAYLOADS: (() => unknown)[] = [
  () => 1.5,
  () => "a short text",
  () => undefined,
  () => ({ id: 1, name: "two", list: [1, 2, 3] }),
  () => [1, 2, 3, -0],
  () => "long é ".repeat(300),
  () => new Date(5),
  () => new Map([[1, { a: [2n] }]]),
  () => new Uint8Array(100).fill(7),
  () => Array.from({ length: 300 }, (_, i) => i / 2),
];

interface Storm {
  calls: number;
  processes: number;
  maxTasksPerChild?: number;
}

class Blast {
  readonly #random = new Random(Date.now() | 0);
  readonly #runs: Int32Array;
  readonly #pool: ProcessPool;
  #nextId = 0;
  /** Calls that answered and left something that ends their worker. */
  #bombs = 0;
  /** Calls that lost their worker without asking for it. */
  #victims = 0;
  readonly #problems: string[] = [];

  constructor(storm: Storm) {
    const { calls, processes, maxTasksPerChild } = storm;
    this.#runs = sharedCells(calls * 4);
    this.#pool = new ProcessPool(processes, {
      initializer: (runs: Int32Array) => {
        (globalThis as Any).runs = runs;
      },
      initargs: [this.#runs],
      ...maxTasksPerChild ? { maxTasksPerChild } : {},
    });
  }

  async rage(calls: number): Promise<void> {
    const submit = async (count: number) => {
      while (count > 0) {
        const burst = Math.min(count, 1 + this.#random.below(300));
        count -= burst;
        await Promise.all(Array.from({ length: burst }, () => this.#one()));
      }
    };
    const third = Math.ceil(calls / 3);
    await Promise.all([submit(third), submit(third), submit(third)]);
    assertEquals(this.#pool.stats().queued, 0);
    this.#pool.close();
    await this.#pool.join();
    // Not before: a worker whose call has timed out is busy until it is stopped.
    assertEquals(this.#pool.stats().busy, 0);
    assertEquals(this.#problems.slice(0, 20), []);
    const twice = this.#runs.findIndex((it) => it > 1);
    assertEquals(twice, -1, `call ${twice} ran ${this.#runs[twice]} times`);
    assert(
      this.#victims <= this.#bombs,
      `${this.#bombs} bombs, ${this.#victims} victims`,
    );
  }

  /** Checks how a call ended; `expected` are the errors it asked for. */
  async #check(
    kind: string,
    ids: number[],
    call: PromiseLike<unknown>,
    value: unknown,
    expected: string[] = [],
  ): Promise<void> {
    try {
      assertEquals(await call, value);
      for (const id of ids) {
        const runs = Atomics.load(this.#runs, id);
        if (runs !== 1) this.#problems.push(`${kind} ran ${runs} times`);
      }
    } catch (error) {
      const { name } = error as Error;
      if (expected.includes(name)) return;
      if (name === "WorkerExitError") this.#victims++;
      else this.#problems.push(`${kind}: ${error}`);
    }
  }

  #one(): Promise<void> {
    const random = this.#random;
    const pool = this.#pool;
    const id = this.#nextId++;
    const kind = random.below(8000);
    if (kind === 0) {
      return this.#check("exit", [id], pool.apply(exit, [id]), 0, [
        "WorkerExitError",
      ]);
    }
    if (kind === 1) {
      return this.#check("close", [id], pool.apply(close, [id]), 0, [
        "WorkerExitError",
      ]);
    }
    if (kind === 2) {
      this.#bombs++;
      return this.#check("bomb", [id], pool.apply(bomb, [id]), undefined);
    }
    if (kind === 3) {
      const call = pool.apply(stick, [id], { timeout: 1 + random.below(30) });
      return this.#check("stick", [id], call, 0, ["TimeoutError"]);
    }
    if (kind === 4) {
      const call = pool.apply(spin, [id], { timeout: 1 + random.below(30) });
      return this.#check("spin", [id], call, 0, ["TimeoutError"]);
    }
    if (kind < 7) {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), random.below(20));
      const { signal } = controller;
      const call = pool.apply(stick, [id], { signal });
      return this.#check("abort", [id], call, 0, ["AbortError"]);
    }
    if (kind < 40) {
      const controller = new AbortController();
      const call = pool.apply(echoLater, [id, id], {
        signal: controller.signal,
      });
      queueMicrotask(() => controller.abort());
      return this.#check("late", [id], call, id, ["AbortError"]);
    }
    if (kind < 100) {
      const payload = random.pick(PAYLOADS)();
      const timeout = random.below(20);
      const call = pool.apply(echo, [id, payload], { timeout });
      return this.#check("hurry", [id], call, payload, ["TimeoutError"]);
    }
    if (kind < 300) {
      const call = pool.apply(fail, [id]).catch((error) => {
        if (error.name !== "RangeError") throw error; // a bomb's victim
        return error.message;
      });
      return this.#check("fail", [id], call, `${id}`);
    }
    if (kind < 500) {
      const buffer = new ArrayBuffer(16);
      const call = pool.apply(echo, [id, buffer], {
        transfer: [buffer],
        transferResult: true,
      });
      return this.#check("transfer", [id], call, new ArrayBuffer(16));
    }
    if (kind < 520) {
      const buffer = new ArrayBuffer(16);
      const call = pool.apply(echo, [id, random.pick(PAYLOADS)()], {
        transfer: [buffer, buffer], // it turns out late that this cannot be
      });
      return this.#check("unsendable", [id], call, 0, ["DataCloneError"]);
    }
    if (kind < 800) {
      const ids = [id, this.#nextId++, this.#nextId++];
      const options = { chunkSize: 1 + random.below(3) };
      const negative = ids.map((it) => -it);
      if (random.below(2) === 0) {
        return this.#check("map", ids, pool.map(count, ids, options), negative);
      }
      const iterator = pool.imap(count, ids, options);
      const call = (async () => {
        const values = [];
        for await (const value of iterator) values.push(value);
        return values;
      })();
      return this.#check("imap", ids, call, negative);
    }
    const payload = random.pick(PAYLOADS)();
    const fn = kind < 1200 ? echoLater : echo;
    return this.#check("echo", [id], pool.apply(fn, [id, payload]), payload);
  }
}

async function rage(storm: Storm): Promise<void> {
  await new Blast(storm).rage(storm.calls);
}

test("A storm loses no call and runs none twice", { timeout }, async () => {
  await rage({ calls: 100_000 * part, processes: 3 });
});

test("A storm over workers that are replaced all the time", {
  timeout,
}, async () => {
  await rage({ calls: 3000, processes: 2, maxTasksPerChild: 100 });
});

const { lane, sizes } = travel;
for (
  const [name, way, calls] of [
    ["tiny rings", {
      lane,
      sizes: { calls: 1024, answers: 512, definitions: 512 },
    }, 20_000],
    ["messages alone", { lane: "plain", sizes }, 20_000],
  ] as const
) {
  test(`A storm with ${name}`, { timeout }, async () => {
    Object.assign(travel, way);
    try {
      await rage({ calls, processes: 3 });
    } finally {
      Object.assign(travel, { lane, sizes });
    }
  });
}

/** What calls do while others wait for them, or a thread blocks. */
const tasks = {
  meet: async (barrier: Barrier, sync: boolean) => {
    const limit = { timeout: 30_000 };
    if (sync) barrier.waitSync(limit);
    else await barrier.wait(limit);
    return true;
  },
  pass: async (
    mine: Event | undefined,
    next: Event | undefined,
    sync: boolean,
  ) => {
    const limit = { timeout: 30_000 };
    const isSet = mine === undefined ||
      (sync ? mine.waitSync(limit) : await mine.wait(limit));
    if (isSet) next?.set();
    return isSet;
  },
  hold: async (gate: Event) => {
    await gate.wait();
    return true;
  },
  spin: (milliseconds: number) => {
    const end = performance.now() + milliseconds;
    while (performance.now() < end);
    return true;
  },
  size: (buffer: ArrayBuffer) => buffer.byteLength === 9,
  die: (how: number) => {
    const { process } = globalThis as Any;
    if (how === 0 || !process) self.close();
    else process.exit(3);
    return new Promise<boolean>(() => {});
  },
};

test("A storm of calls for which a thread blocks lets none of them wait", {
  timeout,
}, async () => {
  const random = new Random(1);
  const meet = (mine: Event, other: Event) => {
    mine.set();
    return other.waitSync({ timeout: 20_000 });
  };
  const setAfter = (event: Event, milliseconds: number) => {
    const end = performance.now() + milliseconds;
    while (performance.now() < end);
    event.set();
  };
  const later = (milliseconds: number) =>
    new Promise<boolean>((resolve) => setTimeout(resolve, milliseconds, true));
  const echo = (value: Date) => value.getTime() === 5;
  for (let round = 0; round < 8; round++) {
    const workers = 1 + random.below(4);
    await using pool = new ProcessPool(workers);
    const calls: Promise<boolean>[] = [];
    const given: Promise<unknown>[] = [];
    const submit = () => {
      const [one, two] = [new Event(), new Event()];
      const buffer = new ArrayBuffer(9);
      switch (random.below(8)) {
        case 0:
          if (workers === 1) break;
          calls.push(pool.apply(meet, [one, two]));
          calls.push(pool.apply(meet, [two, one]));
          break;
        case 1:
          calls.push(pool.apply(later, [random.below(8)]));
          break;
        case 2:
          calls.push(pool.apply(tasks.size, [buffer], { transfer: [buffer] }));
          break;
        case 3:
          calls.push(pool.apply(echo, [new Date(5)]));
          break;
        case 5:
        case 6:
          calls.push(pool.apply(tasks.spin, [random.below(8)]));
          break;
        case 4: {
          const controller = new AbortController();
          const { signal } = controller;
          const wait = random.below(10);
          given.push(pool.apply(later, [random.below(8)], { signal }));
          setTimeout(() => controller.abort(), wait);
          break;
        }
        default:
          given.push(
            pool.apply(later, [random.below(8)], {
              timeout: 1 + random.below(20),
            }),
          );
      }
      given.at(-1)?.catch(() => {});
    };
    for (let i = 0; i < 30; i++) {
      for (let more = random.below(12); more > 0; more--) submit();
      const event = new Event();
      const setting = pool.apply(setAfter, [event, random.below(3)]);
      for (let more = random.below(4); more > 0; more--) submit();
      assert(event.waitSync({ timeout: 20_000 }), `round ${round}, wait ${i}`);
      await setting;
      if (random.below(3) > 0) await later(random.below(6));
    }
    assertEquals(new Set(await Promise.all(calls)), new Set([true]));
    await Promise.allSettled(given);
  }
});

/** In a browser no worker begins while its parent blocks. */
const blocks = runtime !== "browser";

/**
 * Calls that wait for each other, of which all end as long as they begin in the
 * order of their submission: as many as there are workers for meet, or wait for
 * the next one; any number wait for the one before. This thread blocks in wait for
 * some, and some workers are held up, stopped, or die meanwhile.
 */
async function tangle(random: Random, where: string): Promise<void> {
  const processes = 1 + random.below(4);
  const limits = random.pick([{}, { maxTasksPerChild: 2 + random.below(9) }]);
  await using pool = new ProcessPool(processes, limits);
  const calls = new Set<Promise<unknown>>();
  const held: (() => Promise<unknown>)[] = [];
  /** How many workers are held up, or about to die unseen. */
  let away = 0;
  const expect = (call: Promise<unknown>, end: unknown = true) => {
    const ended = outcomes([call]).then(([it]) => {
      assertEquals(it, end, where);
      calls.delete(ended);
    });
    calls.add(ended);
    return ended;
  };
  const few = () => 1 + random.below(processes - away);
  const sync = () => random.below(2) === 0;
  const events = (count: number) =>
    Array.from({ length: count }, () => new Event());
  const submit = () => {
    const repeat = (count: number, apply: (i: number) => Promise<unknown>) => {
      for (let i = 0; i < count; i++) void expect(apply(i));
    };
    const many = 1 + random.below(8);
    switch (random.below(6)) {
      case 0: {
        const parties = few();
        const barrier = new Barrier(parties);
        const way = sync();
        return repeat(parties, () => pool.apply(tasks.meet, [barrier, way]));
      }
      case 1: {
        const [...row] = events(many);
        return repeat(
          many,
          (i) => pool.apply(tasks.pass, [row[i - 1], row[i], sync()]),
        );
      }
      case 2: {
        const count = few();
        const row = events(count);
        const way = sync();
        return repeat(
          count,
          (i) => pool.apply(tasks.pass, [row[i + 1], row[i], way]),
        );
      }
      case 3: {
        const time = random.pick([0, 0, 0, 1, 4]);
        return repeat(many * 4, () => pool.apply(tasks.spin, [time]));
      }
      case 4:
        return repeat(many, () => {
          const buffer = new ArrayBuffer(9);
          return pool.apply(tasks.size, [buffer], { transfer: [buffer] });
        });
      default:
        return repeat(1, async () => {
          const times = Array(many * 4).fill(0);
          const all = await pool.map(tasks.spin, times, { chunkSize: 3 });
          return all.length === times.length;
        });
    }
  };
  const some = () => {
    for (let more = random.below(3); more > 0; more--) submit();
  };
  for (let step = 0; step < 40; step++) {
    switch (random.below(9)) {
      case 0:
      case 1:
      case 2:
        submit();
        break;
      case 3: { // this thread waits for one of them
        some();
        const event = new Event();
        void expect(pool.apply(tasks.pass, [undefined, event, true]));
        some();
        const limit = { timeout: 20_000 };
        const isSet = blocks ? event.waitSync(limit) : await event.wait(limit);
        assert(isSet, `${where}, step ${step}`);
        break;
      }
      case 4: { // and is among those who meet
        const parties = few();
        const barrier = new Barrier(parties + 1);
        const way = sync();
        for (let i = 0; i < parties; i++) {
          void expect(pool.apply(tasks.meet, [barrier, way]));
        }
        some();
        await tasks.meet(barrier, blocks);
        break;
      }
      case 5: {
        if (processes - away === 1) break;
        away++;
        const [gate] = events(1);
        const controller = new AbortController();
        const { signal } = controller;
        const aborts = sync();
        const call = expect(
          pool.apply(tasks.hold, [gate!], { signal }),
          aborts ? "AbortError" : true,
        ).then(() => away--);
        held.push(() => {
          if (aborts) controller.abort();
          else gate!.set();
          return call;
        });
        break;
      }
      case 6:
        await Promise.any([held.shift()?.(), null]);
        break;
      case 7: {
        // Where it is seen though this thread blocks, another takes its place.
        const missing = blocks ? 0 : 1;
        if (processes - away === missing) break;
        away += missing;
        void expect(
          pool.apply(tasks.die, [random.below(2)]),
          "WorkerExitError",
        ).then(() => away -= missing);
        break;
      }
      default:
        await new Promise((resolve) => setTimeout(resolve, random.below(6)));
    }
  }
  for (const letGo of held) void letGo();
  while (calls.size > 0) await Promise.all(calls);
}

test("A storm of calls that wait for each other begins them in order", {
  timeout,
}, async () => {
  const seed = Date.now() | 0;
  const random = new Random(seed);
  for (let round = 0; round < 10 * part; round++) {
    await tangle(random, `seed ${seed}, round ${round}`);
  }
});

test("A storm of terminate() settles everything", { timeout }, async () => {
  const random = new Random(Date.now() | 0);
  for (let i = 0; i < 15; i++) {
    const pool = new ProcessPool(2);
    const wait = (ms: number) =>
      new Promise((resolve) => setTimeout(resolve, ms));
    const calls = Array.from(
      { length: 300 },
      (_, n) =>
        n % 3 === 0
          ? pool.map((n: number) => n, [1, 2, 3], { chunkSize: 1 })
          : n % 50 === 1
          ? pool.apply(wait, [1])
          : pool.apply((n: unknown) => n, [n % 2 ? n : new Date()]),
    );
    const all = Promise.allSettled<unknown>(calls);
    await wait(random.below(i < 5 ? 3 : 60));
    pool.terminate();
    await pool.join();
    for (const result of await all) {
      if (result.status === "rejected") {
        assertEquals(result.reason.name, "PoolClosedError");
      }
    }
  }
});

/** What the program holds, as far as the system tells. */
function held(): { threads: number; files: number; megabytes: number } {
  const number = (folder: string) => {
    try {
      return readdirSync(folder).length;
    } catch {
      return 0; // not Linux
    }
  };
  return {
    threads: number("/proc/self/task"),
    files: number("/proc/self/fd"),
    megabytes: process.memoryUsage().rss / 2 ** 20,
  };
}

test(`${200 * part} pools that were made and ended leave nothing behind`, {
  timeout,
}, async () => {
  const use = async (i: number) => {
    const pool = new ProcessPool(1);
    const threads = new ThreadPool(2);
    const double = (n: number) => n * 2;
    assertEquals(await pool.apply(double, [i]), 2 * i);
    assertEquals(await threads.map(double, [i]), [2 * i]);
    if (i % 3 === 0) pool.close();
    else pool.terminate();
    threads.terminate();
    await Promise.all([pool.join(), threads.join()]);
  };
  const some = async (count: number) => {
    for (let i = 0; i < count; i += 2) await Promise.all([use(i), use(i + 1)]);
  };
  await some(50 * part);
  const before = held();
  await some(150 * part);
  const after = held();
  const { threads, files, megabytes } = before;
  assert(after.threads <= threads + 5, `${threads}, ${after.threads} threads`);
  assert(after.files <= files + 5, `${files}, ${after.files} files`);
  assert(after.megabytes < megabytes + 150, `${megabytes}, ${after.megabytes}`);
});
