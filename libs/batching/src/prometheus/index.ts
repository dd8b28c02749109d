export type { LatencyAims, MetricsOptions } from '../reports/metrics-options.js';
export {
  BatchingMetricsModule,
  type BatchingMetricsOptions,
  type BatchingMetricsOptionsFactory,
} from './batching-metrics.module.js';
