import { cpus } from 'node:os';

/** Milliseconds. */
interface Percentiles {
  /** A request that was refused counts as infinitely late. */
  readonly p50: number;
  readonly p99: number;
  /** Of those that were not refused. */
  readonly longest: number;
}

export interface Latency {
  readonly requests: number;
  readonly refused: number;
  /** From when the request was due: the wait for one of the client's connections counts. */
  readonly sinceDue: Percentiles;
  /** From when it left on a connection: the server's part. */
  readonly sinceSent: Percentiles;
}

/** When requests were due, sent and answered. Milliseconds since the load began, in plain arrays, as there are millions. */
export class RequestTimes {
  readonly #due: number[] = [];
  readonly #sent: number[] = [];
  readonly #answered: number[] = [];

  /** @param answered `Infinity` if it was refused */
  add(due: number, sent: number, answered: number): void {
    this.#due.push(due);
    this.#sent.push(sent);
    this.#answered.push(answered);
  }

  /** By a key of when they were due; `undefined` leaves a request out. */
  by<Key>(keyOf: (due: number) => Key | undefined): Map<Key, Latency> {
    const groups = new Map<Key, { sinceDue: number[]; sinceSent: number[] }>();
    for (const [index, due] of this.#due.entries()) {
      const key = keyOf(due);
      if (key === undefined) continue;
      let group = groups.get(key);
      if (!group) groups.set(key, (group = { sinceDue: [], sinceSent: [] }));
      const answered = this.#answered[index] ?? NaN;
      group.sinceDue.push(answered - due);
      group.sinceSent.push(answered - (this.#sent[index] ?? NaN));
    }
    return new Map(
      [...groups].map(([key, { sinceDue, sinceSent }]) => [
        key,
        {
          requests: sinceDue.length,
          refused: sinceDue.filter((time) => time === Infinity).length,
          sinceDue: percentiles(sinceDue),
          sinceSent: percentiles(sinceSent),
        },
      ]),
    );
  }
}

function percentiles(values: readonly number[]): Percentiles {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? NaN;
  return { p50: at(0.5), p99: at(0.99), longest: sorted.findLast((value) => value < Infinity) ?? NaN };
}

/**
 * Seconds from each moment until latencies are as they should be: until the first of two seconds in a row whose p99 is
 * within the aim. A second without a request is not. `Infinity` if that is not before the next moment, or the end.
 *
 * @param moments in milliseconds, ascending
 * @param p99s by the second
 */
export function recoveries(
  moments: readonly number[],
  p99s: ReadonlyMap<number, number>,
  aim: number,
): number[] {
  const end = Math.max(...p99s.keys()) + 1;
  const isWell = (second: number): boolean => second >= end || (p99s.get(second) ?? Infinity) <= aim;
  return moments.map((moment, index) => {
    const last = Math.min(end, Math.floor((moments[index + 1] ?? Infinity) / 1000));
    for (let second = Math.floor(moment / 1000); second < last; second++) {
      if (isWell(second) && isWell(second + 1)) return Math.max(0, second - moment / 1000);
    }
    return Infinity;
  });
}

/** The CPU time that was used until a moment, in milliseconds. */
export interface CpuTime {
  /** By `Date.now()`. */
  readonly at: number;
  readonly used: number;
}

/** Of all processes. */
export function cpuTimeOfAll(): CpuTime {
  const used = cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys, 0);
  return { at: Date.now(), used };
}

/** Of this process. */
export function cpuTimeOfThis(): CpuTime {
  const { user, system } = process.cpuUsage();
  return { at: Date.now(), used: (user + system) / 1000 };
}

/**
 * The share of the machine that processes other than ours have used between each two moments of the first of ours. Only
 * what all lists know of counts.
 */
export function sharesOfOthers(all: readonly CpuTime[], ours: readonly (readonly CpuTime[])[]): number[] {
  const [first = []] = ours;
  const [begin, end] = [all[0]?.at ?? Infinity, all.at(-1)?.at ?? -Infinity];
  const known = first.filter(({ at }) => at >= begin && at <= end);
  return known.slice(1).map((to, index) => {
    const from = known[index] ?? to;
    const usedOf = (times: readonly CpuTime[]): number => usedAt(times, to.at) - usedAt(times, from.at);
    const others = ours.reduce((rest, times) => rest - usedOf(times), usedOf(all));
    return Math.max(0, others) / (to.at - from.at) / cpus().length;
  });
}

function usedAt(times: readonly CpuTime[], at: number): number {
  const after = times.findIndex((time) => time.at >= at);
  const [from, to] = [times[after - 1], times[after]];
  if (!from || !to) return (to ?? times.at(-1))?.used ?? NaN;
  return from.used + ((to.used - from.used) * (at - from.at)) / (to.at - from.at || 1);
}
