/**
 * The Mandelbrot set, row by row: once in this thread, once in a pool, with a
 * progress bar, and how much faster the pool was.
 *
 * Run it with `deno run examples/mandelbrot.ts` or
 * `bun run examples/mandelbrot.ts`; `--fast` after the name makes it small.
 *
 * @module
 */

import { ProcessPool } from "../mod.ts";

/** What a row is computed from. */
interface Row {
  y: number;
  width: number;
  height: number;
  depth: number;
}

/**
 * Computes a row: for each point how many steps it took to leave. It is sent as
 * source text, so it uses nothing but its arguments and globals.
 */
function computeRow({ y, width, height, depth }: Row): [number, number[]] {
  const steps: number[] = [];
  const ci = (y / (height - 1) - 0.5) * 2.4;
  for (let x = 0; x < width; x++) {
    const cr = (x / (width - 1)) * 3.3 - 2.3;
    let zr = 0;
    let zi = 0;
    let n = 0;
    for (; n < depth && zr * zr + zi * zi < 4; n++) {
      const next = zr * zr - zi * zi + cr;
      zi = 2 * zr * zi + ci;
      zr = next;
    }
    steps.push(n);
  }
  return [y, steps];
}

/** Shows how far a task has come: on one line, or on a few if not in a terminal. */
class ProgressBar {
  readonly #label: string;
  readonly #total: number;
  readonly #began = performance.now();
  #shownAt = -Infinity;
  #shownShare = -1;

  constructor(label: string, total: number) {
    this.#label = label;
    this.#total = total;
  }

  show(done: number): void {
    const now = performance.now();
    const share = done / this.#total;
    const isDue = isTerminal
      ? now - this.#shownAt > 50
      : share - this.#shownShare >= 0.25;
    if (!isDue && done < this.#total) return;
    this.#shownAt = now;
    this.#shownShare = share;
    const rate = done / (now - this.#began) * 1000;
    const left = (this.#total - done) / rate;
    const bar = "█".repeat(Math.round(share * 24)).padEnd(24, "░");
    const line =
      `${this.#label.padEnd(6)} ${bar} ${(share * 100).toFixed(0)} %, ` +
      `${rate.toFixed(0)} rows/s, ${left.toFixed(1)} s left`;
    write(isTerminal ? `\r${line}\x1b[K` : `${line}\n`);
  }

  /** Leaves the line as it is; tells the milliseconds since the start. */
  end(): number {
    if (isTerminal) write("\n");
    return performance.now() - this.#began;
  }
}

/** Draws two rows a line, as the upper and lower half of each character. */
function draw(rows: number[][], depth: number): string {
  const color = (n = depth) => {
    if (n >= depth) return "0;0;0";
    const angle = Math.log2(n + 1) * 1.3;
    return [0, 2.1, 4.2]
      .map((shift) => Math.round(128 + 127 * Math.cos(angle + shift)))
      .join(";");
  };
  let picture = "";
  for (let y = 0; y < rows.length; y += 2) {
    for (const [x, upper] of rows[y]!.entries()) {
      const lower = rows[y + 1]?.[x];
      picture += `\x1b[38;2;${color(upper)};48;2;${color(lower)}m▀`;
    }
    picture += "\x1b[0m\n";
  }
  return picture;
}

// deno-lint-ignore no-process-global
const { argv, stdout } = process;
const isTerminal = Boolean(stdout.isTTY);
const write = (text: string) => void stdout.write(text);

if (import.meta.main) {
  const fast = argv.includes("--fast");
  const width = Math.max(20, Math.min(stdout.columns || 80, 120));
  const height = Math.round(width / 3) * 2;
  const depth = fast ? 50_000 : 1_000_000;
  const inputs = Array.from(
    { length: height },
    (_, y): Row => ({ y, width, height, depth }),
  );

  await using pool = new ProcessPool();
  // So that neither time has the start of the workers in it.
  await pool.map(computeRow, inputs.map((it) => ({ ...it, depth: 100 })));

  const serial = new ProgressBar("serial", height);
  for (const [i, input] of inputs.entries()) {
    computeRow(input);
    serial.show(i + 1);
  }
  const serialTime = serial.end();

  const parallel = new ProgressBar("pool", height);
  const rows: number[][] = [];
  let done = 0;
  for await (const [y, row] of pool.imapUnordered(computeRow, inputs)) {
    rows[y] = row;
    parallel.show(++done);
  }
  const poolTime = parallel.end();

  write(draw(rows, depth));
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
  write(
    `serial ${seconds(serialTime)}, pool of ${pool.processes} ` +
      `${seconds(poolTime)}: ${
        (serialTime / poolTime).toFixed(2)
      } times as fast\n`,
  );
}
