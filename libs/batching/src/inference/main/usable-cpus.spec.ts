import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { temporaryFolder } from '../../tfjs/models.fixture.js';
import { usableCpus, workersFor } from './usable-cpus.js';

describe('usableCpus', () => {
  function rootWith(files: Record<string, string>): string {
    const root = temporaryFolder();
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    }
    return root;
  }

  it.each<[string, number, Record<string, string>]>([
    ['no cgroups, as on other systems', 16, {}],
    ['a quota of v2', 4, { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': '400000 100000\n' }],
    ['no quota in v2', 16, { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': 'max 100000\n' }],
    [
      'the lowest quota of v2 on the way up',
      3,
      {
        'proc/self/cgroup': '0::/pods/one\n',
        'sys/fs/cgroup/pods/one/cpu.max': '600000 100000\n',
        'sys/fs/cgroup/pods/cpu.max': '300000 100000\n',
        'sys/fs/cgroup/cpu.max': 'max 100000\n',
      },
    ],
    [
      'a quota of v1 in a container, with the path of the host',
      2,
      {
        'proc/self/cgroup': '11:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n',
        'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '200000\n',
        'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
      },
    ],
    [
      'a quota of -1 in v1, which is none',
      16,
      {
        'proc/self/cgroup': '1:cpu:/\n0::/\n',
        'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
        'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
      },
    ],
    [
      'a part of a CPU, which cannot keep another worker busy',
      2,
      { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': '290000 100000\n' },
    ],
    ['less than one CPU', 1, { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': '50000 100000\n' }],
    [
      'more than the affinity allows',
      16,
      { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': '6400000 100000\n' },
    ],
    ['a file that is no quota', 16, { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': 'x' }],
  ])('of 16 CPUs with %s: %i', (_, expected, files) => {
    expect(usableCpus(16, rootWith(files))).toBe(expected);
  });

  it('is at least one here, and at most what the affinity allows', () => {
    expect(usableCpus()).toBeGreaterThanOrEqual(1);
    expect(usableCpus()).toBeLessThanOrEqual(availableParallelism());
  });
});

describe('workersFor', () => {
  it('takes both of two CPUs, else leaves one, and takes at most eight', () => {
    expect([1, 2, 3, 4, 8, 9, 10, 64].map(workersFor)).toEqual([1, 2, 2, 3, 7, 8, 8, 8]);
  });
});
