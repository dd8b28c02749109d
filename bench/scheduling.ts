import { strict as assert } from 'node:assert';
import { AdaptivePolicy } from '../libs/batching/src/core/dispatch/adaptive-policy.js';
import { type Dispatch, eager, fixed } from '../libs/batching/src/core/dispatch/dispatch-policy.js';
import { inoueBound, optimalMeanLatency } from '../sim/optimum.js';
import { peers } from '../sim/peers.js';
import { type QueuesScene, simulateQueues } from '../sim/queue-simulator.js';
import {
  bursts,
  capacity,
  closedLoop,
  type Load,
  type Measured,
  poisson,
  type ServiceCurve,
  simulate,
  type SimulatedPolicy,
} from '../sim/simulator.js';
import { printTable } from './table.js';

interface Fit extends ServiceCurve {
  readonly source: string;
}

const EXAMPLE: Fit = { alpha: 0.25, beta: 5, batchSize: 32, source: 'the example of the anchors, assumed' };

/**
 * The other two are Inoue's least-squares fits to NVIDIA's published ResNet-50 throughputs (arXiv 1912.06322, §3.3 after
 * Assumption 4); the batch sizes are ours.
 */
const FITS: readonly Fit[] = [
  EXAMPLE,
  { alpha: 0.1438, beta: 1.8874, batchSize: 64, source: 'ResNet-50 on a Tesla V100, Inoue' },
  { alpha: 0.5833, beta: 1.4284, batchSize: 32, source: 'ResNet-50 on a Tesla P4, Inoue' },
];

const POISSON = [0.02, 0.1, 0.3, 0.6, 0.9];
const BURSTS = [0.02, 0.3, 0.6];
const CALLERS = [1, 2, 4, 8, 16, 32, 48, 64];
/** Over HTTP, an answer and the next question take their time. */
const CALLERS_APART = [1, 2, 4, 8, 16, 32, 64];
const WAITS = [0, 0.3, 0.5, 1, 1.5, 2, 3, 5, 10];
/** So long that the cap does not bind: what is shown is what the policy finds by itself. */
const CAP = 30;
/** How far behind the best of `eager` and of all fixed waits a row may be: independent and lone callers; others; turns. */
const AIMS = { alone: 0.01, steady: 0.02, turns: 0.03 };
/** The policy's constants were chosen on the first. */
const SEEDS = [1, 2];

interface Scenes {
  readonly fit: Fit;
  readonly seed: number;
  readonly blocking: boolean;
}

/** Rows with an aim, and those of them that meet it. */
const rowsIn = { all: 0, met: 0 };

/** `npm run bench scheduling`: the real policies under a virtual clock, beside the optimum and models of the peers. */
export async function benchScheduling(): Promise<void> {
  printPeers();
  for (const fit of FITS) {
    console.log(
      `\nBatches of n take ${fit.alpha} ms · n + ${fit.beta} ms (${fit.source}), batch size ${fit.batchSize}, ` +
        `capacity ${(1000 * capacity(fit)).toFixed(0)} items/s; adaptive with maxDelay ${CAP}`,
    );
    printOptimum(fit);
    for (const seed of SEEDS) {
      for (const blocking of [false, true]) {
        console.log(
          `\nThe batch function ${blocking ? 'blocks the event loop' : 'leaves the event loop free'}, seed ${seed}`,
        );
        printSteady({ fit, seed, blocking });
        printTurns({ fit, seed, blocking });
      }
    }
    printOverload(fit);
  }
  console.log(`\n${rowsIn.met} of ${rowsIn.all} rows are met`);
  await printQueues();
}

/** Mean and p99 of the peers' models in the anchors' table: what ours has to reproduce before it may be believed. */
const ANCHORS: Record<number, readonly (string | undefined)[]> = {
  0.02: ['5.9/10.4', '13.8/15.8', '14.3/20.6', '12.0/20.5', '13.8/15.8', '5.9/10.4'],
  0.3: ['9.5/13.5', '12.9/18.3', '17.9/28.2', '17.9/28.2', '12.9/18.3', '9.5/13.5'],
  0.6: ['12.2/18.2', '14.5/20.5', '22.7/34.5', '22.7/34.5', '14.5/20.5', '12.2/18.2'],
  0.9: ['17.6/28.3', '18.0/28.4', '21.0/31.2', '21.0/31.2', undefined, '17.6/28.2'],
};

function printPeers(): void {
  const delay = 10;
  const models: Record<string, () => SimulatedPolicy> = { eager: () => eager };
  for (const [name, build] of Object.entries(peers)) models[name] = () => build(EXAMPLE, delay);
  console.log(`\nPeers' policies at a delay of ${delay} ms, Poisson, mean/p99 ms; ${describe(EXAMPLE)}`);
  const rows = [['', ...Object.keys(models), 'adaptive']];
  for (const [rho, anchors] of Object.entries(ANCHORS)) {
    const load = poisson(Number(rho), EXAMPLE);
    const figures = Object.values(models).map((build) => run(build(), EXAMPLE, load, delay));
    figures.forEach(({ mean, p99 }, index) => {
      const [anchorMean = 0, anchorP99 = 0] = anchors[index]?.split('/').map(Number) ?? [];
      const known =
        anchors[index] === undefined ? mean > 100 : near(mean, anchorMean) && near(p99, anchorP99);
      assert(known, `model ${index} at ρ ${rho}: ${mean}/${p99}, but the anchors have ${anchors[index]}`);
    });
    figures.push(run(new AdaptivePolicy(), EXAMPLE, load, CAP));
    rows.push([
      load.name,
      ...figures.map(({ mean, p99 }) => (mean > 100 ? 'unstable' : `${mean.toFixed(1)}/${p99.toFixed(1)}`)),
    ]);
  }
  printTable(rows);
}

function near(value: number, expected: number): boolean {
  return Math.abs(value - expected) <= 0.03 * expected + 0.1;
}

function describe({ alpha, beta, batchSize }: ServiceCurve): string {
  return `α ${alpha}, β ${beta}, batch size ${batchSize}`;
}

/** Independent arrivals, where the best that any policy could do is known. */
function printOptimum(fit: Fit): void {
  const rows = [['mean latency, ms', 'optimum', 'bound', 'eager', 'adaptive', '/ optimum', '/ eager']];
  for (const rho of POISSON) {
    const load = poisson(rho, fit);
    const optimum = optimalMeanLatency(rho, fit);
    const lazy = run(eager, fit, load).mean;
    const ours = run(new AdaptivePolicy(), fit, load).mean;
    rows.push([
      load.name,
      optimum.toFixed(2),
      inoueBound(rho * capacity(fit), fit).toFixed(2),
      lazy.toFixed(2),
      ours.toFixed(2),
      (ours / optimum).toFixed(3),
      (ours / lazy).toFixed(3),
    ]);
  }
  printTable(rows);
}

const HEADINGS = ['best fixed', 'wait', 'eager', 'adaptive', '/ best', ''];

/** Each load for itself. Of loads in a loop, the mean time from one result to the next tells the throughput. */
function printSteady({ fit, seed, blocking }: Scenes): void {
  const rows = [['mean latency, or ms per result', ...HEADINGS]];
  const loads = [
    ...POISSON.map((rho) => poisson(rho, fit)),
    ...BURSTS.map((rho) => bursts(rho, fit)),
    ...CALLERS.map((callers) => closedLoop(callers)),
    ...CALLERS_APART.map((callers) => closedLoop(callers, 0.5, 1)),
  ];
  for (const load of loads) {
    const measure = (policy: SimulatedPolicy, maxDelay = CAP) => {
      const { mean, throughput } = run(policy, fit, load, maxDelay, { seed, blocking });
      return load.again ? 1000 / throughput : mean;
    };
    const waits = WAITS.map((wait) => measure(fixed, wait));
    rows.push(rowOf(load, waits, measure(eager), measure(new AdaptivePolicy()), AIMS.steady));
  }
  printTable(rows);
}

/** The load changes every two seconds; each is measured from its first moment on, so what is learned late costs. */
function printTurns({ fit, seed, blocking }: Scenes): void {
  const loads = [
    poisson(0.3, fit),
    closedLoop(8),
    bursts(0.3, fit),
    closedLoop(1),
    poisson(0.9, fit),
    bursts(0.02, fit),
    closedLoop(32),
    poisson(0.02, fit),
  ];
  const measure = (policy: SimulatedPolicy, maxDelay = CAP) =>
    simulate(policy, { curve: fit, loads, turn: 2000, items: 400_000, seed, blocking, maxDelay });
  const waits = WAITS.map((wait) => measure(fixed, wait));
  const lazy = measure(eager);
  const ours = measure(new AdaptivePolicy());
  const rows = [['mean latency, ms; turns of 2 s', ...HEADINGS]];
  for (const [index, load] of loads.entries()) {
    const of = (measured: Measured[]) => measured[index]?.mean ?? NaN;
    rows.push(rowOf(load, waits.map(of), of(lazy), of(ours), AIMS.turns));
  }
  printTable(rows);
}

function rowOf(load: Load, waits: number[], lazy: number, ours: number, aim: number): string[] {
  const best = Math.min(...waits);
  const ratio = ours / Math.min(best, lazy);
  const isAlone = load.name.startsWith('Poisson') || /N 1(,|$)/.test(load.name);
  const isMet = ratio <= 1 + (isAlone ? AIMS.alone : aim);
  rowsIn.all++;
  if (isMet) rowsIn.met++;
  const wait = String(WAITS[waits.indexOf(best)]);
  return [
    load.name,
    best.toFixed(2),
    wait,
    lazy.toFixed(2),
    ours.toFixed(2),
    ratio.toFixed(3),
    isMet ? 'met' : 'MISSED',
  ];
}

/** What a queue with several slots, a lane or groups has to bear, each at a share of what its slots can carry. */
const SETUPS: readonly (Pick<QueuesScene, 'slots' | 'queues' | 'groups'> & { name: string })[] = [
  { name: 'concurrency 2', slots: 2 },
  { name: '2 queues, a lane of 1', queues: 2 },
  { name: '2 queues, a lane of 2', queues: 2, slots: 2 },
  { name: '2 groups', groups: 2 },
  { name: '8 groups', groups: 8 },
];

/** Real queues, for what the simulation of the policies alone leaves out. */
async function printQueues(): Promise<void> {
  const queues = (setup: Partial<QueuesScene>, load: Load, dispatch: Dispatch, maxDelay = CAP) =>
    simulateQueues({ curve: EXAMPLE, load, dispatch, maxDelay, items: 15_000, seed: 1, ...setup });
  for (const load of [poisson(0.3, EXAMPLE), bursts(0.3, EXAMPLE), closedLoop(16)]) {
    for (const blocking of [false, true]) {
      const scene = { curve: EXAMPLE, maxDelay: CAP, items: 15_000, seed: 1, blocking };
      const [modelled] = simulate(new AdaptivePolicy(), { ...scene, loads: [load] });
      const real = await queues({ blocking }, load, 'adaptive');
      assert(
        Math.abs((modelled?.mean ?? NaN) / real.mean - 1) < 0.002,
        `${load.name}: not as the real queue`,
      );
    }
  }
  console.log(`\nReal queues under a virtual clock; ${describe(EXAMPLE)}; mean latency, ms`);
  const rows = [['', '', 'best fixed', 'wait', 'eager', 'adaptive', '/ fixed', '/ eager', '']];
  for (const { name, ...setup } of SETUPS) {
    const { slots = 1 } = setup;
    const shares = (load: (rho: number, curve: ServiceCurve) => Load, rho: number): Load => ({
      ...load(rho * slots, EXAMPLE),
      name: load(rho, EXAMPLE).name,
    });
    const loads = [
      ...POISSON.map((rho) => shares(poisson, rho)),
      ...BURSTS.map((rho) => shares(bursts, rho)),
      ...[1, 4, 16, 32, 64].map((callers) => closedLoop(callers)),
    ];
    for (const load of loads) {
      const waits = [0.3, 1, 2, 5];
      const means = [];
      for (const wait of waits) means.push((await queues(setup, load, 'fixed', wait)).mean);
      const best = Math.min(...means);
      const lazy = (await queues(setup, load, 'eager')).mean;
      const ours = (await queues(setup, load, 'adaptive')).mean;
      rows.push([
        name,
        load.name,
        best.toFixed(2),
        String(waits[means.indexOf(best)]),
        lazy.toFixed(2),
        ours.toFixed(2),
        (ours / best).toFixed(3),
        (ours / lazy).toFixed(3),
        ours / lazy <= 1.02 ? 'met' : 'MISSED, worse than eager',
      ]);
    }
  }
  printTable(rows);
}

/** As in the anchors: what BentoML's CorkDispatcher serves of 1.3 times its capacity, with 100 ms to answer. */
const BENTO_OVERLOAD = ['BentoML, the example, 100 ms', '97.6 %', '0.59', '24.0 %', '', ''];

/** More than can be served, and every caller gives up after so many full runs. */
function printOverload(fit: Fit): void {
  const rows = [['1.3 × capacity', 'served', 'p99 / timeout', 'refused', 'late', '']];
  const run = fit.batchSize / capacity(fit);
  for (const runs of [3, 8, 30]) {
    const timeout = Math.round(runs * run);
    const load = poisson(1.3, fit);
    const scene = { curve: fit, maxDelay: CAP, loads: [load], items: 200_000, seed: 1, timeout };
    const [measured] = simulate(new AdaptivePolicy(), scene);
    assert(measured);
    const served = measured.throughput / 1000 / capacity(fit);
    rows.push([
      `timeout ${timeout} ms`,
      percent(served),
      (measured.p99 / timeout).toFixed(2),
      percent(measured.refused),
      percent(measured.late),
      served >= 0.975 && measured.p99 <= timeout ? 'met' : 'missed',
    ]);
  }
  rows.push(BENTO_OVERLOAD);
  printTable(rows);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function run(
  policy: SimulatedPolicy,
  curve: ServiceCurve,
  load: Load,
  maxDelay = CAP,
  { seed = SEEDS[0] ?? 1, blocking = false } = {},
): Measured {
  const items = load.again ? 30_000 : 100_000;
  const [measured] = simulate(policy, { curve, maxDelay, loads: [load], items, seed, blocking });
  assert(measured);
  return measured;
}
