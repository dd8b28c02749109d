import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, jest } from '@jest/globals';
import { DeviceLock } from './device-lock.js';

/** What a promise has come to by now. */
function now<T>(promise: Promise<T>): Promise<T | 'pending'> {
  return Promise.race([promise, sleep(20, 'pending' as const)]);
}

function work(): {
  promise: Promise<string>;
  resolve: (result: string) => void;
  reject: (error: Error) => void;
} {
  let resolve!: (result: string) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<string>((...settle) => ([resolve, reject] = settle));
  return { promise, resolve, reject };
}

describe('DeviceLock', () => {
  it('lets the worker work, and settles as its work does', async () => {
    const worker = new DeviceLock(new DeviceLock().memory);
    expect(await worker.hold(() => Promise.resolve('result'))).toBe('result');
    await expect(worker.hold(() => Promise.reject(new Error('mine')))).rejects.toThrow('mine');
    expect(await worker.hold(() => Promise.resolve('again'))).toBe('again');
  });

  it.each(['resolve', 'reject'] as const)(
    'waits until the work under way has broken off (%s)',
    async (settle) => {
      const main = new DeviceLock();
      const worker = new DeviceLock(main.memory);
      const { promise, resolve, reject } = work();
      const held = worker.hold(() => promise);
      const stop = jest.fn();
      const ending = worker.onEnding(stop);
      expect(worker.ending).toBe(false);
      expect(await now(ending)).toBe('pending');
      const ended = main.end().then(() => 'ended');
      await ending;
      expect(stop).toHaveBeenCalledTimes(1);
      expect(worker.ending).toBe(true);
      expect(await now(ended)).toBe('pending');
      if (settle === 'resolve') resolve('too late');
      else reject(new Error('broken off'));
      expect(await ended).toBe('ended');
      expect(await now(held)).toBe('pending');
    },
  );

  it('begins no work once the worker is being ended', async () => {
    const main = new DeviceLock();
    const worker = new DeviceLock(main.memory);
    await main.end();
    let begun = false;
    const held = worker.hold(() => {
      begun = true;
      return Promise.resolve('result');
    });
    expect(await now(held)).toBe('pending');
    expect(begun).toBe(false);
    await main.end();
    main.endSync();
  });

  it('does not call stop without work: the thread may end at any moment', async () => {
    const main = new DeviceLock();
    const worker = new DeviceLock(main.memory);
    const stop = jest.fn();
    const ending = worker.onEnding(stop);
    await worker.hold(() => Promise.resolve());
    await main.end();
    await ending;
    expect(stop).not.toHaveBeenCalled();
  });

  it('does not wait for a worker that has ended by itself', async () => {
    const main = new DeviceLock();
    const worker = new DeviceLock(main.memory);
    void worker.hold(() => new Promise(() => undefined));
    worker.release();
    await main.end();
    main.endSync();
  });
});
