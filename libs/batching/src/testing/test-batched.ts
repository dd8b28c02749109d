import type { BatchFunction } from '../core/batch-function.js';
import { checkCount, show } from '../core/checks.js';
import { type Batched, toMethod } from '../nest/batched-view.js';
import { marksOf, methodName } from '../nest/marks.js';
import { ManualQueue } from './manual-queue.js';
import type { RecordedBatch } from './recorded-batches.js';

/** An instance of a class with marked methods, its view, and the means to dispatch and to look at its batches. */
export interface TestBatched<C> {
  /** As `@InjectBatched(C)` injects it: give it to what is tested, or provide it for `getBatchedToken(C)`. */
  readonly view: Batched<C>;
  /** The batches of each method so far. */
  readonly batches: { readonly [K in keyof Batched<C>]: readonly RecordedBatch<InputOf<Batched<C>[K]>>[] };
  /**
   * Sends off what waits in any of its methods.
   *
   * @param expected waits until so many inputs wait, in all methods together. Default 0
   * @returns a promise of the batches that ran, when all inputs that waited have ended
   */
  readonly dispatch: (expected?: number) => Promise<RecordedBatch<unknown>[]>;
  /** Lets time pass, for `timeout` and `runTimeout`. `ms`: milliseconds ≥ 0, and finite. */
  readonly advance: (ms: number) => void;
}

type InputOf<M> = M extends (input: infer Input, ...rest: never) => unknown ? Input : never;

/**
 * Makes the view of an instance without Nest and without a clock: batches leave when the test calls `dispatch()`. The
 * options of the marks hold, apart from those that decide when a batch leaves.
 *
 * ```ts
 * const digits = createTestBatched(new DigitClassifier(model));
 * const controller = new DigitsController(digits.view);
 * const answers = [controller.classify(one), controller.classify(other)];
 * await digits.dispatch(2);
 * assertBatches(digits.batches.classify, [[one, other]]);
 * ```
 *
 * @param instance an instance of a class with methods marked with `@BatchedService()` or `@SerialService()`
 * @throws TypeError if it has no marked method
 */
export function createTestBatched<C extends object>(instance: C): TestBatched<C> {
  const marks = marksOf(isObject(instance) ? Reflect.getPrototypeOf(instance) : null);
  if (marks.size === 0) {
    throw new TypeError(
      `createTestBatched: expected an instance of a class with marked methods, got ${show(instance)}`,
    );
  }
  const { name: className } = instance.constructor;
  const queues = Array.from(marks, ([key, { options, serial }]) => {
    // Looked up at every call, as an application does: a test may spy on the method.
    const call = (...parameters: unknown[]): unknown =>
      Reflect.apply(Reflect.get(instance, key) as () => unknown, instance, parameters);
    const run = serial
      ? async ([input]: unknown[]) => [await call(input)]
      : (call as BatchFunction<unknown, unknown>);
    return [
      key,
      new ManualQueue<unknown, unknown>(run, { ...options, name: methodName(className, key) }),
    ] as const;
  });
  const all = queues.map(([, queue]) => queue);
  const byName = (of: (queue: ManualQueue<unknown, unknown>) => unknown): object =>
    Object.fromEntries(queues.map(([key, queue]) => [key, of(queue)]));
  return {
    view: byName(toMethod) as Batched<C>,
    batches: byName(({ batches }) => batches) as TestBatched<C>['batches'],
    async dispatch(expected = 0) {
      checkCount('expected', expected, 0);
      const waiting = () => all.reduce((sum, queue) => sum + queue.stats().waiting, 0);
      while (waiting() < expected) await Promise.race(all.map((queue) => queue.submitted()));
      return (await Promise.all(all.map((queue) => queue.dispatch()))).flat();
    },
    advance(ms) {
      for (const queue of all) queue.advance(ms);
    },
  };
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
