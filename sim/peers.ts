import type { Plan, QueueSnapshot } from '../libs/batching/src/core/dispatch/dispatch-policy.js';
import { fixed } from '../libs/batching/src/core/dispatch/dispatch-policy.js';
import type { ServiceCurve, SimulatedPolicy } from './simulator.js';

/**
 * When a batch leaves in other batchers, as read in their sources; their delay is `maxDelay` of the scene.
 * What their machinery costs on top (polling, threads, processes) is left out.
 */
export const peers = {
  /** NVIDIA Triton at a `max_queue_delay`: the oldest waits so long; the batch grows until it leaves. */
  Triton: (): SimulatedPolicy => fixed,

  /** TorchServe, mosec: the delay begins when the executor is idle and has a first input. */
  'mosec, TorchServe': (): SimulatedPolicy => new AfterIdle(),

  /** LitServe: windows follow each other while the executor is idle, also empty ones. */
  LitServe: (): SimulatedPolicy => new Windows(),

  /** Ray Serve: batches close when they are full or their time is over, also while the executor is busy. */
  'Ray Serve': (curve: ServiceCurve, delay: number): SimulatedPolicy => ({
    ...fixed,
    takes: (waiting) => {
      const [first = 0] = waiting;
      const later = waiting.findIndex((came) => came > first + delay);
      return Math.min(curve.batchSize, later < 0 ? waiting.length : later);
    },
  }),

  /**
   * BentoML's CorkDispatcher: waits a tick more while that costs the waiting inputs less than recent waits
   * did.
   */
  BentoML: (curve: ServiceCurve): SimulatedPolicy => new Cork(curve),
};

class AfterIdle implements SimulatedPolicy {
  #idleSince = 0;

  plan({ oldest, maxDelay }: QueueSnapshot): Plan {
    return { at: Math.max(oldest, this.#idleSince) + maxDelay, reason: 'delay' };
  }

  ended(now: number): void {
    this.#idleSince = now;
  }
}

class Windows implements SimulatedPolicy {
  #idleSince = 0;

  plan({ oldest, maxDelay }: QueueSnapshot): Plan {
    const empty = Math.max(0, Math.floor((oldest - this.#idleSince) / maxDelay));
    return { at: this.#idleSince + (empty + 1) * maxDelay, reason: 'delay' };
  }

  ended(now: number): void {
    this.#idleSince = now;
  }
}

/** Its tick of 1 ms, its decay of .95 and its memory of 50 batches; its service time is taken as known. */
class Cork implements SimulatedPolicy {
  #lastCame = 0;
  #recentWait = 0;
  #at = 0;

  constructor(private readonly curve: ServiceCurve) {}

  arrived(_count: number, _waiting: number, _slotFree: boolean, now: number): void {
    this.#lastCame = now;
  }

  opened({ waiting }: QueueSnapshot, now: number): void {
    const wait = now - this.#lastCame;
    const waits = waiting * (wait + 1 + this.curve.alpha) <= this.#recentWait * 0.95;
    if (!waits) this.#recentWait += (wait - this.#recentWait) / 50;
    this.#at = waits ? now + 1 : now;
  }

  plan(): Plan {
    return { at: this.#at, reason: 'idle' };
  }
}
