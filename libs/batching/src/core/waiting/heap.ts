/** What stands in a heap knows its place there; it stands in one at a time. */
export interface Placed {
  place: number;
}

/** A binary heap: finds the first of its items at once, and takes in, moves or removes one in O(log n). */
export class Heap<T extends Placed> {
  readonly #items: T[] = [];

  /** @param isBefore a strict order; what it looks at changes only with a call of `update` or `rebuild` */
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
    this.#put(last, item.place);
    this.update(last);
  }

  /** Finds the place of an item that may have changed. */
  update(item: T): void {
    while (item.place > 0) {
      const parent = this.#items[(item.place - 1) >> 1];
      if (!parent || !this.isBefore(item, parent)) break;
      this.#swap(parent, item);
    }
    while (2 * item.place + 1 < this.#items.length) {
      const left = this.#items[2 * item.place + 1];
      const right = this.#items[2 * item.place + 2];
      const child = left && right && this.isBefore(right, left) ? right : left;
      if (!child || !this.isBefore(child, item)) break;
      this.#swap(item, child);
    }
  }

  /** Finds the places of all, when the order itself has changed. */
  rebuild(): void {
    for (const item of this.#items.splice(0)) this.push(item);
  }

  #swap(upper: T, lower: T): void {
    const { place } = upper;
    this.#put(upper, lower.place);
    this.#put(lower, place);
  }

  #put(item: T, place: number): void {
    this.#items[place] = item;
    item.place = place;
  }
}
