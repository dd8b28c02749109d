import { expect, jest } from '@jest/globals';

/**
 * Specs with processes, browsers, brokers and threads of their own get a second attempt, since a shared machine may stand still for
 * seconds. It is no secret: the first failure is logged, and the last lines of the run name the test. All others get none, the laws
 * among them, which are tried with other inputs each time.
 */
const { testPath = '' } = expect.getState();
if (/\.e2e\.spec\.ts$|[\\/](?:inference|tfjs|onnx)[\\/]/.test(testPath)) {
  jest.retryTimes(1, { logErrorsBeforeRetry: true });
}
