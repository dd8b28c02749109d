import { invariant } from '../invariant.js';
import { Group, type Line, type Ticket, type Waiting } from './group.js';
import { Heap } from './heap.js';
import { Tally } from './tally.js';

/**
 * The inputs that wait, and which of them leave next.
 *
 * Inputs of one group may share a batch. Within a group the highest priority comes first, but each level of
 * priority is worth only `aging` milliseconds of waiting, so that the lowest is never starved. Within a
 * priority the tenants take turns. Within a tenant the order is that of arrival.
 *
 *     room ─┬─ group ─┬─ level (priority 1) ─── line (tenant a)    heaps: groups in the room; levels, and lines by
 *           │         └─ level (priority 0) ─┬─ line (tenant a)    their oldest input, in a group
 *           │                                └─ line (tenant b)    ring: lines in a level
 *           └─ …
 *
 * Plain inputs (no group, priority, tenant or cost) stand in one line. While no input has a ticket, a batch
 * is cut off that line in O(1) per input, and the heaps, which contain no other line, are not updated. With
 * tickets an input costs O(log n) for n groups, priorities and tenants.
 */
export class WaitingRoom<T extends Waiting<T>> {
  readonly #plain: Line<T>;
  readonly #common: Group<T>;
  /** Non-empty groups by key, and the common group, which has the plain line and is never removed. */
  readonly #groups = new Map<unknown, Group<T>>();
  readonly #ranking: Heap<Group<T>>;
  #groupsMade = 0;
  /** The bounds of a batch by which `#ranking` is ordered. */
  #batchSize = Infinity;
  #maxCost = Infinity;
  /** Inputs with a ticket. */
  #ticketed = 0;
  /** Inputs in other lines than `#plain` … */
  #elsewhere = 0;
  /** … and their number by priority. */
  readonly #priorities = new Tally();
  /** Total cost of all waiting inputs. */
  cost = 0;

  /** @param aging milliseconds of waiting that one level of priority is worth */
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
    const line = this.#lineFor(ticket);
    line.push(entry);
    // Behind another input of its line, it changes only whether its group fills a batch.
    if (line.length === 1) this.#rank(line);
    else this.#rankGroup(line.level.group);
  }

  /** Replaces the ticket of an input; in its new line it stands in the order of arrival. */
  exchange(entry: T, ticket: Ticket<T>): void {
    const { extras } = entry;
    invariant(extras !== undefined, 'an input without extras gets a ticket');
    this.remove(entry);
    extras.ticket = ticket;
    const line = this.#lineFor(ticket);
    line.insert(entry, (other) => other.turn.order > entry.turn.order);
    this.#rank(line);
  }

  remove(entry: T): void {
    const line = this.#unlink(entry);
    if (this.#ticketed > 0 || line !== this.#plain) this.#rank(line);
  }

  /**
   * The group of the next batch: the one with the oldest input, of those that fill a batch, or else of all.
   */
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
      // A line that holds all inputs of its group need not be ranked, or pass the turn on.
      const isAlone = line.length === group.length;
      this.#unlink(entry);
      if (!isAlone) {
        line.level.turnOver(line);
        group.rank(line);
      }
      if (last) last.next = entry;
      else first = entry;
      last = entry;
    }
    if (first) this.#rankGroup(group);
    return first;
  }

  /** Number of inputs that would leave before one of this priority that is submitted now, aging aside. */
  ahead(priority: number): number {
    return this.#priorities.atLeast(priority) + (priority > 0 ? 0 : this.#plain.length);
  }

  /** The order is unspecified. */
  *[Symbol.iterator](): Generator<T> {
    for (const group of this.#groups.values()) {
      for (const line of group.lines()) yield* line;
    }
  }

  /** Counts an input with this ticket. @returns the line for it */
  #lineFor(ticket: Ticket<T>): Line<T> {
    const group = this.#groups.get(ticket.group) ?? this.#open(ticket.group);
    const line = (ticket.line = group.line(ticket.priority, ticket.tenant));
    group.cost += ticket.cost;
    this.cost += ticket.cost;
    this.#ticketed++;
    if (line !== this.#plain) {
      this.#elsewhere++;
      group.elsewhere++;
      this.#priorities.add(ticket.priority, 1);
    }
    return line;
  }

  #open(key: unknown): Group<T> {
    const group = new Group<T>(key, this.#groupsMade++, this.aging);
    this.#groups.set(key, group);
    this.#ranking.push(group);
    return group;
  }

  /** Removes an input from its line. The caller must then call `#rank` with the line. */
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
    const fillsBatch = one.fillsBatch(this.#batchSize, this.#maxCost);
    if (fillsBatch !== other.fillsBatch(this.#batchSize, this.#maxCost)) return fillsBatch;
    return (oldest.turn.order - otherOldest.turn.order || one.order - other.order) < 0;
  }
}
