export type { BatchContext, BatchFunction, KeyedBatchFunction } from './batch-function.js';
export { BatchQueue } from './batch-queue.js';
export type { Dispatch, DispatchReason } from './dispatch/dispatch-policy.js';
export type { Summary, Totals } from './distribution.js';
export {
  BatchingError,
  BatchResultError,
  BatchTimeoutError,
  DeadlineError,
  type ErrorKind,
  InputCostError,
  MissingResultError,
  QueueFullError,
  ServiceStoppedError,
  SessionClosedError,
  SessionFullError,
  SessionInterruptedError,
  TooManyInputsError,
} from './errors.js';
export type { BatchEvent, InputEvent } from './events.js';
export { Lane } from './lane.js';
export type {
  BatchOptions,
  Keyed,
  KeyedBatchOptions,
  QueueOptions,
  StopOptions,
  SubmitOptions,
} from './options.js';
export type { SerialOptions } from './serial-queue.js';
export { asBatchedService, asService, type BatchedService } from './service.js';
export {
  createSession,
  type PushOptions,
  type Session,
  type SessionOptions,
  type SessionResult,
  type SessionStep,
  type StepService,
} from './session.js';
export type { BatchReport, DropReason, Measure, QueueState, QueueStats } from './stats.js';
