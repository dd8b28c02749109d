import { describe, expect, it, jest } from '@jest/globals';
import * as here from './errors.js';

class OwnError extends here.BatchingError {
  readonly code = 'ERR_OWN';
}

class OwnFullError extends here.QueueFullError {}

jest.resetModules();
const there = await import('./errors.js');

const makers: ((copy: typeof here) => here.BatchingError)[] = [
  (copy) => new copy.QueueFullError('queue', 8, 1),
  (copy) => new copy.TooManyInputsError('queue', 9, 8),
  (copy) => new copy.DeadlineError('queue', 5, 1),
  (copy) => new copy.InputCostError('queue', 9, 8),
  (copy) => new copy.ServiceStoppedError('queue'),
  (copy) => new copy.BatchTimeoutError('queue', 5, 'waiting'),
  (copy) => new copy.BatchResultError('queue', 3, 'a Map'),
  (copy) => new copy.MissingResultError('queue', 'secret'),
];

/** The names of the classes that the error is an instance of, in a copy of the library. */
function classesOf(error: unknown, copy: typeof here): string[] {
  return Object.entries(copy)
    .flatMap(([name, type]) => (name !== 'brand' && error instanceof type ? [name] : []))
    .sort();
}

describe('errors', () => {
  it('nest#10059: those of two copies of the library are instances of the same classes', () => {
    expect(there.BatchingError).not.toBe(here.BatchingError);
    for (const make of makers) {
      const { name } = make(here);
      for (const error of [make(here), make(there)]) {
        expect(classesOf(error, here)).toEqual(['BatchingError', name].sort());
        expect(classesOf(error, there)).toEqual(['BatchingError', name].sort());
        expect(error).toBeInstanceOf(Error);
      }
    }
  });

  it('nest#10059: a user’s subclass has its own instances only, and they are instances of its base class', () => {
    for (const make of makers) {
      for (const error of [make(here), make(there)]) {
        expect(error instanceof OwnError || error instanceof OwnFullError).toBe(false);
      }
    }
    const full = new OwnFullError('queue', 8, 1);
    expect(full instanceof OwnFullError && !(full instanceof OwnError)).toBe(true);
    expect(classesOf(full, there)).toEqual(['BatchingError', 'QueueFullError']);
    expect(new OwnError('own') instanceof OwnError).toBe(true);
    expect(classesOf(new OwnError('own'), there)).toEqual(['BatchingError']);
  });

  it('no other value is an instance', () => {
    for (const value of [undefined, null, 1, 'ERR_BATCHING_FULL', {}, new Error('full'), () => 1]) {
      expect(classesOf(value, here)).toEqual([]);
    }
  });

  it('have a kind, and a public message that contains no settings', () => {
    expect(makers.map((make) => [make(here).kind, make(here).publicMessage])).toEqual([
      ['overload', 'queue is full'],
      ['too-large', 'queue takes at most 8 inputs at once, not 9'],
      ['overload', 'queue would take longer than the time allowed'],
      ['too-large', 'the input costs 9, and at most 8 is allowed'],
      ['stopped', 'queue was stopped'],
      ['timeout', 'queue gave no result in time'],
      ['failure', undefined],
      ['missing', 'queue has no result for this input'],
    ]);
    const { kind, publicMessage } = new OwnError('own');
    expect([kind, publicMessage]).toEqual(['failure', undefined]);
  });
});
