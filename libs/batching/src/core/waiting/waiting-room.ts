import { type Linked, WaitingLine } from './waiting-line.js';

/** What waits: linked into one line; with a ticket, unless it is plain (no group, priority, tenant or cost). */
export interface Waiting<T extends Waiting<T>> extends Linked<T> {
  readonly turn: { readonly at: number };
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
 * Plain inputs, which is all of them until somebody asks for more, stand in one line that is cut without a look at
 * the rest.
 */
export class WaitingRoom<T extends Waiting<T>> {
  readonly #plain: Line<T>;
  readonly #common: Group<T>;
  /** Groups that hold somebody; the common one, where plain inputs stand, is kept for good. */
  readonly #groups = new Map<unknown, Group<T>>();
  /** Inputs with a ticket, and those of them that stand in another line than the plain one. */
  #ticketed = 0;
  #elsewhere = 0;
  /** Sum of the costs of all that waits. */
  cost = 0;

  /** `aging`: milliseconds of waiting that one level of priority is worth. */
  constructor(readonly aging: number) {
    this.#common = new Group(undefined);
    this.#plain = this.#common.line(0, undefined);
    this.#groups.set(undefined, this.#common);
  }

  get length(): number {
    return this.#plain.length + this.#elsewhere;
  }

  push(entry: T): void {
    const ticket = entry.extras?.ticket;
    if (!ticket) {
      this.#plain.push(entry);
      return;
    }
    let group = this.#groups.get(ticket.group);
    if (!group) this.#groups.set(ticket.group, (group = new Group(ticket.group)));
    ticket.line = group.line(ticket.priority, ticket.tenant);
    ticket.line.push(entry);
    group.cost += ticket.cost;
    this.cost += ticket.cost;
    this.#ticketed++;
    if (ticket.line !== this.#plain) this.#elsewhere++;
  }

  remove(entry: T): void {
    const ticket = entry.extras?.ticket;
    if (!ticket?.line) {
      this.#plain.remove(entry);
      return;
    }
    const { line } = ticket;
    const { level } = line;
    line.remove(entry);
    level.group.cost -= ticket.cost;
    this.cost -= ticket.cost;
    this.#ticketed--;
    if (line === this.#plain) return;
    this.#elsewhere--;
    if (line.length === 0) level.close(line);
    if (level.group !== this.#common && level.group.isEmpty) this.#groups.delete(level.group.key);
  }

  /** The group to send off next: of those that can fill a batch, else of all, the one whose oldest came first. */
  next(batchSize: number, maxCost: number): Group<T> | undefined {
    if (this.#ticketed === 0) return this.#plain.length === 0 ? undefined : this.#common;
    let best: Group<T> | undefined;
    let bestIsFull = false;
    let bestAt = Infinity;
    for (const group of this.#groups.values()) {
      const isFull = group.isFull(batchSize, maxCost);
      const at = group.oldest?.turn.at ?? Infinity;
      if (at === Infinity || (bestIsFull && !isFull)) continue;
      if ((isFull && !bestIsFull) || at < bestAt) [best, bestIsFull, bestAt] = [group, isFull, at];
    }
    return best;
  }

  /**
   * Takes the next batch of a group: at most `batchSize` inputs that cost at most `maxCost` together.
   *
   * @returns the first entry of a chain linked by `next`
   */
  take(group: Group<T>, batchSize: number, maxCost: number, now: number): T | undefined {
    if (this.#ticketed === 0) return this.#plain.cut(batchSize);
    let first: T | undefined;
    let last: T | undefined;
    let cost = 0;
    for (let size = 0; size < batchSize; size++) {
      const level = group.nextLevel(this.aging, now);
      const line = level?.nextLine();
      const entry = line?.first;
      if (!level || !line || !entry) break;
      cost += entry.extras?.ticket?.cost ?? 0;
      if (cost > maxCost) break;
      this.remove(entry);
      level.rotate(line);
      if (last) last.next = entry;
      else first = entry;
      last = entry;
    }
    return first;
  }

  /** Inputs that would leave before one of this priority that came now, aging aside. */
  ahead(priority: number): number {
    if (this.#ticketed === 0) return priority > 0 ? 0 : this.#plain.length;
    let ahead = 0;
    for (const group of this.#groups.values()) {
      for (const line of group.lines()) if (line.level.priority >= priority) ahead += line.length;
    }
    return ahead;
  }

  *[Symbol.iterator](): Generator<T> {
    for (const group of this.#groups.values()) {
      for (const line of group.lines()) {
        for (let entry = line.first; entry; entry = entry.next) yield entry;
      }
    }
  }
}

/** Inputs that may share a batch. */
export class Group<T extends Waiting<T>> {
  /** By falling priority. */
  readonly #levels: Level<T>[] = [];
  cost = 0;

  constructor(readonly key: unknown) {}

  line(priority: number, tenant: unknown): Line<T> {
    let at = this.#levels.findIndex((level) => level.priority <= priority);
    if (at < 0) at = this.#levels.length;
    let level = this.#levels[at];
    if (level?.priority !== priority) this.#levels.splice(at, 0, (level = new Level(this, priority)));
    return level.open(tenant);
  }

  close(level: Level<T>): void {
    this.#levels.splice(this.#levels.indexOf(level), 1);
  }

  get length(): number {
    const only = this.#onlyLine;
    if (only) return only.length;
    let length = 0;
    for (const line of this.lines()) length += line.length;
    return length;
  }

  /** The usual case: nobody has asked for a priority or named a tenant. */
  get #onlyLine(): Line<T> | undefined {
    return this.#levels.length === 1 ? this.#levels[0]?.onlyLine : undefined;
  }

  get isEmpty(): boolean {
    return this.#levels.length === 0;
  }

  /** Whether nobody who might still come could make the next batch fuller. */
  isFull(batchSize: number, maxCost: number): boolean {
    return this.cost >= maxCost || this.length >= batchSize;
  }

  /** Who has waited longest, whatever its priority. */
  get oldest(): T | undefined {
    const only = this.#onlyLine;
    if (only) return only.first;
    let oldest: T | undefined;
    for (const line of this.lines()) {
      if (line.first && line.first.turn.at < (oldest?.turn.at ?? Infinity)) oldest = line.first;
    }
    return oldest;
  }

  nextLevel(aging: number, now: number): Level<T> | undefined {
    let best: Level<T> | undefined;
    let bestMerit = -Infinity;
    for (const level of this.#levels) {
      const first = level.nextLine()?.first;
      if (!first) continue;
      const merit = level.priority * aging + (now - first.turn.at);
      if (merit > bestMerit) [best, bestMerit] = [level, merit];
    }
    return best;
  }

  *lines(): Generator<Line<T>> {
    for (const level of this.#levels) yield* level.lines.values();
  }
}

/** Inputs of one priority. */
class Level<T extends Waiting<T>> {
  /** A line for each tenant who waits, in the order of their turns: that in which they were put into the map. */
  readonly lines = new Map<unknown, Line<T>>();

  constructor(
    readonly group: Group<T>,
    readonly priority: number,
  ) {}

  open(tenant: unknown): Line<T> {
    let line = this.lines.get(tenant);
    if (!line) this.lines.set(tenant, (line = new Line(this, tenant)));
    return line;
  }

  close(line: Line<T>): void {
    this.lines.delete(line.tenant);
    if (this.lines.size === 0) this.group.close(this);
  }

  /** Whose turn it is. Only the line of plain inputs may be empty. */
  nextLine(): Line<T> | undefined {
    for (const line of this.lines.values()) if (line.length > 0) return line;
    return undefined;
  }

  get onlyLine(): Line<T> | undefined {
    return this.lines.size === 1 ? this.lines.values().next().value : undefined;
  }

  /** The tenant has had its turn. */
  rotate(line: Line<T>): void {
    if (this.lines.size === 1 || !this.lines.delete(line.tenant)) return;
    this.lines.set(line.tenant, line);
  }
}

/** The inputs of one tenant. */
export class Line<T extends Waiting<T>> extends WaitingLine<T> {
  constructor(
    readonly level: Level<T>,
    readonly tenant: unknown,
  ) {
    super();
  }
}
