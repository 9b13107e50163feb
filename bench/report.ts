/**
 * Measures this module beside workers by hand, bare `Atomics` and, where
 * `python3` is there, CPython's `multiprocessing`, all in one run, and writes
 * `REPORT.md` and `report.svg` beside this file.
 *
 * Run with `deno task report`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { ProcessPool } from "../mod.ts";
import { openHandMadePool } from "./hand_made_pool.ts";
import {
  barrierCycles,
  eventTrips,
  spinningCycles,
  spinningTrips,
} from "./trips.ts";

const PROCESSES = 2;
const REPETITIONS = 7;

/** One line of the report. */
interface Row {
  /** The key of CPython's figure. */
  key: string;
  name: string;
  unit: string;
  /** Whether more is better. */
  rate?: boolean;
  /** What the floor is. */
  floor: string;
  ours: () => Promise<number>;
  bare?: () => Promise<number>;
  /** Whether each run is a process of its own. */
  apart?: boolean;
}

/** A line with its figures. */
interface Result extends Row {
  our: number;
  bareFigure: number | undefined;
  python: number | undefined;
}

const median = (figures: number[]) =>
  figures.toSorted((a, b) => a - b)[figures.length >> 1]!;

async function milliseconds(work: () => unknown): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

// -- what is measured ---------------------------------------------------------

const square = (n: number) => n * n;
const echo = (value: unknown) => value;
const fibonacci = function fibonacci(n: number): number {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
};

const pool = new ProcessPool(PROCESSES);
const bare = openHandMadePool(PROCESSES);
const order = { id: 7, name: "soup", hot: true };
const some = Array.from({ length: 20_000 }, (_, n) => n);
const many = Array.from({ length: 1_000_000 }, (_, n) => n);
const inputs = Array<number>(16).fill(33);
const bytes = new Uint8Array(16 * 2 ** 20);
let moving = new Uint8Array(16 * 2 ** 20);
let movingBare = new Uint8Array(16 * 2 ** 20);

// Many, as two threads that took turns asleep are on one core at first.
const CALLS = 10_000;
const ROUNDS = 20_000;

async function perCall(call: (n: number) => Promise<unknown>): Promise<number> {
  const time = await milliseconds(async () => {
    for (let n = 0; n < CALLS; n++) await call(n);
  });
  return time * 1_000 / CALLS;
}

async function perSecond(work: () => unknown): Promise<number> {
  return some.length * 1_000 / await milliseconds(work);
}

/** How many times faster some work is than all of it in this thread. */
async function speedUp(work: () => unknown): Promise<number> {
  const serial = await milliseconds(() => inputs.map(fibonacci));
  return serial / await milliseconds(work);
}

/** Microseconds of one round with another thread. */
function perRound(go: (rounds: number) => () => void): () => Promise<number> {
  const run = go(ROUNDS);
  return async () => await milliseconds(run) * 1_000 / ROUNDS;
}

async function memory(kind: string): Promise<number> {
  const script = new URL("./memory.ts", import.meta.url).href;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", script, kind],
    stderr: "inherit",
  }).output();
  return Number(new TextDecoder().decode(stdout));
}

const byHand = "`postMessage` by hand";
const spinning = "bare `Atomics`, spinning";

const rows: Row[] = [
  {
    key: "apply",
    name: "one call at a time, a number",
    unit: "µs",
    floor: byHand,
    ours: () => perCall((n) => pool.apply(square, [n])),
    bare: () => perCall((n) => bare.square(n)),
  },
  {
    key: "object",
    name: "one call at a time, a small object",
    unit: "µs",
    floor: byHand,
    ours: () => perCall(() => pool.apply(echo, [order])),
    bare: () => perCall(() => bare.echo(order)),
  },
  {
    key: "flight",
    name: "20,000 calls in flight",
    unit: "calls/s",
    rate: true,
    floor: byHand,
    ours: () =>
      perSecond(() => Promise.all(some.map((n) => pool.apply(square, [n])))),
    bare: () => perSecond(() => Promise.all(some.map((n) => bare.square(n)))),
  },
  {
    key: "stream",
    name: "imapUnordered, 20,000 items one by one",
    unit: "items/s",
    rate: true,
    floor: "",
    ours: () =>
      perSecond(async () => {
        for await (const _ of pool.imapUnordered(square, some));
      }),
  },
  {
    key: "map",
    name: "map x * x over 1,000,000 numbers",
    unit: "ms",
    floor: `${byHand}, in eight pieces`,
    ours: () => milliseconds(() => pool.map(square, many)),
    bare: () => milliseconds(() => bare.map(many)),
  },
  {
    key: "copy",
    name: "16 MiB there and back, copied",
    unit: "ms",
    floor: byHand,
    ours: () => milliseconds(() => pool.apply(echo, [bytes])),
    bare: () => milliseconds(() => bare.echo(bytes)),
  },
  {
    key: "transfer",
    name: "16 MiB there and back, transferred",
    unit: "ms",
    floor: byHand,
    ours: () =>
      milliseconds(async () => {
        moving = await pool.apply(echo, [moving], {
          transfer: [moving.buffer],
          transferResult: true,
        }) as typeof moving;
      }),
    bare: () =>
      milliseconds(async () => {
        movingBare = await bare.echo(movingBare, [
          movingBare.buffer,
        ]) as typeof movingBare;
      }),
  },
  {
    key: "start",
    name: "a pool of two, constructor to first answer",
    unit: "ms",
    floor: "two bare workers of the same kind, made at once",
    ours: () =>
      milliseconds(async () => {
        const pool = new ProcessPool(PROCESSES);
        await pool.apply(square, [3]);
        pool.terminate();
      }),
    bare: () =>
      milliseconds(async () => {
        const bare = openHandMadePool(PROCESSES);
        await bare.square(3);
        bare.terminate();
      }),
  },
  {
    key: "memory",
    name: "memory of an idle worker",
    unit: "MiB",
    floor: "a bare worker of the same kind",
    apart: true,
    ours: () => memory("ours"),
    bare: () => memory("bare"),
  },
  {
    key: "speedup",
    name: "16 CPU-bound calls, times faster than serial",
    unit: "times",
    rate: true,
    floor: byHand,
    ours: () => speedUp(() => pool.map(fibonacci, inputs, { chunkSize: 1 })),
    bare: () => speedUp(() => Promise.all(inputs.map(bare.fibonacci))),
  },
  {
    key: "event",
    name: "round trip of two events, blocking",
    unit: "µs",
    floor: spinning,
    ours: perRound(eventTrips),
    bare: perRound(spinningTrips),
  },
  {
    key: "barrier",
    name: "cycle of a barrier of two, blocking",
    unit: "µs",
    floor: spinning,
    ours: perRound(barrierCycles),
    bare: perRound(spinningCycles),
  },
];

// -- measuring ----------------------------------------------------------------

async function python(): Promise<Record<string, number> | undefined> {
  const script = fileURLToPath(new URL("./cpython.py", import.meta.url));
  try {
    const { success, stdout } = await new Deno.Command("python3", {
      args: [script],
      stderr: "null",
    }).output();
    return success ? JSON.parse(new TextDecoder().decode(stdout)) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

const cpython = await python();
const results: Result[] = [];
for (const row of rows) {
  const our: number[] = [];
  const floor: number[] = [];
  // They take turns, so that a noisy moment does not favour one. What counts is
  // the second of two runs: the first collects the garbage of the other's.
  for (let i = 0; i < REPETITIONS; i++) {
    if (!row.apart) await row.bare?.();
    const base = await row.bare?.();
    if (base !== undefined) floor.push(base);
    if (!row.apart) await row.ours();
    our.push(await row.ours());
  }
  results.push({
    ...row,
    our: median(our),
    bareFigure: floor.length > 0 ? median(floor) : undefined,
    python: cpython?.[row.key],
  });
  console.log(row.name, median(our), row.unit);
}

// -- writing ------------------------------------------------------------------

/** How many times better ours is. */
function ratio(row: Result, other: number | undefined): number | undefined {
  if (other === undefined) return undefined;
  return row.rate ? row.our / other : other / row.our;
}

function figure(value: number | undefined, unit: string): string {
  if (value === undefined) return "";
  const text = value >= 1_000
    ? Math.round(value).toLocaleString("en")
    : Number(value.toPrecision(3)).toString();
  return `${text} ${unit}`;
}

function times(value: number | undefined): string {
  return value === undefined
    ? ""
    : `${Number(value.toPrecision(value < 10 ? 2 : 3))} ×`;
}

const machine = [
  `${navigator.hardwareConcurrency} cores`,
  `${Deno.build.os} ${Deno.build.arch}`,
  `Deno ${Deno.version.deno}`,
  ...(cpython ? [`CPython ${cpython.version}`] : []),
].join(", ");

const table = results.map((row) => {
  const { our, unit, name, floor, bareFigure, python } = row;
  const cells = [
    name,
    figure(our, unit),
    times(ratio(row, bareFigure)),
    bareFigure === undefined ? "" : `${floor}: ${figure(bareFigure, unit)}`,
    times(ratio(row, python)),
    figure(python, unit),
  ];
  return `| ${cells.join(" | ")} |`;
});

const report = `# Bench report

Written by \`deno task report\` on ${
  new Date().toISOString().slice(0, 10)
}: ${machine}. Medians of
${REPETITIONS} repetitions, each the second of two runs, as the first collects what others left.
Ours and the floor take turns in one process, but for memory.
"× better" below 1 means that we lose. Each speed-up is over the same calls run
serially there, which take about as long here and in CPython.

![The ratios as a chart](report.svg)

| what | ours | × better than the floor | the floor | × better than CPython | CPython |
| --- | ---: | ---: | --- | ---: | ---: |
${table.join("\n")}
`;

function chart(): string {
  const bars = results.flatMap((row) => {
    const pairs: [string, number | undefined, string][] = [
      [row.floor.replaceAll("`", ""), ratio(row, row.bareFigure), "#2563eb"],
      ["CPython", ratio(row, row.python), "#d97706"],
    ];
    return pairs.filter(([, value]) => value !== undefined)
      .map(([against, value, colour], i) => ({
        name: i === 0 ? row.name : "",
        against,
        value: value!,
        colour,
      }));
  });
  const [left, width, step] = [330, 420, 22];
  const largest = Math.max(...bars.map(({ value }) => value));
  const smallest = Math.min(0.5, ...bars.map(({ value }) => value));
  const x = (value: number) =>
    left +
    width * Math.log(value / smallest) / Math.log(largest / smallest);
  const height = bars.length * step + 60;
  const lines = bars.map(({ name, against, value, colour }, i) => {
    const y = 40 + i * step;
    const [from, to] = [Math.min(x(1), x(value)), Math.max(x(1), x(value))];
    return `<text x="${left - 10}" y="${
      y + 13
    }" text-anchor="end">${name}</text>
<rect x="${from.toFixed(1)}" y="${y + 3}" width="${
      (to - from).toFixed(1)
    }" height="13" fill="${colour}"/>
<text x="${(to + 6).toFixed(1)}" y="${y + 13}" class="small">${
      times(value)
    } ${against}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1020 ${height}" font-family="sans-serif" font-size="12">
<style>text { fill: #334155 } .small { font-size: 11px }</style>
<rect width="1020" height="${height}" fill="#ffffff"/>
<text x="${left}" y="22">How many times better than workers by hand (blue) and CPython (orange); logarithmic</text>
<line x1="${x(1)}" y1="32" x2="${x(1)}" y2="${height - 14}" stroke="#94a3b8"/>
${lines.join("\n")}
</svg>
`;
}

await Deno.writeTextFile(new URL("./REPORT.md", import.meta.url), report);
await Deno.writeTextFile(new URL("./report.svg", import.meta.url), chart());
pool.terminate();
bare.terminate();
Deno.exit(0); // the other sides of the round trips run for ever
