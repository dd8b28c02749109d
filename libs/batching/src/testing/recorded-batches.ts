import { deepStrictEqual } from 'node:assert/strict';
import { show } from '../core/checks.js';
import type { DispatchReason } from '../core/dispatch/dispatch-policy.js';
import type { QueueStats } from '../core/stats.js';
import type { Batched, BatchedMethod } from '../nest/batched-view.js';

/** One call of a batch function. */
export interface RecordedBatch<Input> {
  /** As they were at the call. */
  readonly inputs: readonly Input[];
  /** Number of inputs. */
  readonly size: number;
  /**
   * Why the batch left. `undefined` for a part of a failed batch that `isolateErrors` runs again, and where no queue is
   * known.
   */
  readonly reason: DispatchReason | undefined;
}

/** The part of a queue that a recorder reads. */
type Counted = Pick<{ stats(): QueueStats }, 'stats'>;

/** Writes batches down as they begin to run. */
export class Recorder<Input> {
  readonly batches: RecordedBatch<Input>[] = [];
  #counts: QueueStats['dispatches'] | undefined;

  /** @param queue counts a batch before it calls the batch function, so the count tells the reason */
  record(inputs: readonly Input[], queue: Counted | undefined): void {
    const counts = queue?.stats().dispatches;
    const before = this.#counts ?? { size: 0, delay: 0, idle: 0, drain: 0 };
    const reasons = Object.keys(counts ?? {}) as DispatchReason[];
    const reason = reasons.find((one) => counts && counts[one] > before[one]);
    this.#counts = counts;
    this.batches.push({ inputs: [...inputs], size: inputs.length, reason });
  }
}

/** Batches that a provider's method has run. */
export interface Recording<Input> {
  /** In the order in which they began, up to now. */
  readonly batches: readonly RecordedBatch<Input>[];
  /** Ends the recording: the method is as it was. */
  readonly restore: () => void;
}

type InputOf<M> = M extends BatchedMethod<infer Input, unknown> ? Input : never;

/**
 * Records the batches of a provider's batch method from now on, as in a test of the whole application:
 *
 * ```ts
 * const recording = recordBatches(app.get(DigitClassifier), 'classify', app.get(BatchingRegistry).get('DigitClassifier.classify'));
 * ```
 *
 * @param provider the instance whose method is marked, not its view
 * @param queue the method's queue, for the reasons; build it, and submit nothing to it, before this call
 * @throws TypeError if the provider has no such method
 */
export function recordBatches<C extends object, K extends keyof Batched<C> & keyof C>(
  provider: C,
  method: K,
  queue?: Counted,
): Recording<InputOf<Batched<C>[K]>> {
  const original: unknown = provider[method];
  if (typeof original !== 'function') {
    throw new TypeError(`recordBatches: expected a method, ${String(method)} is ${show(original)}`);
  }
  const recorder = new Recorder<InputOf<Batched<C>[K]>>();
  const own = Object.getOwnPropertyDescriptor(provider, method);
  const value = function (this: unknown, inputs: InputOf<Batched<C>[K]>[], ...others: unknown[]): unknown {
    recorder.record(inputs, queue);
    return Reflect.apply(original, this, [inputs, ...others]);
  };
  Object.defineProperty(provider, method, { value, configurable: true, enumerable: false, writable: true });
  return {
    batches: recorder.batches,
    restore: () => {
      if (own) Object.defineProperty(provider, method, own);
      else Reflect.deleteProperty(provider, method);
    },
  };
}

/**
 * Asserts which inputs ran together, batch by batch, in their order. Inputs are compared by `deepStrictEqual`.
 *
 * @throws AssertionError with both lists
 */
export function assertBatches<Input>(
  batches: readonly RecordedBatch<Input>[],
  expected: readonly (readonly Input[])[],
): void {
  deepStrictEqual(
    batches.map(({ inputs }) => inputs),
    expected.map((inputs) => [...inputs]),
  );
}
