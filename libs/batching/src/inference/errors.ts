import { BatchingError, brand } from '../core/errors.js';

/**
 * A file of a model is missing, has the wrong size or checksum, or a format that the runtime does not read.
 * The message names it.
 */
export class ModelFileError extends BatchingError {
  static {
    brand(this, 'ModelFileError');
  }

  readonly code = 'ERR_BATCHING_MODEL_FILE';
}

/**
 * The model's files are complete, but it cannot be loaded, cannot be batched, or does not run on this
 * backend.
 */
export class UnsupportedModelError extends BatchingError {
  static {
    brand(this, 'UnsupportedModelError');
  }

  readonly code = 'ERR_BATCHING_MODEL';
}

/**
 * The model does not accept an input of `predict`: it is not an array, has the wrong length, or contains a
 * value that is not a number or does not fit into the tensor's type. The message says what was expected and
 * what was given. Nothing was run.
 */
export class ModelInputError extends BatchingError {
  static {
    brand(this, 'ModelInputError');
  }

  readonly code = 'ERR_BATCHING_INPUT';
  override readonly kind = 'input';
  /** Name of the tensor at fault; `undefined` if the input as a whole is. */
  readonly tensor: string | undefined;
  /** Shape of that tensor for one input, without the batch dimension. */
  readonly shape: readonly number[] | undefined;

  constructor(
    /** Name of the model. */
    readonly model: string,
    /** Index of the input, from 0; `undefined` if the inputs are not an array. */
    readonly index: number | undefined,
    tensor: { name: string; shape: readonly number[] } | undefined,
    problem: string,
  ) {
    super(`${index === undefined ? 'the inputs' : `input ${index}`} of model '${model}' ${problem}`);
    this.tensor = tensor?.name;
    this.shape = tensor?.shape;
  }

  override get publicMessage(): string {
    return this.message;
  }
}

/**
 * The model accepts no inputs: it failed its self-test, or the files that a restart of the inference worker
 * read are not the model that the application started with. The message says which, and what to do. Other
 * models are not affected. The model is loaded again when its files change.
 */
export class ModelNotReadyError extends BatchingError {
  static {
    brand(this, 'ModelNotReadyError');
  }

  readonly code = 'ERR_BATCHING_MODEL_NOT_READY';
  override readonly kind = 'unavailable';

  constructor(
    /** Name of the model. */
    readonly model: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super(`model '${model}' is not ready: ${problem}`, options);
  }

  override get publicMessage(): string {
    return `model '${this.model}' is not ready`;
  }
}

/**
 * The model failed while it ran. `cause` has the name, message and stack of the error in the inference
 * worker.
 */
export class InferenceError extends BatchingError {
  static {
    brand(this, 'InferenceError');
  }

  readonly code = 'ERR_BATCHING_INFERENCE';
}

/**
 * The inference worker died during this prediction, did not answer within the module's `heartbeat`, or is
 * down at the moment. It is restarted automatically, unless it cannot be ended: see `unresponsive` of the
 * model.
 */
export class InferenceWorkerError extends BatchingError {
  static {
    brand(this, 'InferenceWorkerError');
  }

  readonly code = 'ERR_BATCHING_WORKER';
  override readonly kind = 'unavailable';

  override get publicMessage(): string {
    return 'the inference worker is being started again';
  }
}

/**
 * The inference worker no longer has the state of this stream: it has died, or has loaded changed files of the model.
 * Open a new state and repeat the stream's inputs, or end the stream.
 */
export class StateLostError extends BatchingError {
  static {
    brand(this, 'StateLostError');
  }

  readonly code = 'ERR_BATCHING_STATE';
  override readonly kind = 'unavailable';

  override get publicMessage(): string {
    return 'the state of this stream was lost; begin it again';
  }
}

/** The streams of a model have as many states as the option `maxStates` allows. */
export class StateLimitError extends BatchingError {
  static {
    brand(this, 'StateLimitError');
  }

  readonly code = 'ERR_BATCHING_STATE_LIMIT';
  override readonly kind = 'overload';

  constructor(
    /** Name of the model. */
    readonly model: string,
    /** The bound. */
    readonly maxStates: number,
  ) {
    super(
      `model '${model}' has ${maxStates} states of streams: dispose of those of streams that have ended, or raise maxStates`,
    );
  }

  override get publicMessage(): string {
    return `model '${this.model}' has as many streams as it takes`;
  }
}

/** The message of any thrown value, for the message of an error that it causes. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
