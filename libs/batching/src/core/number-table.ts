/** An entry, in a chain with the others whose numbers end in the same bits. */
interface Link<Value> {
  readonly number: number;
  readonly of: string;
  /** `undefined` when it was removed. */
  value: Value | undefined;
  next: Link<Value> | undefined;
}

/** Chains at first; a power of two. */
const LEAST = 16;

/**
 * Values by a number ≥ 0, and by the name that gave it where several do.
 *
 *     chains  0 ─ 16 ─ 32      A number's last bits say in which chain it is. Numbers that are counted up fall
 *             1                into as many chains as there are values, so a chain has one link as a rule.
 *             2 ─ 18
 *
 * A `Map` does the same, but is slow where values come and go: it moves into a new table each time that it has taken as many as it
 * has room for, and V8 takes what the old one had for alive until all garbage is collected, as the old one knows the
 * new one. Here nothing that was removed knows anything.
 */
export class NumberTable<Value> {
  #chains = emptyChains<Value>(LEAST);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(number: number, of = ''): Value | undefined {
    let link = this.#chains[number & (this.#chains.length - 1)];
    while (link && (link.number !== number || link.of !== of)) link = link.next;
    return link?.value;
  }

  /** Adds a value; there must be none of this number and name. */
  add(number: number, value: Value, of = ''): void {
    if (this.#size++ === this.#chains.length) this.#grow();
    this.#link({ number, of, value, next: undefined });
  }

  /** @returns whether there was a value */
  delete(number: number, of = ''): boolean {
    const at = number & (this.#chains.length - 1);
    let before: Link<Value> | undefined;
    let link = this.#chains[at];
    while (link && (link.number !== number || link.of !== of)) [before, link] = [link, link.next];
    if (!link) return false;
    if (before) before.next = link.next;
    else this.#chains[at] = link.next;
    link.next = link.value = undefined;
    this.#size--;
    return true;
  }

  /** @returns the values as they are now, by ascending number */
  values(): Value[] {
    const links: Link<Value>[] = [];
    for (const chain of this.#chains) for (let link = chain; link; link = link.next) links.push(link);
    return links.sort((a, b) => a.number - b.number).map(({ value }) => value as Value);
  }

  #link(link: Link<Value>): void {
    const at = link.number & (this.#chains.length - 1);
    link.next = this.#chains[at];
    this.#chains[at] = link;
  }

  #grow(): void {
    const before = this.#chains;
    this.#chains = emptyChains(2 * before.length);
    for (const chain of before) {
      for (let link = chain; link;) {
        const { next } = link;
        this.#link(link);
        link = next;
      }
    }
    before.fill(undefined);
  }
}

function emptyChains<Value>(length: number): (Link<Value> | undefined)[] {
  return new Array<Link<Value> | undefined>(length).fill(undefined);
}
