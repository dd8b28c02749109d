/**
 * Draws the plots of docs/tuning.md with the simulator: `npm run plot:tuning`. Seeded, so the files change only when a
 * policy does.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import {
  bursts,
  capacity,
  closedLoop,
  type Load,
  type Measured,
  poisson,
  simulate,
  type SimulatedPolicy,
} from '../bench/simulator.js';
import { AdaptivePolicy } from '../libs/batching/src/core/adaptive-policy.js';
import { eager, fixed } from '../libs/batching/src/core/dispatch-policy.js';

interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

interface Plot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  /** Values at the x axis's marks; the axis is logarithmic where they grow by factors. */
  readonly marks: readonly number[];
  readonly logarithmic?: boolean;
  readonly lines: readonly Line[];
}

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

function compare(xs: readonly number[], of: (x: number) => Load, pick: keyof Measured): Line[] {
  return Object.entries(contenders).map(([name, measure]) => ({
    name,
    points: xs.map((x) => [x, measure(of(x))[pick]] as const),
  }));
}

const rhos = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
const callers = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64];
const delays = [0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20];
const sizes = [1, 2, 4, 8, 16, 32, 64, 128];

const plots: Record<string, Plot> = {
  'dispatch-poisson': {
    title: 'Independent callers: waiting never pays',
    x: 'load, share of the capacity',
    y: 'mean latency, ms',
    marks: [0.02, 0.2, 0.4, 0.6, 0.8],
    lines: compare(rhos, (rho) => poisson(rho, curve), 'mean'),
  },
  'dispatch-closed-loop': {
    title: 'Callers that wait for their result: waiting pays, except for one',
    x: 'callers',
    y: 'items/s',
    marks: [1, 16, 32, 48, 64],
    lines: compare(callers, (count) => closedLoop(count), 'throughput'),
  },
  'max-delay': {
    title: 'maxDelay under bursts of 16 in 2 ms, load 0.1',
    x: 'maxDelay, ms',
    y: 'mean latency, ms',
    marks: [0.1, 1, 10],
    logarithmic: true,
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
    x: 'batchSize',
    y: 'items/s',
    marks: sizes,
    logarithmic: true,
    lines: [
      {
        name: 'capacity',
        points: sizes.map((batchSize) => [batchSize, 1000 * capacity({ ...curve, batchSize })]),
      },
    ],
  },
};

/** Grey that can be read on white and on black, and colours that are told apart by the colour-blind (Okabe and Ito). */
const GREY = '#808080';
const COLOURS = ['#0072b2', '#e69f00', '#009e73', '#cc79a7'];
const WIDTH = 640;
const HEIGHT = 340;
const LEFT = 64;
const RIGHT = WIDTH - 130;
const TOP = 44;
const BOTTOM = HEIGHT - 52;

function draw({ title, x, y, marks, logarithmic = false, lines }: Plot): string {
  const points = lines.flatMap((line) => line.points);
  const scale = logarithmic ? Math.log : Number;
  const from = scale(Math.min(...points.map(([at]) => at)));
  const to = scale(Math.max(...points.map(([at]) => at)));
  const step = roundStep(Math.max(...points.map(([, value]) => value)) / 5);
  const most = step * Math.ceil(Math.max(...points.map(([, value]) => value)) / step);
  const px = (at: number) => (LEFT + ((scale(at) - from) / (to - from)) * (RIGHT - LEFT)).toFixed(1);
  const py = (value: number) => (BOTTOM - (value / most) * (BOTTOM - TOP)).toFixed(1);
  const parts = [`<text x="${LEFT}" y="24" font-size="15" font-weight="bold">${title}</text>`];
  for (let value = 0; value <= most; value += step) {
    parts.push(
      `<path d="M${LEFT} ${py(value)}H${RIGHT}" stroke="${GREY}" stroke-opacity=".35"/>`,
      `<text x="${LEFT - 8}" y="${Number(py(value)) + 4}" text-anchor="end">${value}</text>`,
    );
  }
  for (const mark of marks) {
    parts.push(`<text x="${px(mark)}" y="${BOTTOM + 18}" text-anchor="middle">${mark}</text>`);
  }
  parts.push(
    `<text x="${(LEFT + RIGHT) / 2}" y="${HEIGHT - 12}" text-anchor="middle">${x}</text>`,
    `<text transform="translate(16 ${(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${y}</text>`,
  );
  // The first line is drawn last, so that it is seen where lines meet.
  for (const [index, line] of [...lines.entries()].reverse()) {
    const colour = COLOURS[index] ?? GREY;
    const path = line.points.map(([at, value]) => `${px(at)} ${py(value)}`).join('L');
    const middle = TOP + 16 + 22 * index;
    parts.push(
      `<path d="M${path}" fill="none" stroke="${colour}" stroke-width="2.5" stroke-linejoin="round"/>`,
      `<path d="M${RIGHT + 10} ${middle - 4}h18" stroke="${colour}" stroke-width="2.5"/>`,
      `<text x="${RIGHT + 33}" y="${middle}">${line.name}</text>`,
    );
  }
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" ` +
    `font-family="system-ui, sans-serif" font-size="12" fill="${GREY}">\n${parts.join('\n')}\n</svg>\n`
  );
}

/** The next of 1, 2, 5, 10, … that is no less. */
function roundStep(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((factor) => factor * power >= value) ?? 10);
}

mkdirSync(FOLDER, { recursive: true });
for (const [name, plot] of Object.entries(plots)) writeFileSync(new URL(`${name}.svg`, FOLDER), draw(plot));
