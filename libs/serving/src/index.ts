export { checkUrl } from './check-url.js';
export { Connections } from './connections.js';
export { limitServer, type ServerLimits } from './limits.js';
export { ServingModule } from './serving.module.js';
export { enableShutdown, Shutdown, type ShutdownOptions, shutdownStages } from './shutdown.js';
