export type { LatencyAims, MetricsOptions } from '../reports/metrics-options.js';
export {
  BatchingTracingModule,
  type BatchingTracingOptions,
  type BatchingTracingOptionsFactory,
} from './batching-tracing.module.js';
export { tracePropagation } from './trace-propagation.js';
