/**
 * Draws the pictures of apps/games/README.md and writes its table, from real runs: `npm run plot:games`. It takes about five
 * minutes on an idle machine. Backends that do not start here are left out, and so is a software Vulkan, which proves nothing
 * about speed.
 */
import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { drawChart, progressBar } from '@app/figures';
import { format, resolveConfig } from 'prettier';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const IMAGES = join(ROOT, 'docs/images');
const README = join(ROOT, 'apps/games/README.md');

const BACKENDS = ['tensorflow', 'wasm', 'cpu', 'webgpu'];
const WIDTHS = [16, 32, 64, 128, 256, 512, 1024];
/** Of ratios; those that are drawn are the ones that the curves need. */
const MARKS = [0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200];

interface Measured {
  readonly device: string;
  /** Environment steps per second with full batches, medians of all rounds. */
  readonly full: number;
  readonly single: number;
  readonly ratio: number;
  readonly least: number;
  readonly most: number;
}

const NOTHING: Measured = { device: '', full: NaN, single: NaN, ratio: NaN, least: NaN, most: NaN };

const curves = new Map<string, Map<number, Measured>>(BACKENDS.map((backend) => [backend, new Map()]));

const said: string[] = [];
const bar = progressBar('{bar} {value} of {total} | {now} | {eta_formatted} left');
bar.start(WIDTHS.length * BACKENDS.length, 0, { now: '' });
// By turns, so that what else the machine does meets all backends alike.
for (const [done, width] of WIDTHS.entries()) {
  for (const [index, backend] of BACKENDS.entries()) {
    bar.update(done * BACKENDS.length + index, { now: `${backend}, 2 × ${width}` });
    const curve = curves.get(backend);
    if (!curve) continue;
    const measured = await compare(backend, width);
    if (typeof measured === 'string') {
      said.push(`${backend} is left out: ${measured}`);
      curves.delete(backend);
      continue;
    }
    curve.set(width, measured);
    const { full, single, ratio, least, most } = measured;
    said.push(
      `${backend}, 2 × ${width}: ${inWords(full)} steps/s in batches of 100, ${inWords(single)} one by one: ` +
        `${ratio} × (${least} to ${most})`,
    );
  }
}
bar.update(WIDTHS.length * BACKENDS.length, { now: 'the learning curve' });
await writeFile(join(IMAGES, 'games-width.svg'), widthChart());
said.push(await learn());
bar.stop();
await writeTable();
console.log(said.join('\n'));
console.log('Written: docs/images/games-width.svg, docs/images/games-learning.svg, apps/games/README.md');

/** What `npm run games` says; the reason where the backend is to be left out. */
async function compare(backend: string, width: number): Promise<Measured | string> {
  let output: string;
  try {
    output = await games('--batch-size', '1', '--backend', backend, '--hidden', String(width));
  } catch (error) {
    const { stderr } = error as { stderr: string };
    const reason = /^error: backend \w+ cannot start; (.*)$/m.exec(stderr)?.[1];
    if (reason === undefined) throw error;
    return reason;
  }
  const device = /hidden units \(\w+, (.*)\)$/m.exec(output)?.[1];
  const rounds = [...output.matchAll(/^ *([\d,]+) +([\d,]+) +[\d.]+ ×$/gm)];
  const [, ratio, least, most] =
    /play ([\d.]+) times as fast \(median; ([\d.]+) to ([\d.]+)\)/.exec(output) ?? [];
  if (device === undefined || rounds.length === 0 || most === undefined) {
    throw new Error(`npm run games gave no ratio:\n${output}`);
  }
  if (backend === 'webgpu' && device.startsWith('CPU')) return `it has no GPU here, but ${device}`;
  const rates = (side: 1 | 2) => median(rounds.map((round) => Number(round[side]?.replaceAll(',', ''))));
  return {
    device,
    full: rates(1),
    single: rates(2),
    ratio: Number(ratio),
    least: Number(least),
    most: Number(most),
  };
}

async function learn(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'games-'));
  try {
    const output = await games('--out', folder);
    await copyFile(join(folder, 'learning-curve.svg'), join(IMAGES, 'games-learning.svg'));
    return /^The last 100 games .*$/m.exec(output)?.[0] ?? output;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Runs the program as `npm run games` does. */
async function games(...args: string[]): Promise<string> {
  const program = ['--import', 'tsx', 'apps/games/src/main.ts', ...args];
  const { stdout } = await promisify(execFile)(process.execPath, program, { cwd: ROOT, timeout: 240_000 });
  return stdout;
}

function widthChart(): string {
  const ratios = [...curves.values()].flatMap((curve) => [...curve.values()].map(({ ratio }) => ratio));
  const [least, most] = [Math.min(1, ...ratios), Math.max(...ratios)];
  const from = MARKS.findLastIndex((mark) => mark <= least);
  const to = MARKS.findIndex((mark) => mark >= most);
  return drawChart({
    title: 'How much faster 100 games play in batches of 100 than one by one',
    x: { name: 'units in each of the two hidden layers', marks: WIDTHS, logarithmic: true },
    y: { name: 'times as fast', marks: MARKS.slice(Math.max(0, from), to + 1), logarithmic: true },
    limit: 1,
    lines: [...curves].map(([name, curve]) => ({
      name,
      points: [...curve].map(([width, { ratio }]) => [width, ratio]),
    })),
  });
}

/** Replaces what stands between the two comments in the README. */
async function writeTable(): Promise<void> {
  const rows = WIDTHS.map((width) => [
    `2 × ${width}`,
    ...[...curves.values()].map((curve) => {
      const { ratio, least, most } = curve.get(width) ?? NOTHING;
      return `**${ratio.toFixed(1)}** (${least.toFixed(1)}–${most.toFixed(1)})`;
    }),
  ]);
  const table = [['hidden units', ...curves.keys()], [...curves.keys(), ''].map(() => '---:'), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
  const rates = [...curves].map(([name, curve]) => {
    const { device, full, single } = curve.get(64) ?? NOTHING;
    return `- ${name}, ${device}: ${inWords(full)} and ${inWords(single)}`;
  });
  const machine = `${cpus()[0]?.model ?? 'unknown'}, ${cpus().length} cores, Node ${process.versions.node}`;
  const measured =
    `<!-- measured: -->\n\n${table}\n\nMeasured on: ${machine}. Steps per second with 2 × 64 hidden units, in batches ` +
    `of 100 and one by one:\n\n${rates.join('\n')}\n\n<!-- :measured -->`;
  const text = await readFile(README, 'utf8');
  const place = /<!-- measured: -->.*<!-- :measured -->/s;
  if (!place.test(text)) throw new Error(`${README} has no place for the table: ${String(place)}`);
  const written = text.replace(place, () => measured);
  await writeFile(README, await format(written, { ...(await resolveConfig(README)), filepath: README }));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

function inWords(value: number): string {
  return Math.round(value).toLocaleString('en');
}
