/**
 * Groups of calls of which none begins after one that failed.
 *
 * @module
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { test } from "node:test";
import {
  failGroup,
  GROUP_CELLS,
  hasFailed,
  MAX_GROUP,
  newGroup,
} from "../_internal/group.ts";

const timeout = 20_000;

test("A group has failed after one of its calls has", {
  timeout,
}, () => {
  const cells = new Int32Array(GROUP_CELLS + 1);
  const group = newGroup(cells, 1, 0);
  const other = newGroup(cells, 1, group);
  assert(!hasFailed(cells, 1, group));
  assert(failGroup(cells, 1, group)); // the first
  assert(hasFailed(cells, 1, group));
  assertFalse(failGroup(cells, 1, group));
  assert(!hasFailed(cells, 1, other));
  assert(failGroup(cells, 1, other));
  assertEquals(cells[0], 0);
});

test("A group does not fail by what had its number before", {
  timeout,
}, () => {
  const cells = new Int32Array(GROUP_CELLS);
  assertEquals(newGroup(cells, 0, MAX_GROUP - 1), MAX_GROUP);
  assertEquals(newGroup(cells, 0, MAX_GROUP), 1);
  failGroup(cells, 0, 1);
  assertEquals(newGroup(cells, 0, MAX_GROUP), 1);
  assert(!hasFailed(cells, 0, 1));
});

test("Of groups that share a word the last that failed is known", {
  timeout,
}, () => {
  const cells = new Int32Array(GROUP_CELLS);
  failGroup(cells, 0, 1);
  failGroup(cells, 0, 1 + GROUP_CELLS);
  assert(!hasFailed(cells, 0, 1));
  assert(hasFailed(cells, 0, 1 + GROUP_CELLS));
});
