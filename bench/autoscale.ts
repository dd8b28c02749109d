import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { extname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';
import {
  AIM,
  ALPHA,
  BATCH_SIZE,
  BETA,
  CAPACITY,
  type FromReplica,
  type Reading,
  type ToReplica,
} from './autoscale-load.js';
import { printTable } from './table.js';

/** How many replicas there should be, from what all of them say. */
type Rule = (readings: readonly Reading[]) => number;

/** As the HorizontalPodAutoscaler computes it: proportionally, and not for a tenth. */
function proportional(target: number, of: (reading: Reading) => number): Rule {
  return (readings) => {
    const ratio = readings.reduce((sum, reading) => sum + of(reading), 0) / readings.length / target;
    return Math.abs(ratio - 1) <= 0.1 ? readings.length : Math.ceil(readings.length * ratio);
  };
}

const rules: Record<string, Rule> = {
  'sum of batching_replicas_needed': (readings) =>
    Math.ceil(readings.reduce((sum, { needed }) => sum + needed, 0)),
  // A full batch that waits for each replica, and a quarter of one.
  [`queue depth, target ${BATCH_SIZE}`]: proportional(BATCH_SIZE, ({ waiting }) => waiting),
  [`queue depth, target ${BATCH_SIZE / 4}`]: proportional(BATCH_SIZE / 4, ({ waiting }) => waiting),
  'CPU, target 60 %': proportional(0.6, ({ cpu }) => cpu),
};

interface Course {
  /** Seconds of the way up, at the top, and down. */
  readonly up: number;
  readonly hold: number;
  readonly down: number;
  /** Milliseconds between two decisions. */
  readonly interval: number;
  /** Milliseconds for which the number is not lowered after a higher one was asked for. */
  readonly patience: number;
  /** Milliseconds over which replicas take their rates. */
  readonly window: number;
  /** Milliseconds that a new replica needs beside the start of its process, as for a model. */
  readonly start: number;
}

const FULL: Course = {
  up: 120,
  hold: 60,
  down: 60,
  interval: 5000,
  patience: 30_000,
  window: 10_000,
  start: 4000,
};
const QUICK: Course = {
  up: 25,
  hold: 10,
  down: 10,
  interval: 1000,
  patience: 8000,
  window: 3000,
  start: 1000,
};

/** Load at the bottom and at the top, in replicas with full batches. */
const BOTTOM = 0.3;
const TOP = 4.5;
const MOST_REPLICAS = 8;

/**
 * `npm run bench autoscale`: a ramp of load on real processes whose device sleeps, scaled by rules, one after the other: what each
 * missed, and what it cost.
 */
export async function benchAutoscale(quick: boolean): Promise<void> {
  const course = quick ? QUICK : FULL;
  console.log(
    `\nA ramp from ${BOTTOM} to ${TOP} replicas' worth of full batches in ${course.up} s, ${course.hold} s at the top, and back in ` +
      `${course.down} s; a batch of n sleeps ${ALPHA} ms · n + ${BETA} ms, at most ${BATCH_SIZE}; aim: p99 ≤ ${AIM} ms; a decision ` +
      `every ${course.interval / 1000} s`,
  );
  const rows = [
    ['rule', 'inputs', 'refused or late', 'p99 of the answered', 'replica-seconds', 'most replicas'],
  ];
  for (const [name, rule] of Object.entries(rules)) rows.push([name, ...(await run(rule, course))]);
  printTable(rows);
}

async function run(rule: Rule, course: Course): Promise<string[]> {
  const fleet = new Fleet(course);
  try {
    await fleet.scaleTo(1);
    const begin = performance.now();
    fleet.begin();
    const end = begin + 1000 * (course.up + course.hold + course.down);
    const scaling = scale(fleet, rule, course, end);
    await drive(fleet, course, begin, end);
    await scaling;
    await fleet.idle();
    const { answered, refused, replicaSeconds, most } = fleet;
    const latencies = answered.toSorted((a, b) => a - b);
    const late = latencies.filter((latency) => latency > AIM).length;
    const all = latencies.length + refused;
    return [
      String(all),
      `${((100 * (refused + late)) / all).toFixed(1)} %`,
      `${(latencies[Math.floor(0.99 * latencies.length)] ?? NaN).toFixed(0)} ms`,
      replicaSeconds.toFixed(0),
      String(most),
    ];
  } finally {
    fleet.kill();
  }
}

/** Decides again and again, as an autoscaler does. */
async function scale(fleet: Fleet, rule: Rule, { interval, patience }: Course, end: number): Promise<void> {
  const asked: { at: number; count: number }[] = [];
  while (performance.now() < end) {
    await sleep(Math.min(interval, Math.max(0, end - performance.now())));
    const readings = await fleet.read();
    if (readings.length === 0) continue;
    const now = performance.now();
    asked.push({ at: now, count: Math.min(MOST_REPLICAS, Math.max(1, rule(readings))) });
    const recent = asked.filter(({ at }) => at > now - patience);
    void fleet.scaleTo(Math.max(...recent.map(({ count }) => count)));
  }
}

/** Independent inputs, the same for every rule. */
async function drive(fleet: Fleet, { up, hold, down }: Course, begin: number, end: number): Promise<void> {
  const random = randomNumbers(11);
  const loadAt = (second: number): number => {
    const height = Math.min(1, second / up, Math.max(0, up + hold + down - second) / down);
    return BOTTOM + (TOP - BOTTOM) * height;
  };
  let at = begin;
  for (let input = 0; ; input++) {
    at -= (1000 * Math.log(1 - random())) / (CAPACITY * loadAt((at - begin) / 1000));
    if (at >= end) return;
    if (at > performance.now()) await sleep(at - performance.now());
    fleet.submit(input, at);
  }
}

interface Replica {
  readonly process: ChildProcess;
  readonly startedAt: number;
  isReady: boolean;
  /** When its inputs were due. */
  readonly inputs: Map<number, number>;
  onReading: ((reading: Reading) => void) | undefined;
}

/** The replicas, and a load balancer that takes turns. */
class Fleet {
  readonly answered: number[] = [];
  refused = 0;
  replicaSeconds = 0;
  most = 0;
  readonly #replicas: Replica[] = [];
  readonly #leaving = new Set<Replica>();
  #turn = 0;
  #begun = performance.now();

  constructor(private readonly course: Course) {}

  /** From now on replicas are paid. */
  begin(): void {
    this.#begun = performance.now();
    this.replicaSeconds = 0;
  }

  async scaleTo(count: number): Promise<void> {
    this.most = Math.max(this.most, count);
    while (this.#replicas.length > count) this.#remove(this.#replicas.pop());
    const isFirst = this.#replicas.length === 0;
    const starting: Promise<void>[] = [];
    while (this.#replicas.length < count) starting.push(this.#add(isFirst));
    await Promise.all(starting);
  }

  submit(input: number, due: number): void {
    const ready = this.#replicas.filter(({ isReady }) => isReady);
    const replica = ready[this.#turn++ % ready.length];
    if (!replica) {
      this.refused++;
      return;
    }
    replica.inputs.set(input, due);
    this.#send(replica, { input });
  }

  read(): Promise<Reading[]> {
    const ready = this.#replicas.filter(({ isReady }) => isReady);
    return Promise.all(
      ready.map(
        (replica) =>
          new Promise<Reading>((resolve) => {
            replica.onReading = resolve;
            this.#send(replica, { read: true });
          }),
      ),
    );
  }

  /** Resolves when every input is answered and every replica has been paid. */
  async idle(): Promise<void> {
    for (const replica of [...this.#replicas.splice(0)]) this.#remove(replica);
    await Promise.all([...this.#leaving].map(({ process: child }) => once(child, 'exit')));
  }

  kill(): void {
    for (const { process: child } of [...this.#replicas, ...this.#leaving]) child.kill('SIGKILL');
  }

  async #add(isFirst: boolean): Promise<void> {
    const file = new URL(`autoscale-replica${extname(import.meta.filename)}`, import.meta.url);
    const child = fork(file, [String(this.course.window)]);
    const startedAt = performance.now();
    const replica: Replica = {
      process: child,
      startedAt,
      isReady: false,
      inputs: new Map(),
      onReading: undefined,
    };
    this.#replicas.push(replica);
    child.on('message', (message: FromReplica) => {
      if ('input' in message) this.#settle(replica, message);
      else if ('needed' in message) replica.onReading?.(message);
    });
    await once(child, 'message');
    if (!isFirst) await sleep(this.course.start);
    replica.isReady = true;
  }

  #settle(replica: Replica, { input, ok }: { input: number; ok: boolean }): void {
    const due = replica.inputs.get(input);
    replica.inputs.delete(input);
    if (ok && due !== undefined) this.answered.push(performance.now() - due);
    else this.refused++;
    if (replica.inputs.size === 0 && this.#leaving.has(replica)) this.#send(replica, { stop: true });
  }

  /** It gets no more inputs, and ends with the last that it has. */
  #remove(replica: Replica | undefined): void {
    if (!replica) return;
    replica.isReady = false;
    this.#leaving.add(replica);
    replica.process.once('exit', () => {
      this.replicaSeconds += (performance.now() - Math.max(replica.startedAt, this.#begun)) / 1000;
      this.#leaving.delete(replica);
    });
    if (replica.inputs.size === 0) this.#send(replica, { stop: true });
  }

  #send(replica: Replica, message: ToReplica): void {
    if (replica.process.connected) replica.process.send(message);
  }
}
