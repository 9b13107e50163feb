/**
 * The shared state of a barrier and its transitions, each of them one
 * compare-and-exchange; nobody sleeps here.
 *
 * Every cycle has a generation. One word says where the barrier is:
 *
 * | phase | the cycle of this generation | leaves by |
 * | --- | --- | --- |
 * | Filling | `count` parties have arrived | the last arrival, `abort`, and, once one has arrived, `reset`, a party that gives up |
 * | Acting | all have arrived, the last one runs the action | the action's end, `reset`, `abort` |
 * | ActingThenBreak | the same, and a latecomer to it has given up | the same |
 * | Resetting | has ended badly, the barrier stays usable | `finish`, by whoever comes by |
 * | Breaking | has ended badly, the barrier breaks | `finish`, by whoever comes by |
 * | Broken | does not begin | `reset` |
 *
 * ARCHITECTURE.md has every transition. A cycle that passes goes straight to the
 * next generation, and one in which nobody has arrived keeps its own when the
 * barrier breaks. One that ends badly first goes to Resetting or Breaking, which
 * decides it; then its generation is written to the history, then the count of bad
 * ends goes up, then the word moves on. Any thread may do these three steps, and
 * several may at once: each is a compare-and-exchange whose second try fails. So a
 * thread may die between any two of them.
 *
 * A party that wakes many generations late asks: was there a bad end since I
 * arrived? If not, my cycle passed. Else, was the first one my generation's?
 * That one stands in the history at the count I saw when I arrived.
 *
 * @module
 */

import { sharedCells } from "./runtime/memory.ts";

/** [all] Phase in the low 3 bits, then the count, then the generation. */
export const WORD = 0;
/** [finish] How many cycles ended badly, mod 2^32. */
const BAD = 1;
/** [finish] The generations of the last bad ends. */
const HISTORY = 2;
/** How many bad ends a party may oversleep; a power of two. */
const HISTORY_LENGTH = 8192;

const Phase = {
  Filling: 0,
  Acting: 1,
  ActingThenBreak: 2,
  Resetting: 3,
  Breaking: 4,
  Broken: 5,
} as const;

/** A party that has arrived and waits. */
export interface Place {
  /** How many came before it. */
  readonly index: number;
  /** The cycle it belongs to. */
  readonly generation: number;
  /** Bad ends before it arrived. */
  readonly bad: number;
}

/** What became of an attempt to arrive. */
export type Arrival =
  | { kind: "waiting" | "passed" | "acting"; place: Place }
  | { kind: "outside" }
  | { kind: "broken" };

/** How a cycle ended. */
export type Outcome = "passed" | "broken";

/** The words of one barrier. */
export class BarrierState {
  /** The shared memory. */
  readonly cells: Int32Array;
  readonly #parties: number;
  readonly #countBits: number;
  readonly #countMask: number;

  /**
   * @param parties Arrivals that make a cycle.
   * @param cells The memory of a barrier that exists.
   */
  constructor(parties: number, cells?: Int32Array) {
    this.cells = cells ?? sharedCells(HISTORY + HISTORY_LENGTH, "barrier");
    this.#parties = parties;
    // As many bits as the count needs, the others are the generation's.
    const bits = parties >= 2 ** 28 ? 28 : 32 - Math.clz32(parties - 1);
    this.#countBits = Math.max(1, bits);
    this.#countMask = 2 ** this.#countBits - 1;
  }

  /** How many parties wait in this cycle. */
  get waiting(): number {
    const word = this.#settled();
    const phase = word & 7;
    if (phase === Phase.Filling) return this.#count(word);
    return phase === Phase.Broken ? 0 : this.#parties;
  }

  /** Whether only `reset` helps. */
  get broken(): boolean {
    return (this.#settled() & 7) === Phase.Broken;
  }

  /** Whether the action of a cycle runs, so that nobody can arrive. */
  get acting(): boolean {
    return isActing(Atomics.load(this.cells, WORD) & 7);
  }

  /**
   * Tells whether nothing has ended a cycle yet whose action runs.
   *
   * @param place The party that runs it.
   * @returns Whether it goes on.
   */
  isActing(place: Place): boolean {
    const word = Atomics.load(this.cells, WORD);
    return this.#generation(word) === place.generation && isActing(word & 7);
  }

  /**
   * Arrives, if that can be.
   *
   * @param acts Whether the last party has an action to run.
   * @returns What became of it.
   */
  arrive(acts: boolean): Arrival {
    for (;;) {
      const word = this.#settled();
      const phase = word & 7;
      if (phase === Phase.Broken) return { kind: "broken" };
      if (phase !== Phase.Filling) return { kind: "outside" };
      const count = this.#count(word);
      const generation = this.#generation(word);
      // Moves only while the phase is Resetting or Breaking, so if the exchange
      // below succeeds it is what it was when this party arrived.
      const bad = Atomics.load(this.cells, BAD);
      const place = { index: count, generation, bad };
      if (count + 1 < this.#parties) {
        const next = this.#pack(generation, count + 1, Phase.Filling);
        if (this.#exchange(word, next)) return { kind: "waiting", place };
      } else if (acts) {
        const next = this.#pack(generation, 0, Phase.Acting);
        if (this.#exchange(word, next)) return { kind: "acting", place };
      } else {
        const next = this.#pack(generation + 1, 0, Phase.Filling);
        if (this.#exchange(word, next)) return { kind: "passed", place };
      }
    }
  }

  /**
   * Tells how a party's cycle ended, however long ago.
   *
   * @param place What {@linkcode arrive} returned.
   * @returns `undefined` while it has not ended.
   */
  outcome(place: Place): Outcome | undefined {
    const word = Atomics.load(this.cells, WORD);
    if (Atomics.load(this.cells, BAD) === place.bad) {
      if (this.#generation(word) !== place.generation) return "passed";
      if (!isEnding(word & 7)) return undefined;
      this.#finish(word);
      return "broken";
    }
    const first = Atomics.load(this.cells, historyCell(place.bad));
    const since = (Atomics.load(this.cells, BAD) - place.bad) >>> 0;
    if (since >= HISTORY_LENGTH) return "broken"; // overwritten by now
    return first === place.generation ? "broken" : "passed";
  }

  /**
   * Ends the action of a cycle.
   *
   * @param place The party that ran it.
   * @param outcome Whether it succeeded.
   * @returns Whether that decided the cycle; `false` after a `reset` or `abort`.
   */
  endAction(place: Place, outcome: Outcome): boolean {
    for (;;) {
      const word = Atomics.load(this.cells, WORD);
      const phase = word & 7;
      if (
        this.#generation(word) !== place.generation || !isActing(phase)
      ) return false;
      if (outcome === "broken") {
        if (this.#end(word, Phase.Breaking)) return true;
        continue;
      }
      const after = phase === Phase.Acting ? Phase.Filling : Phase.Broken;
      if (this.#exchange(word, this.#pack(place.generation + 1, 0, after))) {
        return true;
      }
    }
  }

  /**
   * Breaks the barrier because a party gives up.
   *
   * @param place The party.
   * @returns Whether that decided its cycle; `false` once all have arrived.
   */
  giveUp(place: Place): boolean {
    for (;;) {
      const word = Atomics.load(this.cells, WORD);
      if (
        this.#generation(word) !== place.generation ||
        (word & 7) !== Phase.Filling
      ) return false;
      if (this.#end(word, Phase.Breaking)) return true;
    }
  }

  /**
   * Breaks the next cycle because a latecomer to an action gives up.
   *
   * @returns `false` if no action runs any more.
   */
  giveUpOutside(): boolean {
    for (;;) {
      const word = Atomics.load(this.cells, WORD);
      const phase = word & 7;
      if (phase === Phase.ActingThenBreak) return true;
      if (phase !== Phase.Acting) return false;
      const generation = this.#generation(word);
      const next = this.#pack(generation, 0, Phase.ActingThenBreak);
      if (this.#exchange(word, next)) return true;
    }
  }

  /** Breaks the barrier. */
  abort(): void {
    for (;;) {
      const word = this.#settled();
      const phase = word & 7;
      if (phase === Phase.Broken) return;
      if (phase === Phase.Filling && this.#count(word) === 0) {
        const generation = this.#generation(word);
        if (this.#exchange(word, this.#pack(generation, 0, Phase.Broken))) {
          return;
        }
      } else if (this.#end(word, Phase.Breaking)) return;
    }
  }

  /** Mends the barrier and ends a cycle that has begun. */
  reset(): void {
    for (;;) {
      const word = this.#settled();
      const phase = word & 7;
      if (phase === Phase.Filling && this.#count(word) === 0) return;
      if (phase === Phase.Broken) {
        const generation = this.#generation(word);
        if (this.#exchange(word, this.#pack(generation, 0, Phase.Filling))) {
          return;
        }
      } else if (this.#end(word, Phase.Resetting)) return;
    }
  }

  /**
   * Decides that a cycle ends badly. The count makes room for one bit of the
   * number of bad ends, by which {@linkcode #finish} sees whether it was counted.
   */
  #end(word: number, phase: number): boolean {
    const parity = Atomics.load(this.cells, BAD) & 1;
    const next = this.#pack(this.#generation(word), parity, phase);
    if (!this.#exchange(word, next)) return false;
    // Those who sleep must be woken before anything else can happen to us.
    Atomics.notify(this.cells, WORD);
    this.#finish(next);
    return true;
  }

  #finish(word: number): void {
    const { cells } = this;
    const generation = this.#generation(word);
    const bad = Atomics.load(cells, BAD);
    if ((bad & 1) === this.#count(word)) {
      const cell = historyCell(bad);
      const old = Atomics.load(cells, cell);
      // Still undecided, so what was read above belongs to this very end.
      if (Atomics.load(cells, WORD) !== word) return;
      Atomics.compareExchange(cells, cell, old, generation);
      Atomics.compareExchange(cells, BAD, bad, (bad + 1) | 0);
    }
    const phase = (word & 7) === Phase.Breaking ? Phase.Broken : Phase.Filling;
    this.#exchange(word, this.#pack(generation + 1, 0, phase));
  }

  /** The word, after every bad end has been finished. */
  #settled(): number {
    for (;;) {
      const word = Atomics.load(this.cells, WORD);
      if (!isEnding(word & 7)) return word;
      this.#finish(word);
    }
  }

  #exchange(word: number, next: number): boolean {
    return Atomics.compareExchange(this.cells, WORD, word, next) === word;
  }

  #pack(generation: number, count: number, phase: number): number {
    return (generation << (this.#countBits + 3)) | (count << 3) | phase;
  }

  #count(word: number): number {
    return (word >>> 3) & this.#countMask;
  }

  #generation(word: number): number {
    return word >>> (this.#countBits + 3);
  }
}

function historyCell(bad: number): number {
  return HISTORY + (bad & (HISTORY_LENGTH - 1));
}

function isActing(phase: number): boolean {
  return phase === Phase.Acting || phase === Phase.ActingThenBreak;
}

function isEnding(phase: number): boolean {
  return phase === Phase.Resetting || phase === Phase.Breaking;
}
