/**
 * The word that says which calls have begun.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import {
  between,
  claim,
  claimed,
  giveBack,
  MAX_SENT,
  send,
  takeBack,
  takeBackLast,
  unclaimed,
} from "../_internal/claim.ts";
import { Random } from "./_random.ts";

test("A claim word counts on where its halves begin anew", {
  timeout: 20_000,
}, () => {
  const random = new Random(7);
  const cells = new Int32Array(3);
  let [sent, begun, looked] = [0, 0, 0];
  let seen = claimed(cells, 1);
  for (let i = 0; i < 400_000; i++) {
    const waiting = sent - begun;
    const what = random.below(10_000);
    if (what < 20) {
      if (begun > looked) {
        giveBack(cells, 1);
        begun--;
      }
    } else if (what < 5200) {
      if (waiting < MAX_SENT) {
        send(cells, 1);
        sent++;
      }
    } else if (what < 9900) {
      assertEquals(claim(cells, 1), waiting > 0);
      if (waiting > 0) begun++;
    } else if (what < 9999) {
      assertEquals(takeBackLast(cells, 1), waiting > 0);
      if (waiting > 0) sent--;
    } else {
      assertEquals(takeBack(cells, 1), waiting);
      sent = begun;
    }
    assertEquals(unclaimed(cells, 1), sent - begun);
    if (i % 1000 === 0) {
      assertEquals(between(seen, claimed(cells, 1)), begun - looked);
      seen = claimed(cells, 1);
      looked = begun;
    }
  }
  assert(begun > 2 ** 17);
  cells[1] = 0x10000; // one was sent
  giveBack(cells, 1);
  assertEquals(cells[1], 0x1ffff);
  for (const [low, high] of [[0xfffe, 2], [0xffff, 0], [0x7ffe, 0x8001]]) {
    cells[1] = (high! << 16) | low!;
    assertEquals(unclaimed(cells, 1), (high! - low!) & 0xffff);
    assertEquals(takeBack(cells, 1), (high! - low!) & 0xffff);
    assertEquals([unclaimed(cells, 1), claimed(cells, 1)], [0, low]);
    assertEquals(takeBack(cells, 1), 0);
  }
  assertEquals([cells[0], cells[2]], [0, 0]);
});
