import { describe, expect, it } from '@jest/globals';
import { AdaptivePolicy } from './adaptive-policy.js';
import type { Plan, QueueSnapshot } from './dispatch-policy.js';

const curve = { alpha: 0.25, beta: 5, batchSize: 32 };

/** A policy at work, told by moments what happens; batches take 0.25 ms · n + 5 ms. */
class Queue {
  readonly policy = new AdaptivePolicy();
  now = 0;
  #waiting = 0;
  #oldest = 0;

  constructor(private readonly view: Partial<QueueSnapshot> = {}) {}

  /** Inputs come while a slot is free, or while a batch runs. */
  come(at: number, count = 1, slotFree = true, since = at): void {
    this.now = at;
    if (this.#waiting === 0) this.#oldest = at;
    this.#waiting += count;
    this.policy.arrived(count, this.#waiting, slotFree, at, since);
  }

  plan(view: Partial<QueueSnapshot> = {}): Plan {
    const queue = {
      batchSize: 32,
      maxDelay: 30,
      waiting: this.#waiting,
      others: 0,
      oldest: this.#oldest,
      serviceTime: (size: number) => curve.alpha * size + curve.beta,
      untilOtherSlot: Infinity,
      ...this.view,
      ...view,
    };
    this.policy.opened(queue, this.now);
    return this.policy.plan(queue, this.now);
  }

  /** How long the policy would wait from now on, in milliseconds. */
  wait(view: Partial<QueueSnapshot> = {}): number {
    return Math.max(0, this.plan(view).at - this.now);
  }

  leave(at = this.now): number {
    this.now = at;
    const size = this.#waiting;
    this.#waiting = 0;
    this.policy.left(size, at);
    return size;
  }

  end(size: number, at = this.now + curve.alpha * size + curve.beta): void {
    this.now = at;
    this.policy.ended(at, size);
  }

  /** One input every 0.1 ms; the first leaves alone, the others come while it runs. Returns the wait of the first. */
  burst(start: number, size = 16): number {
    this.come(start);
    const wait = this.wait();
    this.leave();
    for (let index = 1; index < size; index++) this.come(start + 0.1 * index, 1, false);
    this.end(1, start + 5.25);
    this.wait();
    this.end(this.leave());
    return wait;
  }

  /** A lone input. Returns its wait, after which it leaves. */
  lone(at: number): number {
    this.come(at);
    const wait = this.wait();
    this.leave(at + wait);
    this.end(1);
    return wait;
  }

  /**
   * A batch that blocks the event loop, with what is there, after the wait that is planned: `joining` callers
   * come 0.1 ms after the decision and join it if it waits, else they are read when it has ended, as `hidden`
   * others are. Returns the wait and the size.
   */
  blocked(joining: number, hidden: number): { wait: number; size: number } {
    const start = this.now;
    const wait = this.wait();
    if (wait > 0) this.come(start + 0.1, joining);
    const size = this.leave(wait > 0 ? Math.min(this.plan().at, start + wait) : start);
    const left = this.now;
    const after = left + curve.alpha * size + curve.beta;
    const unread = hidden + (wait > 0 ? 0 : joining);
    if (unread > 0) this.come(after, unread, false, left);
    this.end(size, after);
    return { wait, size };
  }

  /** The next batch of eight callers in a loop, where batches block. Half of the answered are back first. */
  blockedLoop(): { wait: number; size: number } {
    if (this.#waiting === 0) this.come(this.now + 0.1, 4);
    return this.blocked(8 - this.#waiting, 0);
  }
}

describe('AdaptivePolicy', () => {
  it('does not wait while it has learned nothing', () => {
    const queue = new Queue();
    queue.come(0);

    expect(queue.plan()).toEqual({ at: 0, reason: 'idle' });
  });

  it('never lets a lone caller in a loop wait', () => {
    const queue = new Queue();
    const waits = Array.from({ length: 200 }, (_, index) => queue.lone(5.4 * index));

    expect(Math.max(...waits)).toBe(0);
  });

  it('waits for a burst after it has seen some, for about as long as they lasted', () => {
    const queue = new Queue();
    const waits = Array.from({ length: 5 }, (_, index) => queue.burst(1000 * index));

    expect(waits[0]).toBe(0);
    expect(waits[4]).toBeGreaterThanOrEqual(1);
    expect(waits[4]).toBeLessThan(3);
  });

  it('stops waiting after a few wasted waits when bursts are over', () => {
    const queue = new Queue();
    for (let burst = 0; burst < 20; burst++) queue.burst(1000 * burst);
    const waits = Array.from({ length: 12 }, (_, index) => queue.lone(30_000 + 100 * index));

    expect(waits[0]).toBeGreaterThan(0);
    expect(waits.slice(4)).toEqual(Array(8).fill(0));
  });

  it('begins to wait after a few bursts when a lone caller becomes a crowd', () => {
    const queue = new Queue();
    for (let one = 0; one < 100; one++) queue.lone(5.4 * one);
    for (let burst = 0; burst < 6; burst++) queue.burst(2000 + 1000 * burst);
    queue.come(20_000);

    expect(queue.wait()).toBeGreaterThan(0);
  });

  it('leaves for its own reason, or because of `maxDelay` where that is shorter', () => {
    const queue = new Queue();
    for (let burst = 0; burst < 5; burst++) queue.burst(1000 * burst);
    queue.come(20_000);

    expect(queue.plan({ maxDelay: 0.05 })).toEqual({ at: 20_000.05, reason: 'delay' });
    expect(queue.plan()).toMatchObject({ reason: 'idle' });
  });

  it('waits for all callers of a loop, and leaves as soon as the last is there', () => {
    const queue = new Queue();
    // Eight callers in two halves of four: the answered half is back 0.1 ms after the end, the other one waits.
    queue.come(0, 4);
    queue.wait();
    let size = queue.leave();
    queue.come(0.1, 4, false);
    for (let batch = 0; batch < 20; batch++) {
      queue.end(size);
      const end = queue.now;
      if (queue.wait() === 0) {
        size = queue.leave();
        queue.come(end + 0.1, 8 - size, false);
        continue;
      }
      queue.come(end + 0.1, 4);
      expect(queue.plan()).toEqual({ at: end + 0.1, reason: 'idle' });
      return;
    }
    throw new Error('it never waited for the other half');
  });

  it('does not wait where a larger batch costs as much as it saves', () => {
    const queue = new Queue({ serviceTime: (size) => 0.08 * size });
    const waits = Array.from({ length: 10 }, (_, index) => queue.burst(1000 * index));

    expect(Math.max(...waits)).toBe(0);
  });

  it('works with a service time of which only the mean is known, or nothing', () => {
    const queue = new Queue({ serviceTime: () => 5 });
    for (let burst = 0; burst < 5; burst++) queue.burst(1000 * burst);
    queue.come(20_000);

    expect(queue.wait()).toBeGreaterThan(0);
    const unknown = new Queue({ serviceTime: () => 0 });
    for (let burst = 0; burst < 5; burst++) unknown.burst(1000 * burst);
    unknown.come(20_000);

    expect(unknown.wait()).toBe(0);
  });

  it('does not let other groups wait for inputs that save less than they cost', () => {
    const queue = new Queue({ others: 200 });
    const waits = Array.from({ length: 10 }, (_, index) => queue.burst(1000 * index));

    expect(Math.max(...waits)).toBe(0);
  });

  it('with several slots, lets inputs leave that come while a batch runs', () => {
    const queue = new Queue({ untilOtherSlot: 3 });
    for (let burst = 0; burst < 10; burst++) queue.burst(1000 * burst);
    queue.come(20_000);
    queue.plan();
    queue.leave();
    queue.come(20_000.1);

    expect(queue.wait()).toBe(0);
  });

  it('waits less where another slot takes the next inputs as soon', () => {
    const waitOf = (queue: Queue) => {
      for (let burst = 0; burst < 10; burst++) queue.burst(1000 * burst);
      queue.come(20_000);
      return queue.wait();
    };

    expect(waitOf(new Queue({ untilOtherSlot: 0 }))).toBeLessThan(0.5 * waitOf(new Queue()));
  });

  it('decides anew when the inputs of a decision have gone', () => {
    const queue = new Queue();
    for (let burst = 0; burst < 10; burst++) queue.burst(1000 * burst);
    queue.come(20_000, 2);
    queue.plan();
    queue.now = 20_010;

    expect(queue.wait({ waiting: 1, oldest: 20_010 })).toBeGreaterThan(0);
  });

  it('gives the same answer when it is asked twice, and learns nothing from that', () => {
    const [asked, other] = [new Queue(), new Queue()];
    for (const queue of [asked, other]) {
      for (let burst = 0; burst < 10; burst++) queue.burst(1000 * burst);
      queue.come(20_000);
    }
    for (let look = 0; look < 30; look++) asked.plan({ waiting: 5, others: 30 });

    expect(asked.plan()).toEqual(other.plan());
  });

  it('remembers a bounded number of arrivals', () => {
    const queue = new Queue({ batchSize: Infinity });
    for (let batch = 0; batch < 50; batch++) {
      queue.come(100 * batch, 5000);

      expect(queue.wait()).toBe(0);
      const size = queue.leave();
      queue.come(100 * batch + 1, 5000, false);
      queue.end(size, 100 * batch + 8);
      queue.leave();
    }
  });

  describe('where the batch function blocks the event loop', () => {
    it('finds out that the others are back at once, and waits for them from then on', () => {
      const queue = new Queue();
      queue.come(0, 4);
      const batches = Array.from({ length: 100 }, () => queue.blockedLoop());

      expect(batches[0]).toEqual({ wait: 0, size: 4 });
      expect(batches.slice(40).map(({ size }) => size)).toEqual(Array(60).fill(8));
    });

    it.each([
      [4, 2],
      [24, 4],
    ])('looks rarely, and ever more so, where %d more come only while it runs', (count, longest) => {
      const queue = new Queue();
      const probes: number[] = [];
      for (let batch = 0; batch < 400; batch++) {
        queue.come(queue.now + 20, 2);
        const start = queue.now;
        const wait = queue.wait();
        if (wait > 0) probes.push(wait);
        queue.leave(start + wait);
        const left = queue.now;
        queue.come(left + 6, count, false, left);
        queue.end(2, left + 6);
        queue.leave();
        queue.end(count);
      }

      expect(Math.max(...probes)).toBeGreaterThan(longest);
      expect(probes.length).toBeGreaterThan(1);
      expect(probes.length).toBeLessThan(12);
    });

    it('does not probe for independent callers', () => {
      const queue = new Queue();
      const counts = [1, 5, 2, 0, 7, 3, 0, 1, 9, 2, 4, 0, 6];
      const waits = Array.from({ length: 200 }, (_, index) => {
        queue.come(queue.now + 1);
        return queue.blocked(0, counts[index % counts.length] ?? 0).wait;
      });

      expect(Math.max(...waits)).toBe(0);
    });
  });
});
