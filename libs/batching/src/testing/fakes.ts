import { show } from '../core/checks.js';
import type { SubmitOptions } from '../core/options.js';
import { SerialQueue } from '../core/serial-queue.js';
import type { Batched, BatchedMethod } from '../nest/batched-view.js';

/** What a test gives for each method of a view that it uses: a function of one input. */
export type Fakes<C> = {
  readonly [K in keyof Batched<C>]?: Batched<C>[K] extends BatchedMethod<infer Input, infer Result>
    ? (input: Input, options?: SubmitOptions) => PromiseLike<Result> | Result
    : never;
};

/**
 * A stand-in for the view of a class, typed from the class, which is not loaded: each call is answered at once by the
 * fake, alone. To be given to what is tested, or provided for `getBatchedToken(C)`.
 *
 * ```ts
 * const digits = fakeBatched<DigitClassifier>({ classify: async (image) => image[0] ?? 0 });
 * const controller = new DigitsController(digits);
 * ```
 *
 * `queue` is a queue over the fake to which calls do not go: its stats stay as they are. Methods that are not given are
 * not there.
 *
 * @throws TypeError for a fake that is not a function
 */
export function fakeBatched<C>(fakes: Fakes<C>): Batched<C> {
  const view = {};
  for (const key of Reflect.ownKeys(fakes)) {
    const fake: unknown = Reflect.get(fakes, key);
    if (typeof fake !== 'function') {
      const name = String(key);
      throw new TypeError(`fakeBatched: ${name}: expected a function of one input, got ${show(fake)}`);
    }
    Reflect.set(view, key, fakeMethod(String(key), fake as Fake));
  }
  return view as Batched<C>;
}

type Fake = (input: unknown, options?: SubmitOptions) => unknown;

function fakeMethod(name: string, fake: Fake): BatchedMethod<unknown, unknown> {
  const call = async (input: unknown, options?: SubmitOptions): Promise<unknown> =>
    await fake(input, options);
  const submitMany = (inputs: Iterable<unknown>, options?: SubmitOptions) =>
    Array.from(inputs, (input) => call(input, options));
  return Object.assign(call, { submitMany, queue: new SerialQueue(fake, { name }) });
}

/** The part of a model, as of `TfjsModel`, that every fake has. */
interface Model {
  readonly name: string;
  readonly ready: boolean;
  predict(inputs: never): Promise<unknown>;
  check(input: never): void;
}

/** One result: an array of numbers, or arrays by the names of the model's output tensors. */
type ModelResult = ArrayLike<number> | Readonly<Record<string, ArrayLike<number>>>;

/** What a test gives for a model: `predict`, and any other member that differs from the default. */
export type ModelFakes<M> = {
  /** Returns one result per input. Declare the type of the inputs: `(inputs: readonly Uint8Array[]) => …`. */
  readonly predict: (
    inputs: readonly never[],
  ) => PromiseLike<readonly ModelResult[]> | readonly ModelResult[];
} & { readonly [K in keyof Omit<M, 'predict'>]?: M[K] };

/**
 * A stand-in for a model, as a `TfjsModel`, of which no code is loaded. By default it is ready, its `check` accepts every
 * input, it has no tensors and its timings are 0.
 *
 * ```ts
 * const model = fakeModel<TfjsModel>({ predict: (images: readonly Uint8Array[]) => images.map(() => [0.25, 0.75]) });
 * const classifier = new DigitClassifier(model);
 * ```
 *
 * Results that are arrays become `Float32Array`s, as a model returns them. `predict` rejects with a `TypeError` if the
 * fake does not return one result per input.
 */
export function fakeModel<M extends Model>(fakes: ModelFakes<M>): M {
  const { predict, ...others } = fakes;
  if (typeof (predict as unknown) !== 'function') {
    throw new TypeError(`fakeModel: predict: expected a function of the inputs, got ${show(predict)}`);
  }
  return {
    ...healthyModel(),
    ...others,
    async predict(inputs: readonly never[]) {
      const results = await predict(inputs);
      if (!Array.isArray(results) || results.length !== inputs.length) {
        const got = Array.isArray(results) ? `${results.length} results` : show(results);
        throw new TypeError(
          `fakeModel: predict: expected ${inputs.length} results, one per input, got ${got}`,
        );
      }
      return results.map((result: ModelResult) => (isArrayLike(result) ? Float32Array.from(result) : result));
    },
  } as unknown as M;
}

/** The members of a model that is loaded and well. */
function healthyModel(): object {
  const shape: readonly number[] = [];
  return {
    name: 'fake',
    inputs: [],
    outputs: [],
    inputShape: shape,
    outputShape: shape,
    backend: 'fake',
    device: 'fake',
    ready: true,
    unresponsive: undefined,
    timings: { batches: 0, inputs: 0, fill: 0, wait: 0, upload: 0, run: 0, read: 0, answer: 0, split: 0 },
    check: () => undefined,
  };
}

function isArrayLike(result: ModelResult): result is ArrayLike<number> {
  return Array.isArray(result) || ArrayBuffer.isView(result);
}
