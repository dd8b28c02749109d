/**
 * Draws the plots of docs/tuning.md with the simulator: `npm run plot:tuning`. Seeded, so the files change only when a
 * policy does.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { type Chart, drawChart, type Series } from '@app/figures';
import {
  bursts,
  capacity,
  closedLoop,
  type Load,
  type Measured,
  poisson,
  simulate,
  type SimulatedPolicy,
} from '../sim/simulator.js';
import { AdaptivePolicy } from '../libs/batching/src/core/dispatch/adaptive-policy.js';
import { eager, fixed } from '../libs/batching/src/core/dispatch/dispatch-policy.js';

const curve = { alpha: 0.25, beta: 5, batchSize: 32 };
const FOLDER = new URL('../docs/images/', import.meta.url);

function run(policy: SimulatedPolicy, load: Load, maxDelay = 30): Measured {
  const scene = { curve, maxDelay, loads: [load], items: 40_000, seed: 1 };
  const [measured] = simulate(policy, scene);
  if (!measured) throw new Error('nothing was measured');
  return measured;
}

const contenders: Record<string, (load: Load) => Measured> = {
  adaptive: (load) => run(new AdaptivePolicy(), load),
  eager: (load) => run(eager, load),
  'fixed, 2 ms': (load) => run(fixed, load, 2),
  'fixed, 10 ms': (load) => run(fixed, load, 10),
};

function compare(xs: readonly number[], of: (x: number) => Load, pick: keyof Measured): Series[] {
  return Object.entries(contenders).map(([name, measure]) => ({
    name,
    points: xs.map((x) => [x, measure(of(x))[pick]] as const),
  }));
}

const rhos = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
const callers = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64];
const delays = [0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20];
const sizes = [1, 2, 4, 8, 16, 32, 64, 128];

const plots: Record<string, Chart> = {
  'dispatch-poisson': {
    title: 'Independent callers: waiting never pays',
    x: { name: 'load, share of the capacity' },
    y: { name: 'mean latency, ms' },
    lines: compare(rhos, (rho) => poisson(rho, curve), 'mean'),
  },
  'dispatch-closed-loop': {
    title: 'Callers that wait for their result: waiting pays, except for one',
    x: { name: 'callers', marks: [1, 16, 32, 48, 64] },
    y: { name: 'items/s' },
    lines: compare(callers, (count) => closedLoop(count), 'throughput'),
  },
  'max-delay': {
    title: 'maxDelay under bursts of 16 in 2 ms, load 0.1',
    x: { name: 'maxDelay, ms', marks: [0.1, 0.2, 0.5, 1, 2, 5, 10, 20], logarithmic: true },
    y: { name: 'mean latency, ms' },
    lines: [
      {
        name: 'adaptive',
        points: delays.map((x) => [x, run(new AdaptivePolicy(), bursts(0.1, curve), x).mean]),
      },
      { name: 'eager', points: delays.map((x) => [x, run(eager, bursts(0.1, curve), x).mean]) },
      { name: 'fixed', points: delays.map((x) => [x, run(fixed, bursts(0.1, curve), x).mean]) },
    ],
  },
  'batch-size': {
    title: 'batchSize: what full batches of 0.25 ms · n + 5 ms can carry',
    x: { name: 'batchSize', marks: sizes, logarithmic: true },
    y: { name: 'items/s' },
    lines: [
      {
        name: 'capacity',
        points: sizes.map((batchSize) => [batchSize, 1000 * capacity({ ...curve, batchSize })]),
      },
    ],
  },
};

mkdirSync(FOLDER, { recursive: true });
for (const [name, plot] of Object.entries(plots))
  writeFileSync(new URL(`${name}.svg`, FOLDER), drawChart(plot));
