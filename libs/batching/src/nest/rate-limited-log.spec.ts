import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { RateLimitedLog } from './rate-limited-log.js';

describe('warnings that come in great numbers', () => {
  let lines: string[];
  let log: RateLimitedLog;

  beforeEach(() => {
    jest.useFakeTimers();
    lines = [];
    log = new RateLimitedLog({ warn: (line: unknown) => lines.push(String(line)) });
  });

  afterEach(() => {
    jest.useRealTimers();
  });

  it('are logged at once, then one line in 10 s with the number of the others', () => {
    for (let index = 0; index < 1000; index++) log.warn('queue', `failure ${index}`);
    expect(lines).toEqual(['failure 0']);
    jest.advanceTimersByTime(10_000);
    expect(lines.slice(1)).toEqual(['failure 999 (and 998 more like it since the last line)']);
    log.warn('queue', 'one more');
    expect(lines).toHaveLength(2);
    jest.advanceTimersByTime(10_000);
    expect(lines.slice(2)).toEqual(['one more']);
  });

  it('of another kind are logged at once', () => {
    log.warn('one', 'a');
    log.warn('other', 'b');
    expect(lines).toEqual(['a', 'b']);
  });

  it('leave no timer behind when they have ended, and the next is logged at once', () => {
    log.warn('queue', 'a');
    jest.advanceTimersByTime(10_000);
    expect(jest.getTimerCount()).toBe(0);
    log.warn('queue', 'b');
    expect(lines).toEqual(['a', 'b']);
  });

  it('that were held back are logged when the application closes', () => {
    for (const line of ['a', 'b', 'c']) log.warn('queue', line);
    log.flush();
    expect(lines).toEqual(['a', 'c (and 1 more like it since the last line)']);
    expect(jest.getTimerCount()).toBe(0);
  });
});
