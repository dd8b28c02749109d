import { Group, type Line, type Waiting } from './group.js';
import { Heap } from './heap.js';
import { Tally } from './tally.js';

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
 * Plain inputs, which is all of them until a caller asks for more, stand in one line that is cut without a look at the rest.
 * While there are no tickets that line is alone in the heaps, which are not updated then. With tickets an input costs
 * O(log n), however many groups, priorities and tenants there are.
 */
export class WaitingRoom<T extends Waiting<T>> {
  readonly #plain: Line<T>;
  readonly #common: Group<T>;
  /** Groups that are not empty, and the common group, where plain inputs stand: that is never removed. */
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
    // Behind another input of its line, it changes nothing but how full its group is.
    if (line.length === 1) this.#rank(line);
    else this.#rankGroup(group);
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
      // A line that holds all of its group has no place to lose and no turn to give away.
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

  /** Takes an input out of its line; `#rank` then finds where the line stands among others. */
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
