import { expect, it } from '@jest/globals';
import { reliability } from '../bench/reliability.js';

it('the demo loses nothing under slow clients, aborts, poison, workers that end, changed settings and SIGTERM', async () => {
  const effort = { capacity: 1.2, load: 6, killEvery: 2, changeEvery: 1, memoryEvery: 1, timeout: 10_000 };
  const { faults, outcomes, kills, changes, stats, memory } = await reliability(effort, () => undefined);
  expect(faults).toEqual([]);
  expect({ kills, changes }).toEqual({ kills: expect.any(Number), changes: expect.any(Number) });
  expect(Math.min(kills, changes, memory.length)).toBeGreaterThan(0);
  expect([...outcomes.keys()]).toContain('usual: 200');
  expect(stats).toMatchObject({ waiting: 0, running: 0, submitted: stats.settled + stats.dropped });
}, 120_000);
