import { invariant } from '../invariant.js';

/**
 * An entry of a line; it is in one line at a time, which alone writes its links. Only an entry with `extras`,
 * which hold the link back, can be removed from the middle.
 */
export interface Linked<T> {
  next: T | undefined;
  readonly extras: { previous: T | undefined } | undefined;
}

/**
 * A first-in-first-out line with removal from the middle in O(1).
 *
 * A linked list, because inputs may be dropped in any order (an array would have holes or shift its items),
 * and because a batch is cut off the front without copying: its entries stay linked by `next`.
 */
export class WaitingLine<T extends Linked<T>> {
  first: T | undefined;
  #last: T | undefined;
  length = 0;

  *[Symbol.iterator](): Generator<T> {
    for (let entry = this.first; entry; entry = entry.next) yield entry;
  }

  push(entry: T): void {
    invariant(entry.next === undefined && entry !== this.#last, 'an input stands in a line already');
    if (this.#last) {
      this.#last.next = entry;
      if (entry.extras) entry.extras.previous = this.#last;
    } else {
      this.first = entry;
    }
    this.#last = entry;
    this.length++;
  }

  /**
   * Inserts an entry before the last entries, for which `behind` is true. All entries must have `extras`.
   * Takes time in proportion to the number of entries behind it.
   */
  insert(entry: T, behind: (other: T) => boolean): void {
    let previous = this.#last;
    let next: T | undefined;
    while (previous && behind(previous)) [previous, next] = [previous.extras?.previous, previous];
    if (!next) {
      this.push(entry);
      return;
    }
    const { extras } = entry;
    invariant(
      extras !== undefined && next.extras !== undefined,
      'an input without extras is in a line that is sorted',
    );
    if (previous) previous.next = entry;
    else this.first = entry;
    extras.previous = previous;
    entry.next = next;
    next.extras.previous = entry;
    this.length++;
  }

  remove(entry: T): void {
    const { next, extras } = entry;
    const previous = extras?.previous;
    invariant(
      (previous ? previous.next : this.first) === entry,
      'an input leaves a line that it does not stand in',
    );
    if (previous) previous.next = next;
    else this.first = next;
    if (!next) this.#last = previous;
    else if (next.extras) next.extras.previous = previous;
    if (extras) extras.previous = undefined;
    entry.next = undefined;
    this.length--;
  }

  /**
   * Removes the first `count` entries, or all if there are fewer. @returns the first; the others are linked
   * by `next`
   */
  cut(count: number): T | undefined {
    const { first } = this;
    if (count >= this.length) {
      this.first = this.#last = undefined;
      this.length = 0;
      return first;
    }
    let last = first;
    for (let passed = 1; passed < count; passed++) last = last?.next;
    const rest = last?.next;
    if (last) last.next = undefined;
    if (rest?.extras) rest.extras.previous = undefined;
    invariant(rest !== undefined, 'a line is shorter than it says');
    this.first = rest;
    this.length -= count;
    return first;
  }
}
