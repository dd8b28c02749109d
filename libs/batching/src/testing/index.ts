export { type BatchInvariantOptions, BatchInvariantError, expectBatchInvariant } from './batch-invariant.js';
export { fakeBatched, fakeModel, type Fakes, type ModelFakes } from './fakes.js';
export { ManualQueue, type ManualQueueOptions } from './manual-queue.js';
export { assertBatches, recordBatches, type RecordedBatch, type Recording } from './recorded-batches.js';
export { createTestBatched, type TestBatched } from './test-batched.js';
export {
  MemoryBroker,
  MemoryTransport,
  memoryTransport,
  type MemoryTransportOptions,
} from '../transport/memory-transport.js';
export type { TransportSettings } from '../transport/settings.js';
