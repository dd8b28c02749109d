import { inspect } from 'node:util';
import type { InputShape, ModelChecksums, StateTensors } from '../protocol/model-description.js';
import { checkBatchSizes } from './batch-sizes.js';
import { checkStateOptions } from './model-state.js';
import { type ModelSelfTest, readSelfTests } from './self-test.js';

/** The options of a model that every runtime takes. */
export interface InferenceModelOptions {
  /** The name by which the model is injected; unique in the application. */
  name: string;
  /** The model's file or folder. */
  path: string;
  /**
   * Shape of one input without the batch dimension, for a model that leaves other dimensions open; for
   * several input tensors, the shapes of those with open dimensions, by name. Default: the model's own
   * shapes.
   */
  inputShape?: InputShape;
  /**
   * Sizes that batches are padded to: integers ≥ 1. Each runs once at start-up; a batch above the largest
   * runs in pieces. For devices that prepare work for each shape. Default: on a GPU the powers of two, of
   * which 1 to 64 run at start-up; on other devices batches are not padded.
   */
  batchSizes?: readonly number[];
  /**
   * Inputs with known results, which run at start-up and after each restart of the worker. A model with other
   * results is not ready (`ModelNotReadyError`). Default: none; then all results of an input of zeros must be
   * finite numbers.
   */
  selfTest?: ModelSelfTest | readonly ModelSelfTest[];
  /** Whether the model may return NaN or Infinity for an input of zeros. Default `false`. */
  allowNonFinite?: boolean;
  /**
   * SHA-256 of the model's files, 64 hexadecimal digits each, by their paths relative to the model's folder:
   * `{ 'weights.bin': 'a177…' }`. A file with another checksum is refused with `ModelFileError`, after a
   * restart of the worker with `ModelNotReadyError`. Files that are not listed are not checked. Default: none
   * are.
   */
  checksums?: ModelChecksums;
  /**
   * For a model whose streams have a state that stays in the inference worker (`openState` and `step` of the model): for each input
   * tensor that is a state, the output tensor of the same shape that is the next one: `{ h: 'nextH' }`. `predict` goes
   * on to take and return all tensors. Default: no state stays there.
   */
  state?: StateTensors;
  /**
   * Most states at once, an integer ≥ 1: `openState` throws a `StateLimitError` beyond it. During a step a stream has two, and
   * together there may be twice as many. Default 10,000.
   */
  maxStates?: number;
}

/** The checked options of a model, without its name. */
export interface ModelSource extends Omit<InferenceModelOptions, 'name' | 'selfTest'> {
  selfTest?: readonly ModelSelfTest[];
}

/**
 * Checks the options of a model.
 *
 * @param method name of the calling method, for messages: `TfjsModule.forFeature`
 * @throws {TypeError | RangeError} for an invalid option, with what was expected and what was given
 */
export function readModelSource(method: string, { name, ...options }: InferenceModelOptions): ModelSource {
  const subject = (option: string) => `${method}: ${option} of model '${name}'`;
  const selfTest = readSelfTests(subject('selfTest'), options.selfTest);
  checkBatchSizes(subject('batchSizes'), options.batchSizes);
  checkChecksums(subject('checksums'), options.checksums);
  checkStateOptions(subject, options.state, options.maxStates);
  const { allowNonFinite } = options;
  if (allowNonFinite !== undefined && typeof allowNonFinite !== 'boolean') {
    throw new TypeError(
      `${subject('allowNonFinite')} must be true or false; it is ${inspect(allowNonFinite)}`,
    );
  }
  return { ...options, selfTest };
}

function checkChecksums(subject: string, checksums: unknown): void {
  if (checksums === undefined) return;
  const isChecksum = (value: unknown) => typeof value === 'string' && /^[\da-f]{64}$/i.test(value);
  if (typeof checksums === 'object' && checksums && Object.values(checksums).every(isChecksum)) return;
  throw new TypeError(
    `${subject} must be { 'weights.bin': SHA-256 in 64 hexadecimal digits }; they are ${inspect(checksums)}`,
  );
}
