import { AssertionError } from 'node:assert';
import { inspect, isDeepStrictEqual, types } from 'node:util';
import type { KeyedBatchFunction } from '../core/batch-function.js';
import { checkCost, checkCount, show } from '../core/checks.js';
import { invariant } from '../core/invariant.js';
import { checked } from '../core/run/checked.js';
import { placeOf, type Underway } from '../core/run/run.js';

/** How `expectBatchInvariant` compares, and which batches it tries. */
export interface BatchInvariantOptions<Input, Result> {
  /** Whether a result in a batch is the same as alone. Default: deep equality, of numbers within `tolerance`. */
  equals?: (inBatch: Result, alone: Result) => boolean;
  /**
   * Largest difference of two numbers that are equal, absolute below 1 and relative above: a network's sums depend on
   * the size of the batch. Default 0; ≥ 0.
   */
  tolerance?: number;
  /** Random batches to try, beyond all inputs in order and reversed. Default 50; an integer ≥ 0. */
  trials?: number;
  /** Largest batch to try: an integer ≥ 2. Default: two more than there are inputs, as one may be in a batch twice. */
  maxSize?: number;
  /** Of the random batches: the same ones for the same seed. Default 1; an integer. */
  seed?: number;
  /** The key of an input, if the batch function returns a `Map`. */
  keyBy?: (input: Input) => unknown;
}

/** A batch function gave an input another result in a batch than alone. `actual` and `expected` are the two results. */
export class BatchInvariantError extends AssertionError {
  /** The smallest failing batch that was found, as indices of the inputs. */
  readonly batch: readonly number[];
  /** Place in the batch of the first result that is wrong. */
  readonly place: number;
  /** Index of the input at that place. */
  readonly index: number;

  constructor(
    message: string,
    { batch, place, index }: { batch: readonly number[]; place: number; index: number },
    results: { actual: unknown; expected: unknown },
  ) {
    super({ message, operator: 'expectBatchInvariant', ...results });
    this.name = 'BatchInvariantError';
    this.batch = batch;
    this.place = place;
    this.index = index;
  }
}

/** What became of an input. */
type Outcome = { readonly result: unknown } | { readonly error: unknown; readonly ofBatch: boolean };

/** The first place of a batch whose outcome is not that of its input alone. */
interface Mismatch {
  /** Indices of the inputs. */
  readonly batch: readonly number[];
  readonly place: number;
  /** Of the input at that place. */
  readonly index: number;
  readonly outcome: Outcome;
  readonly alone: Outcome;
}

/** Runs of the batch function that the search for a smaller failing batch may take. */
const SEARCH_RUNS = 200;

/**
 * Asserts that a batch function gives each input the same result in every batch as alone, whatever the order and the
 * other inputs are. It finds swapped results, missing masks, padding that leaks into results, and memory that is not
 * cleared between batches.
 *
 * ```ts
 * await expectBatchInvariant((images) => classifier.classify(images), images, { tolerance: 1e-5 });
 * ```
 *
 * @param inputs at least one; inputs of different sizes find more. Each must succeed alone; an `Error` in its place is
 *   a result like any other
 * @returns a promise that rejects with a `BatchInvariantError`, which names the smallest failing batch that was found,
 *   and with the error of the batch function if an input fails alone
 */
export async function expectBatchInvariant<Input, Result>(
  batchFunction: KeyedBatchFunction<Input, Result>,
  inputs: readonly Input[],
  options: BatchInvariantOptions<Input, Result> = {},
): Promise<void> {
  const trial = new Trial(batchFunction, inputs, options);
  await trial.runAlone();
  for (const batch of trial.batches()) {
    const mismatch = await trial.run(batch);
    if (mismatch) throw trial.errorOf(await trial.smallest(mismatch));
  }
}

class Trial<Input, Result> {
  readonly #run: ReturnType<typeof checked<Input, Result>>;
  readonly #equals: (inBatch: unknown, alone: unknown) => boolean;
  readonly #trials: number;
  readonly #maxSize: number;
  readonly #seed: number;
  readonly #keyBy: ((input: Input) => unknown) | undefined;
  /** By the indices of the inputs. */
  readonly #alone: Outcome[] = [];

  constructor(
    batchFunction: KeyedBatchFunction<Input, Result>,
    private readonly inputs: readonly Input[],
    options: BatchInvariantOptions<Input, Result>,
  ) {
    if (typeof (batchFunction as unknown) !== 'function') {
      throw new TypeError(`batchFunction: expected a function, got ${show(batchFunction)}`);
    }
    if (!Array.isArray(inputs)) throw new TypeError(`inputs: expected an array, got ${show(inputs)}`);
    if (inputs.length === 0) throw new RangeError('inputs: expected at least one input, got none');
    const { equals, tolerance = 0, trials = 50, maxSize = inputs.length + 2, seed = 1, keyBy } = options;
    checkCost('tolerance', tolerance);
    const name = 'expectBatchInvariant';
    this.#run = checked(batchFunction, { name, keyBy, missing: 'reject' });
    const areClose = (one: unknown, other: unknown) => isClose(one, other, tolerance);
    this.#equals = (equals as typeof areClose | undefined) ?? areClose;
    this.#trials = checkInteger('trials', checkCount('trials', trials, 0));
    this.#maxSize = checkCount('maxSize', maxSize, 2);
    this.#seed = checkInteger('seed', seed);
    this.#keyBy = keyBy;
  }

  /** Runs each input alone, for its expected outcome. */
  async runAlone(): Promise<void> {
    for (const index of this.inputs.keys()) {
      const [outcome] = await this.#outcomes([index]);
      invariant(outcome !== undefined, 'a batch of one has no outcome');
      if ('error' in outcome && outcome.ofBatch) {
        throw new Error(
          `expectBatchInvariant: input ${index} fails alone, so there is nothing to compare with`,
          {
            cause: outcome.error,
          },
        );
      }
      this.#alone.push(outcome);
    }
  }

  /** The batches to try: all inputs in order and reversed, then random ones. */
  *batches(): Generator<number[]> {
    const all = [...this.inputs.keys()];
    for (const order of [all, all.toReversed()]) {
      for (let start = 0; start < order.length; start += this.#maxSize) {
        yield order.slice(start, start + this.#maxSize);
      }
    }
    const random = randomNumbers(this.#seed);
    const below = (limit: number) => Math.floor(random() * limit);
    for (let trial = 0; trial < this.#trials; trial++) {
      const size = Math.min(2 + below(this.inputs.length + 1), this.#maxSize);
      const rest: number[] = [];
      yield Array.from({ length: size }, () => {
        // Beyond all of them, and now and then before, an input is in the batch once more.
        if (rest.length === 0 || below(8) === 0) rest.push(...all);
        const [index] = rest.splice(below(rest.length), 1);
        invariant(index !== undefined, 'expectBatchInvariant draws from no inputs');
        return index;
      });
    }
  }

  /** @returns the first place of the batch with another outcome than its input has alone */
  async run(batch: readonly number[]): Promise<Mismatch | undefined> {
    const outcomes = await this.#outcomes(batch);
    for (const [place, outcome] of outcomes.entries()) {
      const index = batch[place];
      const alone = this.#alone[index ?? NaN];
      invariant(
        index !== undefined && alone !== undefined,
        'a batch of expectBatchInvariant has another input',
      );
      if (!this.#isSame(outcome, alone)) return { batch, place, index, outcome, alone };
    }
    return undefined;
  }

  /** Leaves out parts of the batch, halves first, as long as what is left fails. */
  async smallest(mismatch: Mismatch): Promise<Mismatch> {
    let runs = 0;
    let best = mismatch;
    for (let length = best.batch.length >> 1; length >= 1; length >>= 1) {
      for (let start = 0; start < best.batch.length && runs < SEARCH_RUNS;) {
        const fewer = best.batch.toSpliced(start, length);
        const smaller = fewer.length > 0 ? await this.run(fewer) : undefined;
        runs++;
        if (smaller) best = smaller;
        else start += length;
      }
    }
    return best;
  }
  errorOf({ batch, place, index, outcome, alone }: Mismatch): BatchInvariantError {
    const results = { actual: valueOf(outcome), expected: valueOf(alone) };
    const inBatch = 'error' in outcome && outcome.ofBatch ? 'the batch function threw' : 'it gave';
    const [actual, expected] = [shorten(results.actual), shorten(results.expected)];
    if (batch.length === 1) {
      const message = `input ${index} alone gave ${expected}, and alone again ${inBatch} ${actual}: the function is not deterministic, or keeps something of earlier batches`;
      return new BatchInvariantError(message, { batch, place, index }, results);
    }
    const owner = batch.find((other) => {
      const ofOther = this.#alone[other];
      return other !== index && ofOther && this.#isSame(outcome, ofOther);
    });
    const hint = owner === undefined ? '' : `, which is the result of input ${owner}`;
    const where = `input ${index} in a batch of inputs [${batch.join(', ')}], at place ${place}`;
    const message = `${where}: ${inBatch} ${actual}${hint}; alone it gave ${expected}`;
    return new BatchInvariantError(message, { batch, place, index }, results);
  }

  async #outcomes(batch: readonly number[]): Promise<Outcome[]> {
    const inputs = batch.map((index) => this.inputs[index] as Input);
    const keys = inputs.map((input) => this.#keyBy?.(input));
    try {
      const results = await this.#run(inputs, new TestBatch(keys));
      return await Promise.all(batch.map((_, place) => outcomeOf(placeOf(results, place))));
    } catch (error) {
      return batch.map(() => ({ error, ofBatch: true }));
    }
  }

  #isSame(one: Outcome, other: Outcome): boolean {
    if ('result' in one && 'result' in other) return this.#equals(one.result, other.result);
    return 'error' in one && 'error' in other && !one.ofBatch && inWords(one.error) === inWords(other.error);
  }
}

/** A batch that nobody aborts. */
class TestBatch implements Underway {
  readonly signal = new AbortController().signal;
  readonly isAborted = false;
  readonly abortReason = undefined;

  constructor(private readonly keys: readonly unknown[]) {}

  abort(): void {
    throw new Error('a batch of expectBatchInvariant is not aborted');
  }

  isAwaited(): boolean {
    return true;
  }

  keyOf(index: number): unknown {
    return this.keys[index];
  }

  giveLate(): void {
    throw new Error('no run of expectBatchInvariant is given up');
  }
}

async function outcomeOf(place: unknown): Promise<Outcome> {
  try {
    const result = await place;
    return types.isNativeError(result) ? { error: result, ofBatch: false } : { result };
  } catch (error) {
    return { error, ofBatch: false };
  }
}

function valueOf(outcome: Outcome): unknown {
  return 'error' in outcome ? outcome.error : outcome.result;
}

/** Whether both are equal in depth, and all numbers within the tolerance. */
function isClose(one: unknown, other: unknown, tolerance: number): boolean {
  if (typeof one === 'number' && typeof other === 'number') {
    const difference = Math.abs(one - other);
    return Object.is(one, other) || difference <= tolerance * Math.max(1, Math.abs(one), Math.abs(other));
  }
  if (tolerance === 0 || !isComposite(one) || !isComposite(other)) return isDeepStrictEqual(one, other);
  if (Object.getPrototypeOf(one) !== Object.getPrototypeOf(other)) return false;
  const keys = Object.keys(one);
  if (keys.length !== Object.keys(other).length) return false;
  return keys.every((key) => Object.hasOwn(other, key) && isClose(one[key], other[key], tolerance));
}

/** What is compared member by member: arrays, typed arrays and objects that are no collections. */
function isComposite(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  return !(types.isMap(value) || types.isSet(value) || types.isDate(value) || types.isAnyArrayBuffer(value));
}

function inWords(error: unknown): string {
  return types.isNativeError(error) ? `${error.name}: ${error.message}` : shorten(error);
}

function shorten(value: unknown): string {
  if (types.isNativeError(value)) return inWords(value);
  const text = inspect(value, { depth: 3, maxArrayLength: 8, maxStringLength: 80, breakLength: Infinity });
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

function checkInteger(name: string, value: number): number {
  if (!Number.isSafeInteger(value)) throw new TypeError(`${name}: expected an integer, got ${show(value)}`);
  return value;
}

/** Numbers in [0, 1), the same for the same seed: mulberry32. */
function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
