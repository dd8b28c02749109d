import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { AdaptivePolicy } from '../libs/batching/src/core/dispatch/adaptive-policy.js';
import { eager, fixed } from '../libs/batching/src/core/dispatch/dispatch-policy.js';
import { bursts, closedLoop, type Load, poisson, simulate, type SimulatedPolicy, type ServiceCurve } from '../sim/simulator.js';
const FITS: ServiceCurve[] = [
  { alpha: 0.25, beta: 5, batchSize: 32 },
  { alpha: 0.1438, beta: 1.8874, batchSize: 64 },
  { alpha: 0.5833, beta: 1.4284, batchSize: 32 },
];
const WAITS = [0, 0.3, 0.5, 1, 1.5, 2, 3, 5, 10];
const verbose = process.argv.includes('-v');
const SEED = Number(process.env.SEED ?? 1);
const FILE = `/tmp/s/lab-cache-${SEED}.json`;
const cache: Record<string, number> = existsSync(FILE) ? JSON.parse(readFileSync(FILE, 'utf8')) : {};
const known = (key: string, compute: () => number) => (cache[key] ??= compute());
const TURN = (fit: ServiceCurve) => [poisson(0.3, fit), closedLoop(8), bursts(0.3, fit), closedLoop(1), poisson(0.9, fit), bursts(0.02, fit), closedLoop(32), poisson(0.02, fit)];
const one = (policy: SimulatedPolicy, curve: ServiceCurve, load: Load, blocking: boolean, maxDelay = 30) => {
  const items = load.again ? 30_000 : 100_000;
  const [m] = simulate(policy, { curve, maxDelay, loads: [load], items, seed: SEED, blocking });
  return load.again ? 1000 / (m?.throughput ?? NaN) : (m?.mean ?? NaN);
};
const out: string[] = [];
const s: Record<string, { rows: number; met: number; worst: number; log: number }> = {};
const note = (key: string, name: string, best: number, lazy: number, pr: number) => {
  const ref = Math.min(best, lazy);
  const t = (s[key] ??= { rows: 0, met: 0, worst: 0, log: 0 });
  const limit = name.includes('Poisson') || name.includes('N 1') ? 1.01 : 1.02;
  t.rows++; t.met += pr / ref <= limit ? 1 : 0; t.worst = Math.max(t.worst, pr / ref); t.log += Math.log(pr / ref);
  if (verbose || pr / ref > limit) out.push(`${key.padEnd(22)} ${name.padEnd(40)} best ${best.toFixed(2)} eager ${(lazy / ref).toFixed(3)} ours ${(pr / ref).toFixed(3)}${pr / ref > limit ? ' MISS' : ''}`);
};
for (const [f, fit] of FITS.entries()) for (const blocking of [false, true]) {
  const key = `fit ${f} ${blocking ? 'blocking' : 'free'}`;
  const loads = [
    ...[0.02, 0.1, 0.3, 0.6, 0.9].map((r) => poisson(r, fit)),
    ...[0.02, 0.3, 0.6].map((r) => bursts(r, fit)),
    ...[1, 2, 4, 8, 16, 32, 48, 64].map((n) => closedLoop(n)),
    ...[1, 2, 4, 8, 16, 32, 64].map((n) => closedLoop(n, 0.5, 1)),
  ];
  for (const load of loads) {
    const k = `${key} ${load.name}`;
    const best = known(`${k} best`, () => Math.min(...WAITS.map((w) => one(fixed, fit, load, blocking, w))));
    const lazy = known(`${k} eager`, () => one(eager, fit, load, blocking));
    note(key, load.name, best, lazy, one(new AdaptivePolicy(), fit, load, blocking));
  }
  const turns = TURN(fit);
  const scene = { curve: fit, loads: turns, turn: 2000, items: 400_000, seed: SEED, blocking };
  const k = `${key} turn`;
  if (cache[`${k} 0 best`] === undefined) {
    const ws = WAITS.map((maxDelay) => simulate(fixed, { ...scene, maxDelay }));
    const lazy = simulate(eager, { ...scene, maxDelay: 30 });
    for (const i of turns.keys()) { cache[`${k} ${i} best`] = Math.min(...ws.map((w) => w[i]?.mean ?? NaN)); cache[`${k} ${i} eager`] = lazy[i]?.mean ?? NaN; }
  }
  const pr = simulate(new AdaptivePolicy(), { ...scene, maxDelay: 30 });
  for (const [i, load] of turns.entries()) note(`${key} turn`, load.name, cache[`${k} ${i} best`] ?? NaN, cache[`${k} ${i} eager`] ?? NaN, pr[i]?.mean ?? NaN);
  writeFileSync(FILE, JSON.stringify(cache));
}
if (!process.env.QUIET) console.log(out.join('\n'));
const t = { rows: 0, met: 0, log: 0 };
for (const [key, x] of Object.entries(s)) { t.rows += x.rows; t.met += x.met; t.log += x.log; if (!process.env.QUIET) console.log(key.padEnd(24), `rows ${x.rows} met ${x.met} worst ${x.worst.toFixed(3)} geo ${Math.exp(x.log / x.rows).toFixed(4)}`); }
console.log(process.env.TUNE ?? '', `TOTAL ${t.rows} met ${t.met} geo ${Math.exp(t.log / t.rows).toFixed(4)}`);
