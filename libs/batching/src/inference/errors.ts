import { BatchingError, brand } from '../core/errors.js';

/** The backend that was asked for cannot start, or under `auto` none can. The message says why and what to install. */
export class TfjsBackendError extends BatchingError {
  static {
    brand(this, 'TfjsBackendError');
  }

  readonly code = 'ERR_BATCHING_BACKEND';
}

/** `TfjsModule` is imported in a way that cannot work. The message says what to do. */
export class TfjsModuleError extends BatchingError {
  static {
    brand(this, 'TfjsModuleError');
  }

  readonly code = 'ERR_BATCHING_TFJS_MODULE';
}

/** A file of a model is missing, has the wrong size, or is no part of a TensorFlow.js model. The message names it. */
export class ModelFileError extends BatchingError {
  static {
    brand(this, 'ModelFileError');
  }

  readonly code = 'ERR_BATCHING_MODEL_FILE';
}

/** The model's files are whole, but it cannot be loaded, cannot be batched, or does not run on this backend. */
export class UnsupportedModelError extends BatchingError {
  static {
    brand(this, 'UnsupportedModelError');
  }

  readonly code = 'ERR_BATCHING_MODEL';
}

/**
 * One of the inputs given to `predict` is not what the model takes: not an array, too short, too long, with something that
 * is no number, or that the tensor's type cannot hold. The message says what was expected and what came. Nothing was sent to
 * the device.
 */
export class ModelInputError extends BatchingError {
  static {
    brand(this, 'ModelInputError');
  }

  readonly code = 'ERR_BATCHING_INPUT';
  override readonly kind = 'input';
  /** Name of the tensor at fault; `undefined` where it is the input as a whole. */
  readonly tensor: string | undefined;
  /** Shape of that tensor for one input, without the batch dimension. */
  readonly shape: readonly number[] | undefined;

  constructor(
    /** Name of the model. */
    readonly model: string,
    /** Which of the inputs it is, from 0; `undefined` where they are no array. */
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
 * The model takes no inputs: what it gave when it was tried is not what it should give, or the files that a restart of the
 * inference worker found are not the model that the application started with. The message says which, and what to do. The other
 * models go on, and this one too as soon as its files are right again.
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

/** The model failed while it ran. `cause` has the name, message and stack of the error in the inference worker. */
export class InferenceError extends BatchingError {
  static {
    brand(this, 'InferenceError');
  }

  readonly code = 'ERR_BATCHING_INFERENCE';
}

/**
 * The inference worker died under this prediction, gave no answer in time (see `TfjsModuleOptions.heartbeat`), or is down at
 * the moment. It is started again by itself, unless it cannot be ended: see `TfjsModel.unresponsive`.
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
