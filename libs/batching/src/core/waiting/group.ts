import { Heap, type Indexed } from './heap.js';
import { type Linked, WaitingLine } from './waiting-line.js';

/**
 * A waiting input: linked into one line, and with a ticket if it has a group, priority, tenant or cost; else
 * it is plain.
 */
export interface Waiting<T extends Waiting<T>> extends Linked<T> {
  /** `order` distinguishes turns with the same time. */
  readonly turn: { readonly at: number; readonly order: number };
  readonly extras: { previous: T | undefined; ticket: Ticket<T> | undefined } | undefined;
}

/** Group, priority, tenant and cost of an input that is not plain, and the line that it stands in. */
export interface Ticket<T extends Waiting<T>> {
  readonly group: unknown;
  readonly priority: number;
  readonly tenant: unknown;
  readonly cost: number;
  line: Line<T> | undefined;
}

/** Inputs that may share a batch. */
export class Group<T extends Waiting<T>> implements Indexed {
  index = 0;
  readonly #levels = new Map<number, Level<T>>();
  /** Levels by the priority of their next input, with aging. */
  readonly #byMerit: Heap<Level<T>>;
  /** Lines by their oldest input. */
  readonly #byAge = new Heap<Line<T>>((one, other) => {
    if (!one.first || !other.first) return one.first !== undefined;
    return one.first.turn.order < other.first.turn.order;
  });
  /** The line of plain inputs, in the common group only. */
  plain: Line<T> | undefined;
  /** Inputs in other lines than `plain`. */
  elsewhere = 0;
  /** Total cost of its inputs. */
  cost = 0;

  constructor(
    readonly key: unknown,
    /** Increases with every group that is created. */
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

  /** Whether its inputs suffice for a full batch. */
  fillsBatch(batchSize: number, maxCost: number): boolean {
    return this.cost >= maxCost || this.length >= batchSize;
  }

  /** The input that has waited longest, of all priorities. */
  get oldest(): T | undefined {
    return this.#byAge.first?.first;
  }

  /** The line of a tenant and a priority; created if there is none. */
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

  /** The line whose first input leaves next. */
  nextLine(): Line<T> | undefined {
    return this.#byMerit.first?.nextLine();
  }

  /** Restores the order of the heaps after the line has changed. */
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

/** The inputs of one priority in a group. */
class Level<T extends Waiting<T>> implements Indexed {
  index = 0;
  /** The lines by tenant. */
  readonly lines = new Map<unknown, Line<T>>();
  /** The line that has the next turn, in a ring of all lines in the order of their turns. */
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

  /** The line that has the next turn; skips the plain line, which alone may be empty. */
  nextLine(): Line<T> | undefined {
    return this.#next?.length === 0 ? this.#next.after : this.#next;
  }

  /** Passes the turn on after an input of the line was taken. */
  turnOver(line: Line<T>): void {
    if (line.isOpen) this.#next = line.after;
  }
}

/** The inputs of one tenant in a level, and its links in the ring of the level's lines. */
export class Line<T extends Waiting<T>> extends WaitingLine<T> implements Indexed {
  index = 0;
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
