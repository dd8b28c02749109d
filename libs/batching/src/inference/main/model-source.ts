import { inspect } from 'node:util';
import type { InputShape, ModelChecksums } from '../protocol/model-description.js';
import { checkBatchSizes } from './batch-sizes.js';
import { type ModelSelfTest, readSelfTests } from './self-test.js';

/** The options of a model that every runtime takes. */
export interface InferenceModelOptions {
  /** The name that the model is injected by, one per application. */
  name: string;
  /** The model's file or folder. */
  path: string;
  /**
   * Shape of one input without the batch dimension, where the model leaves more open than that; for a model of several
   * inputs one for each that leaves something open, by name. Default: as the model says.
   */
  inputShape?: InputShape;
  /**
   * Sizes that batches are padded to, each run once at start-up; a batch above the largest is run in pieces. For devices
   * that prepare something per shape. Whole numbers from 1. Default: on a GPU the powers of two (1 to 64 at start-up), else
   * none: batches run as they come.
   */
  batchSizes?: readonly number[];
  /**
   * Inputs whose results are known, run at start-up and after each restart of the worker: a model that returns others is not
   * ready (`ModelNotReadyError`). Default: none; then all results of an input of zeros must be finite numbers.
   */
  selfTest?: ModelSelfTest | readonly ModelSelfTest[];
  /** The model may return NaN or Infinity for an input of zeros, and is ready all the same. Default `false`. */
  allowNonFinite?: boolean;
  /**
   * SHA-256 of the model's files, 64 hexadecimal digits each, by their names as seen from the model's folder:
   * `{ 'weights.bin': 'a177…' }`. Other content is refused with `ModelFileError`, at a restart of the worker with
   * `ModelNotReadyError`. Files that are not named are not compared. Default: none are.
   */
  checksums?: ModelChecksums;
}

/** The options of a model as they were checked; the name stands beside. */
export interface ModelSource extends Omit<InferenceModelOptions, 'name' | 'selfTest'> {
  selfTest?: readonly ModelSelfTest[];
}

/**
 * Checks the options of a model.
 *
 * @param method how messages name the method that takes them: `TfjsModule.forFeature`
 * @throws {TypeError | RangeError} with what was expected and what was given
 */
export function readModelSource(method: string, { name, ...options }: InferenceModelOptions): ModelSource {
  const subject = (option: string) => `${method}: ${option} of model '${name}'`;
  const selfTest = readSelfTests(subject('selfTest'), options.selfTest);
  checkBatchSizes(subject('batchSizes'), options.batchSizes);
  checkChecksums(subject('checksums'), options.checksums);
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
