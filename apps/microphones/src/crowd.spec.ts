import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { Batched } from 'nest-batching';
import { Crowd } from './crowd.js';
import { Places } from './places.js';
import { FRAME, FRAME_TIME, type VoiceDetector } from './voice-detector.js';

describe('Crowd', () => {
  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  function crowdOf(hear: (step: unknown, options: { signal: AbortSignal }) => Promise<unknown>): Crowd {
    const places = new Places({ maxMicrophones: 10 });
    return new Crowd({ hear } as unknown as Batched<VoiceDetector>, [new Float32Array(FRAME)], places);
  }

  it('counts no frame as dropped that waited when its microphone left', async () => {
    const crowd = crowdOf(
      (_, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            reject(signal.reason as Error);
          });
        }),
    );
    crowd.resize(4);
    jest.advanceTimersByTime(4 * FRAME_TIME);
    crowd.resize(0);
    await setImmediate();
    expect(crowd.look()).toMatchObject({ heard: 0, dropped: 0 });
  });

  it('counts the frames that a network which fails has dropped', async () => {
    const crowd = crowdOf(() => Promise.reject(new Error('failed')));
    crowd.resize(1);
    jest.advanceTimersByTime(FRAME_TIME);
    await setImmediate();
    expect(crowd.look().dropped).toBeGreaterThan(0);
    crowd.resize(0);
  });
});
