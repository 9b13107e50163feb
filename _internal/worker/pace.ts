/**
 * How long calls take: a hint for the pool, which need not wake another worker
 * for calls that this one gets to sooner.
 *
 * @module
 */

import { LaneCell, LONG_US, MAX_DEFINITIONS, QUICK_US } from "../protocol.ts";
import { now } from "../runtime/loop.ts";

const { ceil, max, min } = Math;

/** So many calls tell how long one takes. */
const SAMPLE = 8;

/** What is known of a function. */
interface Sample {
  quick: boolean;
  /** Whether what was measured last was the first that was not quick. */
  doubtful: boolean;
  /** Calls that were timed since it was last told how long one takes, and their time. */
  calls: number;
  time: number;
}

/**
 * Measures calls, of each function apart. Of one that is known to be quick only
 * long rows are measured, from the second call on, so that a call that comes
 * alone pays for no look at the clock.
 */
export class Pace {
  readonly #cells: Int32Array;
  /** By number of the function; no map, whose methods a task could replace. */
  readonly #samples: Record<number, Sample> = Object.create(null);
  /** Likewise, of calls that are not quick, or had to wait. */
  readonly #slow: Record<number, Sample> = Object.create(null);
  /** The function that is called, since when that is timed, or -1, and how often it was. */
  #fn = -1;
  #sample = newSample();
  #since = -1;
  #calls = 0;
  #timed = 0;
  /** Of what the row began with, if its first call was not timed and few followed. */
  #untimed: Sample | undefined;

  /** @param cells The words of a lane, where the pool finds the hint. */
  constructor(cells: Int32Array) {
    this.#cells = cells;
  }

  /** A row of calls begins. */
  begin(): void {
    this.#calls = this.#timed = 0;
    this.#since = this.#sample.quick ? -1 : now();
    this.#untimed = undefined;
  }

  /**
   * A call begins.
   *
   * @param fn The function's number.
   */
  count(fn: number): void {
    if (fn !== this.#fn) this.#turnTo(fn);
    else if (this.#since < 0 && this.#calls === 1) this.#since = now();
    this.#calls++;
    if (this.#since >= 0) this.#timed++;
  }

  /** Calls of another function follow. */
  #turnTo(fn: number): void {
    const sample = this.#samples[fn] ??= newSample();
    const isFirst = this.#calls === 0;
    const time = isFirst && sample.quick ? -1 : now();
    if (!isFirst) this.#add(time);
    this.#fn = fn;
    this.#sample = sample;
    this.#calls = this.#timed = 0;
    this.#since = time;
  }

  /**
   * A row of calls has ended.
   *
   * @param slow Whether it may have taken a millisecond or more.
   */
  end(slow: boolean): void {
    if (this.#fn < 0) return;
    if (!this.#sample.quick || this.#calls > SAMPLE || slow) this.#add(now());
    const untimed = this.#untimed;
    if (!slow || untimed === undefined) return;
    // It may have been the system: measure.
    untimed.quick = false;
    untimed.doubtful = true;
    untimed.calls = untimed.time = 0;
  }

  /** Adds what was called up to now to what is known of it. */
  #add(until: number): void {
    const sample = this.#sample;
    if (this.#calls <= SAMPLE && this.#timed < this.#calls) {
      this.#untimed = sample;
    }
    if (this.#timed === 0) return;
    sample.calls += this.#timed;
    sample.time += until - this.#since;
    const { calls, time } = sample;
    const enough = calls >= SAMPLE || time * 1000 > QUICK_US * SAMPLE;
    if (!enough) return;
    const each = max(1, ceil(time * 1000 / calls));
    sample.calls = sample.time = 0;
    sample.quick = each < QUICK_US;
    // The system stops a thread for milliseconds when it has others to run. One
    // such row is not believed if it says that the function is not quick after
    // all, and counts as twice as slow at most: the pool would wake still more.
    const known = this.#told(this.#fn);
    const wasQuick = known > 0 && known < QUICK_US;
    const isNews = wasQuick && !sample.quick && !sample.doubtful;
    sample.doubtful = isNews;
    if (isNews) return;
    if (sample.quick) {
      this.#tell(this.#fn, wasQuick ? min(each, 2 * known) : each);
    } else {
      if (wasQuick) this.#tell(this.#fn, 0);
      this.#measure(this.#fn, calls, time);
    }
  }

  /** Adds calls that are not quick to what is known of their function. */
  #measure(fn: number, calls: number, milliseconds: number): void {
    const sample = this.#slow[fn] ??= newSample();
    sample.calls += calls;
    sample.time += milliseconds;
    const { time } = sample;
    if (sample.calls < SAMPLE && time * 1000 < LONG_US * SAMPLE) return;
    const each = ceil(time * 1000 / sample.calls);
    this.#tell(fn, max(QUICK_US, each));
    sample.calls = sample.time = 0;
  }

  /** What the pool takes a call of a function to take; `0` if long, or not known. */
  #told(fn: number): number {
    return fn < MAX_DEFINITIONS ? this.#cells[LaneCell.Paces + fn]! : 0;
  }

  #tell(fn: number, each: number): void {
    if (fn >= MAX_DEFINITIONS) return; // the pool takes those for long
    const told = each < LONG_US ? each : 0;
    if (this.#told(fn) !== told) this.#cells[LaneCell.Paces + fn] = told;
  }

  /**
   * A call has ended that had to wait. How quick such a function may be, it is not
   * taken for quick.
   *
   * @param fn The function's number.
   * @param milliseconds How long the call took.
   */
  waited(fn: number, milliseconds: number): void {
    this.#measure(fn, 1, milliseconds);
  }

  /** A call has to wait, or has not ended although it returned. */
  forget(): void {
    if (this.#fn < 0) return;
    if (this.#told(this.#fn) < QUICK_US) this.#tell(this.#fn, 0);
    // What was measured counts for nothing.
    this.#sample = this.#samples[this.#fn] = newSample();
    this.#fn = -1;
  }
}

function newSample(): Sample {
  return { quick: false, doubtful: false, calls: 0, time: 0 };
}
