// A page and a worker file whose policy forbids `eval` too.

import { test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { ProcessPool } from "../../mod.ts";
import { double } from "../testdata/tasks.ts";

const timeout = 20_000;
const workerUrl = new URL("../../worker.ts", import.meta.url);

test(
  "ProcessPool runs tasks where a policy forbids eval, and says why no more",
  {
    timeout,
  },
  async () => {
    await using pool = new ProcessPool(2, { workerUrl });
    assertEquals(await pool.map(double, [1, 2, 3]), [2, 4, 6]);
    await assertRejects(
      () => pool.apply((n: number) => n, [1]),
      Error,
      "Content Security Policy",
    );
    assertEquals(await pool.map(double, [1, 2, 3]), [2, 4, 6]);
  },
);
