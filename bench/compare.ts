import { execFile } from 'node:child_process';
import { mkdtemp, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { progressBar } from '../libs/figures/src/progress-bar.js';
import { runChild } from './child.js';
import type { SideMessage } from './compare-side.js';
import { median, printTable } from './table.js';

const HERE = fileURLToPath(new URL('..', import.meta.url));
/** Ratios of at least this are no loss. */
const NO_LOSS = 0.97;
/** Milliseconds; on an idle machine each takes a tenth of it. */
const LIMITS = { build: 600_000, round: 180_000, scheduling: 1_800_000 };

const kinds = ['queue', 'http', 'scheduling'] as const;
type Kind = (typeof kinds)[number];

interface Plan {
  readonly commit: string;
  readonly kinds: readonly Kind[];
  readonly quick: boolean;
}

/** The rates of each row, round by round. */
type Rates = Map<string, number[]>;

/**
 * `npm run bench compare <commit>`: whether this working tree is slower than a commit, which is built in a worktree of its own.
 * Both take turns, round by round, under the same load, and with the dependencies of this checkout. `scheduling` is simulated
 * with a seed, so what it prints must be the same. Sets the exit code to 1 if a row is worse, to 2 if it cannot compare.
 *
 * `npm run bench compare <commit> queue http` leaves the rest out; `npm run bench -- compare <commit> --quick` takes fewer
 * rounds and rows, and leaves out `scheduling` unless it is named.
 */
export async function benchCompare(args: readonly string[]): Promise<void> {
  const interrupted = new AbortController();
  const interrupt = () => {
    interrupted.abort();
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, interrupt);
  const folder = await mkdtemp(join(tmpdir(), 'bench-compare-'));
  try {
    const plan = await readPlan(args);
    const base = join(folder, 'base');
    const worse = await compare(plan, base, folder, interrupted.signal).finally(() => removeTree(base));
    console.log(
      worse.length > 0 ? `\nWorse than ${plan.commit}: ${worse.join('; ')}` : '\nNothing is worse.',
    );
    process.exitCode = worse.length > 0 ? 1 : 0;
  } catch (error) {
    const { message, stdout = '' } = error as Error & { stdout?: string };
    console.error(interrupted.signal.aborted ? 'interrupted' : `error: ${message}\n${stdout}`.trimEnd());
    process.exitCode = 2;
  } finally {
    await rm(folder, { recursive: true, force: true });
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.removeListener(name, interrupt);
  }
}

async function readPlan(args: readonly string[]): Promise<Plan> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { quick: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const [commit, ...named] = positionals;
  if (commit === undefined)
    throw new Error('expected a commit to compare with: npm run bench compare <commit>');
  const unknown = named.filter((name) => !(kinds as readonly string[]).includes(name));
  if (unknown.length > 0) throw new Error(`expected some of ${kinds.join(', ')}, got ${unknown.join(', ')}`);
  const { stdout } = await execute('git', ['rev-parse', '--short', '--verify', `${commit}^{commit}`]).catch(
    () => {
      throw new Error(`expected a commit of this repository, got '${commit}'`);
    },
  );
  const wanted = kinds.filter((kind) =>
    named.length > 0 ? named.includes(kind) : kind !== 'scheduling' || !values.quick,
  );
  return { commit: stdout.trim(), kinds: wanted, quick: values.quick };
}

/** Prints what it measured. Returns what is worse. */
async function compare(plan: Plan, base: string, folder: string, signal: AbortSignal): Promise<string[]> {
  console.log(`Building ${plan.commit}`);
  await buildTree(plan.commit, base, signal);
  const worse: string[] = [];
  for (const kind of plan.kinds) {
    const found =
      kind === 'scheduling'
        ? await compareScheduling(base, folder, signal)
        : await compareRates(kind, plan, base, signal);
    worse.push(...found);
  }
  if (!plan.kinds.includes('scheduling')) console.log('\nscheduling was not compared.');
  return worse;
}

/** The commit as it would be built by itself, but for its dependencies. */
async function buildTree(commit: string, tree: string, signal: AbortSignal): Promise<void> {
  await execute('git', ['worktree', 'add', '--quiet', '--detach', tree, commit], { signal });
  await symlink(join(HERE, 'node_modules'), join(tree, 'node_modules'));
  await execute('npm', ['run', '--silent', 'build'], { cwd: tree, signal, timeout: LIMITS.build });
}

async function removeTree(tree: string): Promise<void> {
  await unlink(join(tree, 'node_modules')).catch(() => undefined);
  await execute('git', ['worktree', 'remove', '--force', tree]).catch(() => undefined);
}

async function compareRates(
  kind: 'queue' | 'http',
  { commit, quick }: Plan,
  base: string,
  signal: AbortSignal,
): Promise<string[]> {
  const [unit, digits] = kind === 'queue' ? ['million items per second of CPU time', 2] : ['requests/s', 0];
  const rounds = quick ? 3 : kind === 'queue' ? 11 : 7;
  const before: Rates = new Map();
  const here: Rates = new Map();
  const bar = progressBar(`{bar} ${kind}: {value} of {total} rounds | {eta_formatted} left`);
  bar.start(rounds, 0);
  try {
    for (let round = 0; round < rounds; round++) {
      const sides = [
        { tree: base, rates: before },
        { tree: HERE, rates: here },
      ];
      // Which side begins changes as well: the second may find a warmer or a slower machine.
      if (round % 2 > 0) sides.reverse();
      for (const { tree, rates } of sides) await measureSide(tree, kind, quick, rates, signal);
      bar.increment();
    }
  } finally {
    bar.stop();
  }
  console.log(`\n${kind}, ${unit}, median of ${rounds} rounds`);
  const rows = [['', commit, 'here', 'here / base', '']];
  const worse: string[] = [];
  for (const [row, rates] of here) {
    const old = before.get(row) ?? [];
    const { ratio, least, most, isWorse } = judge(old, rates);
    rows.push([
      row,
      median(old).toFixed(digits),
      median(rates).toFixed(digits),
      `${ratio.toFixed(3)} (${least.toFixed(3)}–${most.toFixed(3)})`,
      isWorse ? 'WORSE' : '',
    ]);
    if (isWorse) worse.push(`${kind}, ${row}`);
  }
  printTable(rows);
  return worse;
}

async function measureSide(
  tree: string,
  kind: 'queue' | 'http',
  quick: boolean,
  rates: Rates,
  signal: AbortSignal,
): Promise<void> {
  // What users import: where the sources of a side lie is its own affair.
  const built = join(tree, 'dist/libs/batching/index.js');
  const failure = await runChild<SideMessage>('compare-side', {
    args: [built, kind, ...(quick ? ['quick'] : [])],
    onMessage: ({ row, rate }) => {
      rates.set(row, [...(rates.get(row) ?? []), rate]);
    },
    timeLimit: LIMITS.round,
    signal,
  });
  if (failure !== undefined) throw new Error(`${kind} of ${built}: ${failure}`);
}

/** Each side simulates with its own code, wherever that lies, and prints its figures: they must be the same. */
async function compareScheduling(base: string, folder: string, signal: AbortSignal): Promise<string[]> {
  console.log('\nscheduling: both sides simulate, which takes some minutes');
  const files = await Promise.all(
    [base, HERE].map(async (tree, index) => {
      // Both trees are built, so what npm would run before is left out.
      const { stdout } = await execute(
        'npm',
        ['run', '--silent', '--ignore-scripts', 'bench', 'scheduling'],
        {
          cwd: tree,
          signal,
          timeout: LIMITS.scheduling,
        },
      );
      const file = join(folder, `${index === 0 ? 'base' : 'here'}.txt`);
      await writeFile(file, stdout);
      return file;
    }),
  );
  const difference = await execute('git', ['diff', '--no-index', '--no-color', '--unified=0', ...files]).then(
    () => '',
    (error: unknown) => {
      const { code, stdout } = error as { code: unknown; stdout: string };
      if (code !== 1) throw error;
      return stdout;
    },
  );
  console.log(difference === '' ? 'The figures are the same.' : `The figures differ:\n${difference}`);
  return difference === '' ? [] : ['scheduling'];
}

/** Which side is faster, by the ratios round by round: rounds stand beside each other in time, totals do not. */
export function judge(base: readonly number[], here: readonly number[]) {
  const ratios = here.map((rate, round) => rate / (base[round] ?? NaN)).sort((one, other) => one - other);
  const left = outermost(ratios.length);
  const [least = NaN, most = NaN] = [ratios[left], ratios[ratios.length - 1 - left]];
  const ratio = median(ratios);
  return { ratio, least, most, isWorse: ratio < NO_LOSS && most < 1 };
}

/**
 * How many rounds at each end are left out of the range: as many as leave a chance of at most 1 % that sides that are equally
 * fast lie outside of it on one side.
 */
function outermost(rounds: number): number {
  let left = 0;
  for (let ways = rounds, sum = 1 + ways; sum / 2 ** rounds <= 0.01; left++) {
    ways *= (rounds - left - 1) / (left + 2);
    sum += ways;
  }
  return left;
}

function execute(
  command: string,
  args: readonly string[],
  options: { cwd?: string; signal?: AbortSignal; timeout?: number } = {},
): Promise<{ stdout: string }> {
  return promisify(execFile)(command, args, { cwd: HERE, maxBuffer: 2 ** 26, ...options });
}
