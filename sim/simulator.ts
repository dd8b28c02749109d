import { Dispatcher } from '../libs/batching/src/core/dispatch/dispatcher.js';
import type { DispatchPolicy } from '../libs/batching/src/core/dispatch/dispatch-policy.js';
import { lateness } from '../libs/batching/src/core/dispatch/forecast.js';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';

/** Milliseconds that a batch of n takes: alpha · n + beta. */
export interface ServiceCurve {
  readonly alpha: number;
  readonly beta: number;
  readonly batchSize: number;
}

/** Items per millisecond with full batches. */
export function capacity({ alpha, beta, batchSize }: ServiceCurve): number {
  return batchSize / (alpha * batchSize + beta);
}

/** Random numbers in [0, 1). */
export type Random = () => number;

/** Where inputs come from. All moments are milliseconds of the virtual clock. */
export interface Load {
  readonly name: string;
  /** Moments of the first arrivals. */
  begin(now: number, random: Random): number[];
  /** The moment of the next arrival after the one at `now`, independent of results. */
  next?(now: number, random: Random): number;
  /** The moment of the arrival that a result at `now` causes. */
  again?(now: number, random: Random): number;
}

/** A policy of the simulator: models of other batchers may also choose which inputs leave. */
export interface SimulatedPolicy extends DispatchPolicy {
  /** How many of the waiting inputs, given by their arrival times, leave now. Default: `batchSize`. */
  takes?(waiting: readonly number[], batchSize: number): number;
}

export interface Scene {
  readonly curve: ServiceCurve;
  readonly maxDelay: number;
  /** One load, or several that take turns. */
  readonly loads: readonly Load[];
  /** Length of a turn, in milliseconds. Default: no turns. */
  readonly turn?: number;
  /** Milliseconds after which every caller gives up. Default: never. */
  readonly timeout?: number;
  /** Results to simulate; the first tenth of them is not measured. */
  readonly items: number;
  readonly seed: number;
  /** Whether a batch blocks the event loop: inputs that come while it runs are read when it has ended. Default: false. */
  readonly blocking?: boolean;
}

export interface Measured {
  /** Latency, in milliseconds. */
  mean: number;
  p99: number;
  /** Items per second that were served, within the timeout if there is one. */
  throughput: number;
  /** Share of the inputs that were refused because they would have missed their timeout. */
  refused: number;
  /** Share of the inputs that were taken in and missed their timeout. */
  late: number;
}

/**
 * Simulates one executor by discrete events, with a virtual clock and a real policy, which is called as by
 * `BatchQueue`. The same scene has the same arrivals under every policy, as far as they do not depend on
 * results.
 *
 * @returns what was measured for the inputs of each load
 */
export function simulate(policy: SimulatedPolicy, scene: Scene): Measured[] {
  const { curve, maxDelay, loads, turn = Infinity, timeout = Infinity, items, blocking = false } = scene;
  const { batchSize } = curve;
  const streams = loads.map((_, index) => randomNumbers(scene.seed + index));
  let [random = randomNumbers(0)] = streams;
  const dispatcher = new Dispatcher(policy);
  const { serviceTime } = dispatcher;
  const arrivals = new Heap();
  const samples = loads.map(() => new Samples());
  let waiting: number[] = [];
  let running: number[] = [];
  let leftAt = 0;
  let endsAt = Infinity;
  let alarmAt = Infinity;
  /** When the sockets were read after a batch that blocked. */
  let readAt = -Infinity;
  let entered = 0;
  let done = 0;
  let present = 0;
  let [load] = loads;
  let turnedAt = 0;
  /**
   * Inputs of a turn are measured from this moment on: earlier ones waited behind inputs of the previous
   * load.
   */
  let countedFrom = 0;

  /** What `BatchQueue` does once per turn of the event loop. */
  const look = (now: number) => {
    if (timeout < Infinity) expire(now);
    if (running.length > 0 || waiting.length === 0) return;
    const decision = dispatcher.decide(view(now), now);
    alarmAt = 'at' in decision ? decision.at : Infinity;
    if ('group' in decision) leave(now);
  };
  const view = (now: number) => ({
    group: undefined,
    isFull: waiting.length >= batchSize,
    isDraining: false,
    reached: now,
    batchSize,
    maxDelay,
    waiting: waiting.length,
    others: 0,
    oldest: Math.max(waiting[0] ?? 0, blocking ? readAt : 0),
    serviceTime: (size: number) => serviceTime.of(size),
    untilOtherSlot: Infinity,
  });
  const backlog = () => ({
    batchSize,
    concurrency: 1,
    ahead: waiting.length,
    running: new Set(running.length > 0 ? [{ leftAt, size: running.length }] : []),
  });
  /** Removes the inputs whose timeout has expired. */
  const expire = (now: number) => {
    const inTime = waiting.filter((came) => came + timeout > now);
    samples[present]?.miss(waiting.length - inTime.length);
    waiting = inTime;
  };
  const leave = (now: number) => {
    const size = policy.takes?.(waiting, batchSize) ?? batchSize;
    running = waiting.slice(0, size);
    waiting = waiting.slice(size);
    leftAt = now;
    endsAt = now + curve.alpha * running.length + curve.beta;
    dispatcher.leave(running.length, now);
  };
  const end = (now: number) => {
    endsAt = Infinity;
    readAt = now;
    const looksBefore = policy.looksBeforeAnswers ?? false;
    if (blocking && looksBefore) dispatcher.arrive(entered, waiting.length, false, now, leftAt);
    dispatcher.end(running.length, now - leftAt, now);
    if (blocking && !looksBefore) dispatcher.arrive(entered, waiting.length, true, now, now);
    for (const came of running) {
      if (++done === Math.floor(items / 10)) for (const sample of samples) sample.restart(now);
      if (came >= countedFrom) samples[present]?.settle(now - came, timeout);
      if (load?.again && came >= turnedAt) arrivals.push(load.again(now, random));
    }
    running = [];
    if (waiting[0] === undefined || waiting[0] >= turnedAt) countedFrom = Math.min(countedFrom, now);
  };
  const arrive = (now: number) => {
    arrivals.pop();
    if (load?.next) arrivals.push(load.next(now, random));
    if (timeout < Infinity && lateness(backlog(), timeout, serviceTime, now) > 0) {
      samples[present]?.refuse();
      return;
    }
    waiting.push(now);
    entered++;
    if (!blocking || running.length === 0)
      dispatcher.arrive(entered, waiting.length, running.length === 0, now, now);
  };
  const takeTurn = (now: number) => {
    samples[present]?.pause(now);
    present = (present + 1) % loads.length;
    samples[present]?.resume(now);
    load = loads[present];
    random = streams[present] ?? random;
    turnedAt = now;
    countedFrom = running.length > 0 ? Infinity : now;
    arrivals.clear();
    for (const at of load?.begin(now, random) ?? []) arrivals.push(at);
  };

  for (const at of load?.begin(0, random) ?? []) arrivals.push(at);
  let now = 0;
  while (done < items) {
    now = Math.min(arrivals.first, endsAt, alarmAt, turnedAt + turn);
    if (now === Infinity)
      throw new Error(`${load?.name ?? 'no load'}: no event is left, and not all results have come`);
    if (now === endsAt) end(now);
    else if (now === arrivals.first) arrive(now);
    else if (now === turnedAt + turn) takeTurn(now);
    look(now);
  }
  samples[present]?.pause(now);
  return samples.map((sample) => sample.summarize());
}

/** Latencies of one load, and the total time in which they were collected. */
class Samples {
  readonly #latencies: number[] = [];
  #refused = 0;
  #late = 0;
  #since: number | undefined = 0;
  #collected = 0;

  restart(now: number): void {
    this.#latencies.length = this.#refused = this.#late = 0;
    this.#collected = 0;
    if (this.#since !== undefined) this.#since = now;
  }

  pause(now: number): void {
    this.#collected += now - (this.#since ?? now);
    this.#since = undefined;
  }

  resume(now: number): void {
    this.#since = now;
  }

  settle(latency: number, timeout: number): void {
    if (latency <= timeout) this.#latencies.push(latency);
    else this.#late++;
  }

  miss(inputs: number): void {
    this.#late += inputs;
  }

  refuse(): void {
    this.#refused++;
  }

  summarize(): Measured {
    const sorted = Float64Array.from(this.#latencies).sort();
    const all = sorted.length + this.#refused + this.#late;
    return {
      mean: sorted.reduce((sum, latency) => sum + latency, 0) / sorted.length,
      p99: sorted[Math.floor(sorted.length * 0.99)] ?? NaN,
      throughput: (sorted.length / this.#collected) * 1000,
      refused: this.#refused / all,
      late: this.#late / all,
    };
  }
}

/** Arrivals at random, at a share `rho` of the capacity. */
export function poisson(rho: number, curve: ServiceCurve): Load {
  const gap = (random: Random) => exponential(rho * capacity(curve), random);
  return {
    name: `Poisson ρ ${rho}`,
    begin: (now, random) => [now + gap(random)],
    next: (now, random) => now + gap(random),
  };
}

/** Bursts of `size` inputs within `spread` ms, at random moments, at a share `rho` of the capacity. */
export function bursts(rho: number, curve: ServiceCurve, size = 16, spread = 2): Load {
  let start = 0;
  let moments: number[] = [];
  const next = (random: Random): number => {
    // Bursts may overlap, so generate them until one begins after the next arrival.
    while (start <= (moments.at(-1) ?? Infinity)) {
      moments.push(...Array.from({ length: size }, () => start + spread * random()));
      moments.sort((a, b) => b - a);
      start += exponential((rho * capacity(curve)) / size, random);
    }
    return moments.pop() ?? start;
  };
  return {
    name: `bursts of ${size} in ${spread} ms, ρ ${rho}`,
    begin: (now, random) => {
      start = now + exponential((rho * capacity(curve)) / size, random);
      moments = [];
      return [next(random)];
    },
    next: (_now, random) => next(random),
  };
}

/** Callers that submit again after their result: `pause` ms later, and up to `jitter` ms more. */
export function closedLoop(callers: number, jitter = 0.3, pause = 0): Load {
  return {
    name: `closed loop N ${callers}${pause > 0 ? `, ${pause} ms apart` : ''}`,
    begin: (now, random) => Array.from({ length: callers }, () => now + jitter * random()),
    again: (now, random) => now + pause + jitter * random(),
  };
}

function exponential(rate: number, random: Random): number {
  return -Math.log(1 - random()) / rate;
}

/** A binary heap of moments, the earliest first. */
class Heap {
  readonly #moments: number[] = [];

  get first(): number {
    return this.#moments[0] ?? Infinity;
  }

  clear(): void {
    this.#moments.length = 0;
  }

  push(moment: number): void {
    let at = this.#moments.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#at(parent) <= moment) break;
      this.#moments[at] = this.#at(parent);
      at = parent;
    }
    this.#moments[at] = moment;
  }

  pop(): void {
    const last = this.#moments.pop() ?? Infinity;
    const size = this.#moments.length;
    if (size === 0) return;
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && this.#at(child + 1) < this.#at(child)) child++;
      if (this.#at(child) >= last) break;
      this.#moments[at] = this.#at(child);
      at = child;
    }
    this.#moments[at] = last;
  }

  #at(index: number): number {
    return this.#moments[index] ?? Infinity;
  }
}
