import { invariant } from '../invariant.js';

/**
 * What stands in a line. The links are the line's own; an entry stands in one line at a time. An entry that may leave from
 * the middle has `extras` when it comes, for the way back to the one before it; others leave from the front only.
 */
export interface Linked<T> {
  next: T | undefined;
  readonly extras: { previous: T | undefined } | undefined;
}

/**
 * First in, first out, with removal from the middle in constant time.
 *
 * A linked list, because the callers of waiting inputs may go away in any order (an array would keep holes or shift),
 * and because a batch is cut off its front without copying: the entries of a batch stay linked by `next`.
 */
export class WaitingLine<T extends Linked<T>> {
  first: T | undefined;
  #last: T | undefined;
  length = 0;

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

  /** Cuts the first `count` off, or all if there are fewer. @returns the first of a chain linked by `next` */
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
