/**
 * Calls that wait, any of which may be given up.
 *
 * @module
 */

import type { Call } from "./call.ts";
import { Queue } from "./queue.ts";

/** So many gaps are let be, however few calls are between them. */
const FEW = 1024;

/**
 * Calls in the order of their numbers. One that is taken out leaves its number in
 * its place: those behind it need not move, and any other is found by bisection
 * still. When most places are such gaps they are closed.
 */
export class CallQueue {
  /** Calls, and the numbers of those that were taken out, of which none is first. */
  readonly #places = new Queue<Call | number>();
  #gaps = 0;

  /** How many calls wait. */
  get length(): number {
    return this.#places.length - this.#gaps;
  }

  /** The oldest call, if there is one. */
  get first(): Call | undefined {
    return this.#places.at(0) as Call | undefined;
  }

  /**
   * Adds a call at the end.
   *
   * @param call The call; its number is greater than all others.
   */
  push(call: Call): void {
    this.#places.push(call);
  }

  /**
   * Puts calls back before all others.
   *
   * @param calls The calls, in order; their numbers are smaller than all others.
   */
  unshift(calls: readonly Call[]): void {
    this.#places.unshift(calls);
  }

  /**
   * Takes the oldest call.
   *
   * @returns The call, or `undefined` if there is none.
   */
  shift(): Call | undefined {
    const call = this.#places.shift() as Call | undefined;
    this.#skipGaps();
    return call;
  }

  /**
   * Takes calls out, wherever they are: thousands may be taken out one by one.
   *
   * @param calls The calls.
   * @returns Those that were there.
   */
  remove(calls: Iterable<Call>): Call[] {
    const removed: Call[] = [];
    for (const call of calls) {
      const index = this.#indexOf(call.number);
      if (this.#places.at(index) !== call) continue;
      this.#places.replace(index, call.number);
      this.#gaps++;
      removed.push(call);
    }
    this.#skipGaps();
    if (this.#gaps > FEW && this.#gaps > this.length) {
      this.unshift(this.clear());
    }
    return removed;
  }

  /**
   * Takes all calls.
   *
   * @returns The calls, in order.
   */
  clear(): Call[] {
    const places = this.#places.clear();
    if (this.#gaps === 0) return places as Call[];
    this.#gaps = 0;
    return places.filter((it) => typeof it !== "number");
  }

  #skipGaps(): void {
    while (this.#gaps > 0 && typeof this.#places.at(0) === "number") {
      this.#places.shift();
      this.#gaps--;
    }
  }

  /** How many places have smaller numbers. */
  #indexOf(number: number): number {
    let from = 0;
    let to = this.#places.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      const it = this.#places.at(middle)!;
      if ((typeof it === "number" ? it : it.number) < number) from = middle + 1;
      else to = middle;
    }
    return from;
  }
}
