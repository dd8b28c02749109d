import { BatchingError, brand } from '../core/errors.js';

/** The configured backend cannot start, or for `auto` none can. The message says why, and what to install. */
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
