export {
  BatchingHealthIndicator,
  type BatchingHealthOptions,
  type OverloadLimits,
} from './batching-health-indicator.js';
