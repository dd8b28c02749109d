export { BatchingDashboardModule } from './dashboard-module.js';
export type { BatchingDashboardOptions } from './dashboard-options.js';
