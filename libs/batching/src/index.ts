// A name that this file exports itself, as `BatchedService`, goes before the one of core/.
export * from './core/index.js';
// The interface under a second name: declarations that the compiler writes need one, and `BatchedService` is
// an alias here.
export type { BatchedService as CallableService } from './core/service.js';
export {
  BatchedService,
  type BatchedServiceDecorator,
  type BatchProblem,
  type SerialProblem,
  SerialService,
  type SerialServiceDecorator,
} from './nest/batched-service.js';
export type { Batched, BatchedMethod } from './nest/batched-view.js';
export { type BatchingAnswer, BatchingExceptionFilter } from './nest/batching-exception-filter.js';
export { BatchingModule, type BatchingOptionsFactory } from './nest/batching-module.js';
export { BatchingRegistry } from './nest/batching-registry.js';
export { InjectBatched, type InjectBatchedDecorator } from './nest/inject-batched.js';
export type { BatchingModuleOptions, BatchingNodeOptions, TracePropagation } from './nest/module-options.js';
export { RemoteQueueError, type RemoteQueueStats } from './nest/remote-queue.js';
export { getBatchedToken } from './nest/views.js';
export {
  NoNodeError,
  PayloadError,
  PayloadSizeError,
  RedeliveryError,
  RemoteError,
  TransportError,
} from './transport/errors.js';
export type {
  CallOptions,
  Delivery,
  ErrorClass,
  NodeState,
  OnInput,
  ServeOptions,
  ServiceState,
  TraceCarrier,
  Transport,
  TransportContext,
  TransportState,
} from './transport/transport.js';
