/**
 * What waits in a row.
 *
 * @module
 */

/** No fewer emptied places than this at its head are cut off. */
const FEW = 1024;

/** A queue of which taking at either end costs nothing, however long it is. */
export class Queue<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  /** How many items wait. */
  get length(): number {
    return this.#items.length - this.#head;
  }

  /**
   * Looks at an item.
   *
   * @param index How many are before it.
   * @returns The item, or `undefined` if there is none.
   */
  at(index: number): T | undefined {
    return this.#items[this.#head + index];
  }

  /**
   * Adds an item at the end.
   *
   * @param item The item.
   */
  push(item: T): void {
    this.#items.push(item);
  }

  /**
   * Puts items back before all others.
   *
   * @param items The items, in order.
   */
  unshift(items: readonly T[]): void {
    if (items.length <= this.#head) {
      for (let i = items.length; i > 0;) {
        this.#items[--this.#head] = items[--i];
      }
    } else {
      this.#items = [...items, ...this.#items.slice(this.#head)];
      this.#head = 0;
    }
  }

  /**
   * Takes the first item.
   *
   * @returns The item, or `undefined` if there is none.
   */
  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    // One alone comes and goes all the time, and need not cost a new array.
    if (this.#items.length === 1) return this.#items.pop();
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head > FEW && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /**
   * Takes the last items.
   *
   * @param count How many; no more than there are.
   * @returns The items, in order.
   */
  takeLast(count: number): T[] {
    return this.#items.splice(this.#items.length - count) as T[];
  }

  /**
   * Puts something in the place of an item.
   *
   * @param index How many are before it; less than the length.
   * @param item What is there from now on.
   */
  replace(index: number, item: T): void {
    this.#items[this.#head + index] = item;
  }

  /**
   * Takes everything.
   *
   * @returns The items, in order.
   */
  clear(): T[] {
    const items = this.#items.slice(this.#head) as T[];
    this.#items = [];
    this.#head = 0;
    return items;
  }
}
