/**
 * A value that comes once, and those who wait for it in this thread.
 *
 * @module
 */

import { type Limits, whenOver } from "./limits.ts";
import { hold, nextTurn, release } from "./runtime/loop.ts";

/**
 * A value that comes once. Unlike a promise it forgets a wait that timed out,
 * and holds the program while somebody waits.
 */
export class Latch<T> {
  readonly #waits = new Set<() => void>();
  #content: { value: T } | undefined;

  /** The value in a box, once it has come. */
  get content(): { value: T } | undefined {
    return this.#content;
  }

  /**
   * Brings the value; the first one stays.
   *
   * @param value The value.
   */
  open(value: T): void {
    if (this.#content !== undefined) return;
    this.#content = { value };
    for (const end of this.#waits) end();
  }

  /**
   * Waits for the value.
   *
   * @param limits How long.
   * @returns The value in a box, or `undefined` if the time ran out.
   * @throws The signal's reason.
   */
  wait(limits: Limits): Promise<{ value: T } | undefined> {
    const { timeout, signal } = limits;
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#content !== undefined) return Promise.resolve(this.#content);
    if (timeout === 0) {
      // In a later turn, or who polls in a loop would never hear of what happens elsewhere.
      return new Promise((resolve) => nextTurn(() => resolve(undefined)));
    }
    return new Promise((resolve, reject) => {
      const end = () => {
        this.#waits.delete(end);
        stop();
        if (signal?.aborted) reject(signal.reason);
        else resolve(this.#content);
        release();
      };
      const stop = whenOver(limits, end);
      this.#waits.add(end);
      hold();
    });
  }
}
