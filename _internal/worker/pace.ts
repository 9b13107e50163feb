/**
 * How long calls take: a hint for the pool, which need not wake another worker
 * for calls that this one gets to sooner.
 *
 * @module
 */

import { LaneCell, QUICK_US } from "../protocol.ts";

const { ceil } = Math;
const clock: () => number = performance.now.bind(performance);

/** So many calls tell how long one takes. */
const SAMPLE = 8;

/**
 * Measures calls of one function, as long as no other is called. Once a function
 * is known to be quick, only long rows of calls are measured, from their second
 * on, so that a call that comes alone pays for no look at the clock.
 */
export class Pace {
  readonly #cells: Int32Array;
  #fn = -1;
  #quick = false;
  /** Whether the last row was the first that was not quick. */
  #doubtful = false;
  /** Calls and milliseconds of the sample, and since when time counts. */
  #calls = 0;
  #time = 0;
  #since = 0;

  /** @param cells The words of a lane, where the pool finds the hint. */
  constructor(cells: Int32Array) {
    this.#cells = cells;
  }

  /** A row of calls begins. */
  begin(): void {
    if (this.#quick) this.#calls = 0;
    else this.#since = clock();
  }

  /**
   * A call begins.
   *
   * @param fn The function's number.
   */
  count(fn: number): void {
    if (fn !== this.#fn) {
      this.#fn = fn;
      this.#quick = this.#doubtful = false;
      this.#calls = this.#time = 0;
      this.#since = clock();
    } else if (this.#quick && this.#calls === 1) this.#since = clock();
    this.#calls++;
  }

  /**
   * A row of calls has ended.
   *
   * @param slow Whether it took a millisecond or more.
   */
  end(slow: boolean): void {
    if (this.#fn < 0) return;
    if (this.#quick && this.#calls <= SAMPLE) {
      if (slow) { // it may have been the system: measure
        this.#quick = false;
        this.#doubtful = true;
      }
      this.#calls = this.#time = 0;
      return;
    }
    this.#time += clock() - this.#since;
    const enough = this.#calls >= SAMPLE ||
      this.#time * 1000 > QUICK_US * SAMPLE;
    if (!enough) return;
    const measured = this.#quick ? this.#calls - 1 : this.#calls;
    const each = ceil(this.#time * 1000 / measured);
    this.#calls = this.#time = 0;
    this.#quick = each < QUICK_US;
    // The system stops a thread for milliseconds when it has others to run. One
    // such row is not believed, as the pool would wake still more of them.
    this.#doubtful = !this.#quick && this.#known && !this.#doubtful;
    if (this.#doubtful) return;
    this.#cells[LaneCell.Pace] = this.#quick ? this.#fn << 16 | each : 0;
  }

  /** Whether the pool takes the function for quick. */
  get #known(): boolean {
    return this.#cells[LaneCell.Pace]! >>> 16 === this.#fn &&
      this.#cells[LaneCell.Pace] !== 0;
  }

  /** A call has to wait, or has not ended although it returned. */
  forget(): void {
    this.#fn = -1; // what was measured counts for nothing
    this.#quick = this.#doubtful = false; // so that the next row looks at the clock
    if (this.#cells[LaneCell.Pace] !== 0) this.#cells[LaneCell.Pace] = 0;
  }
}
