/**
 * What a call to a worker costs, beside a bare worker that is posted to by
 * hand: the same kind of worker, a counter for the answers, nothing else.
 *
 * Run with `deno bench`.
 *
 * @module
 */

import { ProcessPool } from "../mod.ts";
import { openHandMadePool } from "./hand_made_pool.ts";

const PROCESSES = 2;
const square = (n: number) => n * n;
const echo = (value: unknown) => value;

const pool = new ProcessPool(PROCESSES);
const bare = openHandMadePool(PROCESSES);
// Once, so that no iteration pays for the start.
await Promise.all([pool.map(square, [1, 2]), bare.map([1, 2])]);

// -- one at a time ------------------------------------------------------------

{
  const group = "1,000 calls with a number, one after the other";
  Deno.bench("postMessage by hand", { group, baseline: true }, async () => {
    for (let n = 0; n < 1_000; n++) await bare.square(n);
  });
  Deno.bench("ProcessPool.apply()", { group }, async () => {
    for (let n = 0; n < 1_000; n++) await pool.apply(square, [n]);
  });
}

{
  const group = "1,000 calls with a small object, one after the other";
  const order = { id: 7, name: "soup", hot: true };
  Deno.bench("postMessage by hand", { group, baseline: true }, async () => {
    for (let n = 0; n < 1_000; n++) await bare.echo(order);
  });
  Deno.bench("ProcessPool.apply()", { group }, async () => {
    for (let n = 0; n < 1_000; n++) await pool.apply(echo, [order]);
  });
}

// -- many at a time -----------------------------------------------------------

{
  const group = "20,000 calls in flight";
  const numbers = Array.from({ length: 20_000 }, (_, n) => n);
  Deno.bench("postMessage by hand", { group, baseline: true }, async () => {
    await Promise.all(numbers.map((n) => bare.square(n)));
  });
  Deno.bench("ProcessPool.apply()", { group }, async () => {
    await Promise.all(numbers.map((n) => pool.apply(square, [n])));
  });
  Deno.bench("ProcessPool.imapUnordered()", { group }, async () => {
    for await (const _ of pool.imapUnordered(square, numbers));
  });
}

{
  const group = "x * x over 1,000,000 numbers";
  const numbers = Array.from({ length: 1_000_000 }, (_, n) => n);
  Deno.bench(
    "postMessage by hand, eight pieces",
    { group, baseline: true },
    async () => void await bare.map(numbers),
  );
  Deno.bench("ProcessPool.map()", { group }, async () => {
    await pool.map(square, numbers);
  });
  Deno.bench("plain loop", { group }, () => void numbers.map(square));
}

// -- many bytes ---------------------------------------------------------------

{
  const group = "16 MiB there and back, copied";
  const bytes = new Uint8Array(16 * 2 ** 20);
  Deno.bench("postMessage by hand", { group, baseline: true }, async () => {
    await bare.echo(bytes);
  });
  Deno.bench("ProcessPool.apply()", { group }, async () => {
    await pool.apply(echo, [bytes]);
  });
}

{
  const group = "16 MiB there and back, transferred";
  let bytes = new Uint8Array(16 * 2 ** 20);
  Deno.bench("postMessage by hand", { group, baseline: true }, async () => {
    bytes = await bare.echo(bytes, [bytes.buffer]) as typeof bytes;
  });
  Deno.bench("ProcessPool.apply()", { group }, async () => {
    bytes = await pool.apply(echo, [bytes], {
      transfer: [bytes.buffer],
      transferResult: true,
    }) as typeof bytes;
  });
}

// -- start --------------------------------------------------------------------

{
  const group = "a pool of two, from constructor to first answer";
  Deno.bench("bare workers", { group, baseline: true }, async () => {
    const bare = openHandMadePool(PROCESSES);
    await bare.square(3);
    bare.terminate();
  });
  Deno.bench("ProcessPool", { group }, async () => {
    const pool = new ProcessPool(PROCESSES);
    await pool.apply(square, [3]);
    pool.terminate();
  });
}
