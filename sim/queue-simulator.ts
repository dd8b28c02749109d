import { strict as assert } from 'node:assert';
import { setImmediate as afterMicrotasks } from 'node:timers/promises';
import { BatchQueue } from '../libs/batching/src/core/batch-queue.js';
import type { Clock, Timer } from '../libs/batching/src/core/clock.js';
import type { Dispatch } from '../libs/batching/src/core/dispatch/dispatch-policy.js';
import { Lane } from '../libs/batching/src/core/lane.js';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';
import type { Load, ServiceCurve } from './simulator.js';

export interface QueuesScene {
  readonly curve: ServiceCurve;
  readonly dispatch: Dispatch;
  readonly maxDelay: number;
  readonly load: Load;
  /** Batches that run at the same time, each as fast as one alone. Default 1. */
  readonly slots?: number;
  /**
   * Queues that share the slots in one lane; each input goes to one at random. Default: one, without a lane.
   */
  readonly queues?: number;
  /**
   * Whether the batch function blocks the event loop: inputs that come meanwhile are submitted when it has
   * ended. Default: `false`.
   */
  readonly blocking?: boolean;
  /** Groups; each input belongs to one at random. Default 1. */
  readonly groups?: number;
  /** Results to simulate; the first tenth of them is not measured. */
  readonly items: number;
  readonly seed: number;
}

/**
 * Simulates real `BatchQueue`s under a virtual clock, for what `simulate` does not model: several slots,
 * lanes and groups.
 *
 * @returns mean and p99 of the latency in milliseconds, and throughput in results per second
 */
export async function simulateQueues(
  scene: QueuesScene,
): Promise<{ mean: number; p99: number; throughput: number }> {
  const { curve, dispatch, maxDelay, load, slots = 1, groups = 1, blocking = false, items } = scene;
  const time = new VirtualTime();
  const random = randomNumbers(scene.seed);
  const draw = randomNumbers(scene.seed + 1000);
  const lane = scene.queues ? new Lane(slots) : undefined;
  const run = async (inputs: number[]) => {
    const duration = curve.alpha * inputs.length + curve.beta;
    if (blocking) time.now += duration;
    else await new Promise((resolve) => time.at(time.now + duration, resolve));
    return inputs.map((input) => -input);
  };
  const groupBy = groups > 1 ? { groupBy: (input: number) => input % groups } : {};
  const options = { batchSize: curve.batchSize, dispatch, maxDelay, concurrency: slots, lane, maxQueued: 0 };
  const queues = Array.from(
    { length: scene.queues ?? 1 },
    () => new BatchQueue<number, number>(run, { ...options, ...groupBy }, time.clock),
  );
  let done = 0;
  let latencies: number[] = [];
  let from = 0;
  const arrive = async (came: number) => {
    if (load.next) time.at(load.next(came, random), arrive);
    const input = Math.floor(draw() * 2 ** 20);
    const queue = queues[Math.floor(draw() * queues.length)];
    assert.equal(await queue?.submit(input), -input);
    if (++done === Math.floor(items / 10)) {
      latencies = [];
      from = time.now;
    }
    latencies.push(time.now - came);
    if (load.again) time.at(load.again(time.now, random), arrive);
  };
  for (const moment of load.begin(0, random)) time.at(moment, arrive);
  await time.run(() => done >= items);
  const sorted = Float64Array.from(latencies).sort();
  return {
    mean: sorted.reduce((sum, latency) => sum + latency, 0) / sorted.length,
    p99: sorted[Math.floor(sorted.length * 0.99)] ?? NaN,
    throughput: (1000 * sorted.length) / (time.now - from),
  };
}

interface VirtualTimer {
  readonly at: number;
  readonly ring: (at: number) => unknown;
}

/**
 * Runs queues by discrete events, on a clock that jumps from one timer to the next. Timers ring exactly on
 * time; immediates run when all promises of the present moment have settled, as after a poll phase without
 * events.
 */
class VirtualTime {
  now = 0;
  #timers: VirtualTimer[] = [];
  #immediates = new Set<{ call: () => void }>();

  readonly clock: Clock = {
    now: () => this.now,
    setTimeout: (ring, delay) => this.at(this.now + delay, ring),
    clearTimeout: (timer) => {
      const place = this.#timers.indexOf(timer as VirtualTimer);
      if (place >= 0) this.#timers.splice(place, 1);
    },
    setImmediate: (call) => {
      const immediate = { call };
      this.#immediates.add(immediate);
      return immediate;
    },
    clearImmediate: (immediate) => this.#immediates.delete(immediate as { call: () => void }),
  };

  at(moment: number, ring: (at: number) => unknown): VirtualTimer & Timer {
    const timer = { at: moment, ring };
    // Sorted so that the next timer to ring is the last; timers of one moment ring in the order in which they
    // were set.
    let place = this.#timers.length;
    for (
      let before = this.#timers[place - 1];
      before && before.at <= timer.at;
      before = this.#timers[place - 1]
    ) {
      place--;
    }
    this.#timers.splice(place, 0, timer);
    return timer;
  }

  async run(until: () => boolean): Promise<void> {
    while (!until()) await this.#step();
  }

  async #step(): Promise<void> {
    const immediates = this.#immediates;
    // After a batch that blocked, what came meanwhile is read before the check phase.
    const isLate = (this.#timers.at(-1)?.at ?? Infinity) < this.now;
    if (immediates.size > 0 && !isLate) {
      this.#immediates = new Set();
      for (const { call } of immediates) {
        call();
        // What one immediate has settled is settled before the next, as in Node.
        await afterMicrotasks();
      }
    } else {
      const timer = this.#timers.pop();
      if (!timer) throw new Error('no timer is set, and not all results have come');
      this.now = Math.max(this.now, timer.at);
      timer.ring(timer.at);
    }
    await afterMicrotasks();
  }
}
