import { Heap, type Placed } from './heap.js';
import { Tally } from './tally.js';
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

/**
 * Everything that waits, and which of it travels next.
 *
 * Inputs of one group may share a batch. Within a group the highest priority comes first, but each level of priority
 * is only worth `aging` milliseconds of waiting, so the lowest is late and never starved. Within a priority the
 * tenants take turns. Within a tenant the order is that of arrival.
 *
 *     room ─┬─ group ─┬─ level (priority 1) ─── line (tenant a)    heaps: groups in the room; levels, and lines by
 *           │         └─ level (priority 0) ─┬─ line (tenant a)    their oldest input, in a group
 *           │                                └─ line (tenant b)    ring: lines in a level
 *           └─ …
 *
 * Plain inputs, which is all of them until somebody asks for more, stand in one line that is cut without a look at
 * the rest; while there are no tickets it is alone in the heaps, and they need not hear of it. With tickets an input costs O(log n), however many groups,
 * priorities and tenants there are.
 */
export class WaitingRoom<T extends Waiting<T>> {
  readonly #plain: Line<T>;
  readonly #common: Group<T>;
  /** Groups that hold somebody; the common one, where plain inputs stand, is kept for good. */
  readonly #groups = new Map<unknown, Group<T>>();
  readonly #ranking: Heap<Group<T>>;
  #groupsMade = 0;
  /** What a full batch is, as last asked for. */
  #batchSize = Infinity;
  #maxCost = Infinity;
  /** Inputs with a ticket, and those of them that stand in another line than the plain one, also by their priority. */
  #ticketed = 0;
  #elsewhere = 0;
  readonly #priorities = new Tally();
  /** Sum of the costs of all that waits. */
  cost = 0;

  /** `aging`: milliseconds of waiting that one level of priority is worth. */
  constructor(readonly aging: number) {
    this.#ranking = new Heap((one, other) => this.#goesBefore(one, other));
    this.#common = this.#open(undefined);
    this.#plain = this.#common.plain = this.#common.line(0, undefined);
  }

  get length(): number {
    return this.#plain.length + this.#elsewhere;
  }

  push(entry: T): void {
    const ticket = entry.extras?.ticket;
    if (!ticket) {
      this.#plain.push(entry);
      if (this.#ticketed > 0) this.#rank(this.#plain);
      return;
    }
    const group = this.#groups.get(ticket.group) ?? this.#open(ticket.group);
    const line = (ticket.line = group.line(ticket.priority, ticket.tenant));
    line.push(entry);
    group.cost += ticket.cost;
    this.cost += ticket.cost;
    this.#ticketed++;
    if (line !== this.#plain) {
      this.#elsewhere++;
      group.elsewhere++;
      this.#priorities.add(ticket.priority, 1);
    }
    this.#rank(line);
  }

  remove(entry: T): void {
    const line = this.#unlink(entry);
    if (this.#ticketed > 0 || line !== this.#plain) this.#rank(line);
  }

  /** The group to send off next: of those that can fill a batch, else of all, the one whose oldest came first. */
  next(batchSize: number, maxCost: number): Group<T> | undefined {
    if (this.#ticketed === 0) return this.#plain.length === 0 ? undefined : this.#common;
    if (batchSize !== this.#batchSize || maxCost !== this.#maxCost) {
      [this.#batchSize, this.#maxCost] = [batchSize, maxCost];
      this.#ranking.rebuild();
    }
    return this.#ranking.first;
  }

  /**
   * Takes the next batch of a group: at most `batchSize` inputs that cost at most `maxCost` together.
   *
   * @returns the first entry of a chain linked by `next`
   */
  take(group: Group<T>, batchSize: number, maxCost: number): T | undefined {
    if (this.#ticketed === 0) return this.#plain.cut(batchSize);
    let first: T | undefined;
    let last: T | undefined;
    let cost = 0;
    for (let size = 0; size < batchSize; size++) {
      const line = group.nextLine();
      const entry = line?.first;
      if (!line || !entry) break;
      cost += entry.extras?.ticket?.cost ?? 0;
      if (cost > maxCost) break;
      this.#unlink(entry);
      line.level.turnOver(line);
      group.rank(line);
      if (last) last.next = entry;
      else first = entry;
      last = entry;
    }
    if (first) this.#rankGroup(group);
    return first;
  }

  /** Inputs that would leave before one of this priority that came now, aging aside. */
  ahead(priority: number): number {
    return this.#priorities.atLeast(priority) + (priority > 0 ? 0 : this.#plain.length);
  }

  /** In no order that is promised. */
  *[Symbol.iterator](): Generator<T> {
    for (const group of this.#groups.values()) {
      for (const line of group.lines()) {
        for (let entry = line.first; entry; entry = entry.next) yield entry;
      }
    }
  }

  #open(key: unknown): Group<T> {
    const group = new Group<T>(key, this.#groupsMade++, this.aging);
    this.#groups.set(key, group);
    this.#ranking.push(group);
    return group;
  }

  /** Takes an input out of its line; where that stands now among others is for `#rank` to find. */
  #unlink(entry: T): Line<T> {
    const ticket = entry.extras?.ticket;
    const line = ticket?.line ?? this.#plain;
    line.remove(entry);
    if (!ticket) return line;
    const { group } = line.level;
    group.cost -= ticket.cost;
    this.cost -= ticket.cost;
    this.#ticketed--;
    if (line === this.#plain) return line;
    this.#elsewhere--;
    group.elsewhere--;
    this.#priorities.add(ticket.priority, -1);
    if (line.length === 0) group.close(line);
    return line;
  }

  #rank(line: Line<T>): void {
    const { group } = line.level;
    group.rank(line);
    this.#rankGroup(group);
  }

  #rankGroup(group: Group<T>): void {
    if (group === this.#common || group.elsewhere > 0) {
      this.#ranking.update(group);
    } else {
      this.#groups.delete(group.key);
      this.#ranking.remove(group);
    }
  }

  #goesBefore(one: Group<T>, other: Group<T>): boolean {
    const [oldest, otherOldest] = [one.oldest, other.oldest];
    if (!oldest || !otherOldest) return oldest !== undefined;
    const isFull = one.isFull(this.#batchSize, this.#maxCost);
    if (isFull !== other.isFull(this.#batchSize, this.#maxCost)) return isFull;
    return (oldest.turn.order - otherOldest.turn.order || one.order - other.order) < 0;
  }
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

  /** Whether nobody who might still come could make the next batch fuller. */
  isFull(batchSize: number, maxCost: number): boolean {
    return this.cost >= maxCost || this.length >= batchSize;
  }

  /** Who has waited longest, whatever its priority. */
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
  /** A line for each tenant who waits. */
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
