import type { CanActivate } from '@nestjs/common';
import { describe, expect, it } from '@jest/globals';
import { type BatchingDashboardOptions, checkDashboardOptions } from './dashboard-options.js';

class Guard implements CanActivate {
  canActivate(): boolean {
    return true;
  }
}

describe('The options of BatchingDashboardModule.forRoot()', () => {
  it('are complete without any, and read-only', () => {
    expect(checkDashboardOptions({})).toEqual({
      path: 'batching',
      tune: false,
      guards: [],
      imports: [],
      unguarded: false,
      maxViewers: 100,
    });
  });

  it.each<BatchingDashboardOptions>([
    { tune: true, guards: [Guard] },
    { tune: true, guards: [new Guard()] },
    { tune: true, unguarded: true },
    { path: '/admin/batching' },
  ])('take %j', (options) => {
    expect(checkDashboardOptions(options)).toMatchObject(options);
  });

  it('refuse to let anybody change settings', () => {
    for (const options of [{ tune: true }, { tune: true, guards: [] }, { tune: true, unguarded: false }]) {
      expect(() => checkDashboardOptions(options)).toThrow(
        /^BatchingDashboardModule.forRoot\(\): tune: expected guards, got none: .*; set unguarded: true if a global guard/,
      );
    }
  });

  it.each([
    [{ path: 5 }, TypeError, 'path: expected a string, got 5'],
    [{ path: '' }, RangeError, "path: expected a path as 'batching' or 'admin/batching', got ''"],
    [{ path: 'a b' }, RangeError, 'path: expected'],
    [{ path: ':id' }, RangeError, 'path: expected'],
    [{ tune: 'yes' }, TypeError, "tune: expected a boolean, got 'yes'"],
    [{ unguarded: 1 }, TypeError, 'unguarded: expected a boolean, got 1'],
    [{ guards: Guard }, TypeError, 'guards: expected an array of guards, got a function'],
    [{ guards: [{}] }, TypeError, 'guards: expected an array of guards, got an array of 1'],
    [{ maxViewers: 0 }, RangeError, 'maxViewers: expected an integer ≥ 1 or Infinity, got 0'],
    [null, TypeError, 'options: expected an object, got null'],
  ])('refuse %j', (options, type, message) => {
    const check = () => checkDashboardOptions(options as BatchingDashboardOptions);
    expect(check).toThrow(type);
    expect(check).toThrow(`BatchingDashboardModule.forRoot(): ${message}`);
  });
});
