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
   * Takes one item out.
   *
   * @param index How many are before it; less than the length.
   * @returns The item.
   */
  takeAt(index: number): T {
    const at = this.#head + index;
    const item = this.#items[at]!;
    if (index * 2 < this.length) {
      // The fewer are moved: calls are often given up in the order they came in.
      this.#items.copyWithin(this.#head + 1, this.#head, at);
      this.shift();
    } else this.#items.splice(at, 1);
    return item;
  }

  /**
   * Takes items out, wherever they are. The queue has to be in the order of their
   * numbers: thousands may be taken out one by one.
   *
   * @param items The items.
   * @param numberOf Tells an item's number.
   * @returns Those that were there.
   */
  remove(items: ReadonlySet<T>, numberOf: (item: T) => number): T[] {
    if (items.size === 1) {
      const [item] = items;
      const index = this.#indexOf(numberOf(item!), numberOf);
      return this.at(index) === item ? [this.takeAt(index)] : [];
    }
    const removed: T[] = [];
    const kept: T[] = [];
    for (const item of this.clear()) {
      (items.has(item) ? removed : kept).push(item);
    }
    this.#items = kept;
    return removed;
  }

  /** How many items have smaller numbers. */
  #indexOf(number: number, numberOf: (item: T) => number): number {
    let from = 0;
    let to = this.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (numberOf(this.at(middle)!) < number) from = middle + 1;
      else to = middle;
    }
    return from;
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
