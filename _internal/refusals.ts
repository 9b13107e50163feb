/**
 * When the system is asked again for a worker that it could not give: it may have
 * no thread, no file or no memory to spare for a while.
 *
 * @module
 */

import { now } from "./runtime/loop.ts";

/**
 * The first pause; each further one is twice as long, up to a limit: about what calls
 * wait for that no worker is left for.
 */
const PAUSE_MS = 100;
const MAX_PAUSE_MS = 3000;

/** After so many refusals in a row nobody can tell when there will be a worker. */
const PATIENCE = 5;

/** How often the system has refused, and when it is asked again. */
export class Refusals {
  /** How many there were in all. */
  count = 0;
  #inRow = 0;
  #until = -Infinity;
  readonly #clock: () => number;

  /** @param clock Tells milliseconds that never go back. */
  constructor(clock: () => number = now) {
    this.#clock = clock;
  }

  /** Whether it is not yet to be asked again. */
  get isPausing(): boolean {
    return this.#clock() < this.#until;
  }

  /** Whether there were more than who needs a worker at once should wait for. */
  get areTooMany(): boolean {
    return this.#inRow > PATIENCE;
  }

  /**
   * Notes a refusal.
   *
   * @returns After how many milliseconds the system is to be asked again.
   */
  add(): number {
    this.count++;
    const pause = Math.min(PAUSE_MS * 2 ** this.#inRow++, MAX_PAUSE_MS);
    this.#until = this.#clock() + pause;
    return pause;
  }

  /** The pause is over, or somebody needs a worker who cannot wait. */
  ask(): void {
    this.#until = -Infinity;
  }

  /** The system gives workers again. */
  clear(): void {
    this.#inRow = 0;
    this.#until = -Infinity;
  }
}
