export type { BatchContext, BatchFunction } from './core/batch-function.js';
export { BatchQueue } from './core/batch-queue.js';
export type { Dispatch, DispatchReason } from './core/dispatch/dispatch-policy.js';
export type { Summary } from './core/distribution.js';
export {
  BatchingError,
  BatchResultError,
  BatchTimeoutError,
  DeadlineError,
  type ErrorKind,
  InputCostError,
  QueueFullError,
  ServiceStoppedError,
  TooManyInputsError,
} from './core/errors.js';
export { Lane } from './core/lane.js';
export type { BatchOptions, QueueOptions, StopOptions, SubmitOptions } from './core/options.js';
export { asBatchedService, asService, type SerialOptions } from './core/service.js';
export type { BatchReport, DropReason, QueueState, QueueStats } from './core/stats.js';
export { BatchedService, SerialService } from './nest/batched-service.js';
export type { Batched, BatchedMethod } from './nest/batched-view.js';
export { type BatchingAnswer, BatchingExceptionFilter } from './nest/batching-exception-filter.js';
export { BatchingModule, type BatchingOptionsFactory } from './nest/batching-module.js';
export { BatchingRegistry } from './nest/batching-registry.js';
export { InjectBatched } from './nest/inject-batched.js';
export type { BatchingModuleOptions } from './nest/module-options.js';
export { getBatchedToken } from './nest/views.js';
