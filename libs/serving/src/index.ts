export { ApiError, type ApiErrorOptions, type ErrorBody, errorBody } from './api-error.js';
export { ApiErrors, type DocumentedError } from './api-errors.js';
export { appFolder } from './app-folder.js';
export { type BodyLimits, limitBodies } from './body-limits.js';
export { checkBody } from './check-body.js';
export { checkUrl } from './check-url.js';
export { Connections } from './connections.js';
export { CONFIGURATION, configurationModule, readEnvironment, variableOf } from './environment.js';
export { ErrorFilter, errorBodyOf } from './error-filter.js';
export { Health } from './health.js';
export { limitServer, type ServerLimits } from './limits.js';
export { MetricsController, MetricsModule } from './metrics.js';
export { onceOver, rawRequest, rawResponse } from './raw.js';
export { ReadinessController } from './readiness.controller.js';
export { ReferenceController, referenceFolders, serveDocument } from './reference.js';
export { securityHeaders } from './security-headers.js';
export { ServingModule } from './serving.module.js';
export { enableShutdown, Shutdown, type ShutdownOptions, shutdownStages } from './shutdown.js';
export { listen, start, StartError } from './start.js';
export { type FileReply, houseFolders, sendPage, staticFolders } from './static-files.js';
export {
  AppValidationPipe,
  type Complaint,
  Integer,
  invalid,
  type Show,
  showShort,
  toNumber,
} from './validation.js';
