import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';

/** Most workers that `auto` starts: each has the models and a runtime of its own. */
const MOST_WORKERS = 8;

/**
 * The workers that pay on this many CPUs: both of two, since the main thread mostly waits for them; of more,
 * one is left to the main thread.
 */
export function workersFor(cpus: number): number {
  return cpus <= 2 ? cpus : Math.min(cpus - 1, MOST_WORKERS);
}

/**
 * The whole CPUs that this process may use, at least one: those of its affinity, or fewer if the quota of its
 * cgroup (v1 or v2), or of one above it, allows less time.
 *
 * @param root the root of the file system, for tests
 */
export function usableCpus(available = availableParallelism(), root = '/'): number {
  const quotas = cgroupsOf(root).flatMap(({ mount, path, read }) =>
    upTo(path).map((folder) => read(join(root, mount, folder))),
  );
  return Math.max(1, Math.floor(Math.min(available, ...quotas)));
}

interface Cgroup {
  /** Where its hierarchy is usually mounted. */
  mount: string;
  /** Its path there. In a container it may be that of the host, which does not exist there. */
  path: string;
  /** Reads the quota of a folder in CPUs; `Infinity` if it has none. */
  read: (folder: string) => number;
}

/** Lines of `/proc/self/cgroup`: `0::/path` in v2, `4:cpu,cpuacct:/path` in v1. */
function cgroupsOf(root: string): Cgroup[] {
  const lines = contentOf(join(root, 'proc/self/cgroup')).split('\n');
  return lines.flatMap((line): Cgroup[] => {
    const [, id, controllers = '', path = '/'] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    if (id === '0' && controllers === '') return [{ mount: 'sys/fs/cgroup', path, read: quotaOfV2 }];
    if (!controllers.split(',').includes('cpu')) return [];
    return [{ mount: join('sys/fs/cgroup', controllers), path, read: quotaOfV1 }];
  });
}

/** A folder and all above it: `/a/b`, `/a`, `/`. */
function upTo(folder: string): string[] {
  return folder === '/' || folder === '.' ? ['/'] : [folder, ...upTo(dirname(folder))];
}

/** `cpu.max`: `150000 100000`, or `max 100000`. */
function quotaOfV2(folder: string): number {
  const [quota, period] = contentOf(join(folder, 'cpu.max')).split(' ').map(Number);
  return cpusOf(quota, period);
}

/** A quota of -1 is none. */
function quotaOfV1(folder: string): number {
  const [quota, period] = ['cpu.cfs_quota_us', 'cpu.cfs_period_us'].map((name) =>
    Number(contentOf(join(folder, name)) || NaN),
  );
  return cpusOf(quota, period);
}

function cpusOf(quota = NaN, period = NaN): number {
  return quota > 0 && period > 0 ? quota / period : Infinity;
}

/** The content of a file; empty if it cannot be read, as on other systems. */
function contentOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}
