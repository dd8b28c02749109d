import { Heap, type Placed } from './heap.js';
import { type Linked, WaitingLine } from './waiting-line.js';

/** What waits: linked into one line; with a ticket, unless it is plain (no group, priority, tenant or cost). */
export interface Waiting<T extends Waiting<T>> extends Linked<T> {
  /** `order` tells turns apart that are so short that the clock does not. */
  readonly turn: { readonly at: number; readonly order: number };
  readonly extras: { previous: T | undefined; readonly ticket: Ticket<T> | undefined } | undefined;
}

/** Where an input that is not plain stands, and what it costs. */
export interface Ticket<T extends Waiting<T>> {
  readonly group: unknown;
  readonly priority: number;
  readonly tenant: unknown;
  readonly cost: number;
  line: Line<T> | undefined;
}

/** Inputs that may share a batch. */
export class Group<T extends Waiting<T>> implements Placed {
  place = 0;
  readonly #levels = new Map<number, Level<T>>();
  /** By what their next input is worth. */
  readonly #byMerit: Heap<Level<T>>;
  /** By what has waited longest in them. */
  readonly #byAge = new Heap<Line<T>>((one, other) => {
    if (!one.first || !other.first) return one.first !== undefined;
    return one.first.turn.order < other.first.turn.order;
  });
  /** The line of plain inputs, in the common group. */
  plain: Line<T> | undefined;
  /** Inputs in other lines than that. */
  elsewhere = 0;
  cost = 0;

  constructor(
    readonly key: unknown,
    /** Tells which of two groups is older. */
    readonly order: number,
    aging: number,
  ) {
    this.#byMerit = new Heap((one, other) => {
      const [first, otherFirst] = [one.nextLine()?.first, other.nextLine()?.first];
      if (!first || !otherFirst) return first !== undefined;
      const merit = (one.priority - other.priority) * aging - (first.turn.at - otherFirst.turn.at);
      return merit > 0 || (merit === 0 && one.priority > other.priority);
    });
  }

  get length(): number {
    return this.plain ? this.elsewhere + this.plain.length : this.elsewhere;
  }

  /** Whether the next batch is as full as it can get. */
  isFull(batchSize: number, maxCost: number): boolean {
    return this.cost >= maxCost || this.length >= batchSize;
  }

  /** The input that has waited longest, whatever its priority. */
  get oldest(): T | undefined {
    return this.#byAge.first?.first;
  }

  line(priority: number, tenant: unknown): Line<T> {
    let level = this.#levels.get(priority);
    if (!level) {
      level = new Level(this, priority);
      this.#levels.set(priority, level);
      this.#byMerit.push(level);
    }
    const known = level.lines.get(tenant);
    if (known) return known;
    const line = level.open(tenant);
    this.#byAge.push(line);
    return line;
  }

  /** The line to take the next input from, if there is any. */
  nextLine(): Line<T> | undefined {
    return this.#byMerit.first?.nextLine();
  }

  /** Finds the places of a line and its level anew, after it has changed. */
  rank(line: Line<T>): void {
    if (line.isOpen) this.#byAge.update(line);
    if (line.level.lines.size > 0) this.#byMerit.update(line.level);
  }

  close(line: Line<T>): void {
    const { level } = line;
    level.close(line);
    this.#byAge.remove(line);
    if (level.lines.size > 0) return;
    this.#levels.delete(level.priority);
    this.#byMerit.remove(level);
  }

  *lines(): Generator<Line<T>> {
    for (const level of this.#levels.values()) yield* level.lines.values();
  }
}

/** Inputs of one priority. */
class Level<T extends Waiting<T>> implements Placed {
  place = 0;
  /** A line for each tenant with inputs that wait. */
  readonly lines = new Map<unknown, Line<T>>();
  /** Whose turn it is. The lines stand in a ring, in the order of their turns. */
  #next: Line<T> | undefined;

  constructor(
    readonly group: Group<T>,
    readonly priority: number,
  ) {}

  open(tenant: unknown): Line<T> {
    const line = new Line(this, tenant);
    this.lines.set(tenant, line);
    if (this.#next) line.joinBefore(this.#next);
    else this.#next = line;
    return line;
  }

  close(line: Line<T>): void {
    this.lines.delete(line.tenant);
    if (this.#next === line) this.#next = line.after === line ? undefined : line.after;
    line.close();
  }

  /** Only the line of plain inputs may be empty. */
  nextLine(): Line<T> | undefined {
    return this.#next?.length === 0 ? this.#next.after : this.#next;
  }

  /** The tenant has had its turn. */
  turnOver(line: Line<T>): void {
    if (line.isOpen) this.#next = line.after;
  }
}

/** The inputs of one tenant. */
export class Line<T extends Waiting<T>> extends WaitingLine<T> implements Placed {
  place = 0;
  isOpen = true;
  after: Line<T> = this;
  #before: Line<T> = this;

  constructor(
    readonly level: Level<T>,
    readonly tenant: unknown,
  ) {
    super();
  }

  joinBefore(line: Line<T>): void {
    this.after = line;
    this.#before = line.#before;
    this.#before.after = line.#before = this;
  }

  close(): void {
    this.#before.after = this.after;
    this.after.#before = this.#before;
    this.isOpen = false;
  }
}
