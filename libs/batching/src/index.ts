export { BatchQueue } from './core/batch-queue.js';
export type { Dispatch, DispatchReason } from './core/dispatch-policy.js';
export type { Summary } from './core/distribution.js';
export {
  BatchingError,
  BatchResultError,
  BatchTimeoutError,
  QueueFullError,
  ServiceStoppedError,
} from './core/errors.js';
export type { BatchFunction, BatchOptions, QueueOptions, StopOptions, SubmitOptions } from './core/options.js';
export { asBatchedService, asService, type SerialOptions } from './core/service.js';
export type { BatchReport, DropReason, QueueState, QueueStats } from './core/stats.js';
