import { describe, expect, it } from '@jest/globals';
import { QueueFullError, ServiceStoppedError, SessionInterruptedError } from 'nest-batching';
import { InferenceError, InferenceWorkerError } from 'nest-batching/onnx';
import { refusalOf } from './client.js';

describe('refusalOf', () => {
  const full = new QueueFullError('VoiceDetector.hear', 10_000, 1500);
  it.each([
    [full, 'ERR_BATCHING_FULL', 1013, 2000],
    [new SessionInterruptedError(full), 'ERR_BATCHING_SESSION_INTERRUPTED', 1013, 1000],
    [new ServiceStoppedError('VoiceDetector.hear'), 'ERR_BATCHING_STOPPED', 1013, 1000],
    [new InferenceWorkerError('died'), 'ERR_BATCHING_WORKER', 1013, 1000],
    [new InferenceError('secret'), 'ERR_INTERNAL', 1011, undefined],
    [new TypeError('secret'), 'ERR_INTERNAL', 1011, undefined],
    ['secret', 'ERR_INTERNAL', 1011, undefined],
  ])('of %s', (error, code, closeCode, retryAfter) => {
    const refusal = refusalOf(error);
    expect(refusal).toMatchObject({ code, closeCode });
    expect(refusal.retryAfter).toBe(retryAfter);
    expect(refusal.message).not.toContain('secret');
  });
});
