import { BatchingError, brand } from '../core/errors.js';

/**
 * The configured execution provider cannot start, or for `auto` none can. The message says why, and what to
 * install.
 */
export class OnnxBackendError extends BatchingError {
  static {
    brand(this, 'OnnxBackendError');
  }

  readonly code = 'ERR_BATCHING_BACKEND';
}

/** `OnnxModule` is imported in a way that cannot work. The message says what to do. */
export class OnnxModuleError extends BatchingError {
  static {
    brand(this, 'OnnxModuleError');
  }

  readonly code = 'ERR_BATCHING_ONNX_MODULE';
}
