/** What stands in a line. The links are the line's own; an entry stands in one line at a time. */
export interface Linked<T> {
  next: T | undefined;
  previous: T | undefined;
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
    if (this.#last) {
      this.#last.next = entry;
      entry.previous = this.#last;
    } else {
      this.first = entry;
    }
    this.#last = entry;
    this.length++;
  }

  remove(entry: T): void {
    if (entry.previous) entry.previous.next = entry.next;
    else this.first = entry.next;
    if (entry.next) entry.next.previous = entry.previous;
    else this.#last = entry.previous;
    entry.next = entry.previous = undefined;
    this.length--;
  }

  /** Cuts off everything in front of `rest`, which stood at place `count`. */
  cut(rest: T | undefined, count: number): void {
    if (rest?.previous) {
      rest.previous.next = undefined;
      rest.previous = undefined;
    }
    this.first = rest;
    if (!rest) this.#last = undefined;
    this.length -= count;
  }
}
