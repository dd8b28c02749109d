/** An item of a heap stores its index in it, so it can be in one heap at a time. */
export interface Indexed {
  index: number;
}

/** A binary heap: its first item in O(1); adding, moving or removing an item in O(log n). */
export class Heap<T extends Indexed> {
  readonly #items: T[] = [];

  /**
   * @param isBefore a strict order; after a change of what it compares, `update` or `rebuild` must be called
   */
  constructor(private readonly isBefore: (one: T, other: T) => boolean) {}

  get first(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    this.#put(item, this.#items.length);
    this.update(item);
  }

  remove(item: T): void {
    const last = this.#items.pop();
    if (!last || last === item) return;
    this.#put(last, item.index);
    this.update(last);
  }

  /** Moves an item that may have changed to where it belongs. */
  update(item: T): void {
    while (item.index > 0) {
      const parent = this.#items[(item.index - 1) >> 1];
      if (!parent || !this.isBefore(item, parent)) break;
      this.#swap(parent, item);
    }
    while (2 * item.index + 1 < this.#items.length) {
      const left = this.#items[2 * item.index + 1];
      const right = this.#items[2 * item.index + 2];
      const child = left && right && this.isBefore(right, left) ? right : left;
      if (!child || !this.isBefore(child, item)) break;
      this.#swap(item, child);
    }
  }

  /** Restores the order of all items after `isBefore` has changed. */
  rebuild(): void {
    for (const item of this.#items.splice(0)) this.push(item);
  }

  #swap(upper: T, lower: T): void {
    const { index } = upper;
    this.#put(upper, lower.index);
    this.#put(lower, index);
  }

  #put(item: T, index: number): void {
    this.#items[index] = item;
    item.index = index;
  }
}
