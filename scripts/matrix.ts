import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { freePort } from '../test/local-server.js';
import { quickStart } from './quick-start.js';

/**
 * `npm run matrix`: the packed package and the README's quick start in applications as `nest new` makes them, of each major
 * of Nest, on each major of Node, with each test runner and builder. `--short`: each check once, each Node at least once.
 * `--nest 11`: of this major alone. Prints a table of what ran, and fails when a check failed. Needs the built package.
 */

const root = fileURLToPath(new URL('..', import.meta.url));
const nodeVersions = ['20.19.0', '22', '24', '26'];
/** Longest time for one command, in milliseconds. */
const LIMIT = 300_000;

interface Scaffold {
  nest: number;
  cli: string;
  /** The oldest major of Node that this CLI runs on; applications that it built run on older ones, too. */
  cliNeeds: number;
  /** What the checks need beyond the scaffold's own packages. */
  packages: string[];
  checks: Check[];
}

interface Check {
  name: string;
  run: (app: App) => Promise<void>;
  /** Runs on one Node only, as it says nothing about Node. */
  once?: boolean;
  /** Leave it out of the short form. */
  full?: boolean;
  /** Needs Nest's CLI on the Node that runs it. */
  cli?: boolean;
}

/** The folder of an application, the environment with the Node that runs it, and that with the Node that builds it. */
interface App {
  folder: string;
  env: NodeJS.ProcessEnv;
  builder: NodeJS.ProcessEnv;
}

interface Node {
  major: number;
  env: NodeJS.ProcessEnv;
}

const swcJest = [
  '@swc/jest',
  {
    jsc: {
      parser: { syntax: 'typescript', decorators: true },
      transform: { legacyDecorator: true, decoratorMetadata: true },
      target: 'es2022',
    },
  },
];
const tests = { testRegex: String.raw`\.(spec|e2e-spec)\.ts$`, moduleFileExtensions: ['js', 'json', 'ts'] };
/** For Jest in an application of ES modules. */
const esModules = {
  ...tests,
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { [String.raw`^(\.{1,2}/.*)\.js$`]: '$1' },
};

const common: Check[] = [
  { name: 'nest build, nest start', run: startWithCli, cli: true },
  { name: 'node --no-experimental-require-module dist/main', run: startWithoutRequireModule },
  { name: 'swc builder', run: (app) => startBuilt(app, ['--builder', 'swc']) },
  { name: 'both formats in one process', run: runBothFormats, once: true },
  { name: 'pnpm', run: startWithPnpm, once: true, full: true },
];

const scaffolds: Scaffold[] = [
  {
    nest: 11,
    cli: '@nestjs/cli@11',
    cliNeeds: 20,
    packages: [
      ...['@swc/cli', '@swc/core@1.16.18', '@swc/jest'],
      // What the library's own specs need, of the versions for this Nest.
      ...['@nestjs/platform-fastify@11', '@nestjs/microservices@11', '@nestjs/websockets@11'],
      ...[
        '@nestjs/platform-ws@11',
        '@nestjs/platform-socket.io@11',
        '@nestjs/graphql@13',
        '@nestjs/apollo@13',
      ],
      ...['@apollo/server', '@as-integrations/express5', 'graphql@16'],
    ],
    checks: [
      { name: 'ts-jest, as scaffolded', run: (app) => npm(app, ['test'], ['run', 'test:e2e']) },
      {
        name: '@swc/jest',
        run: (app) => jest(app, { ...tests, transform: { [String.raw`\.ts$`]: swcJest } }),
      },
      ...common,
      { name: 'webpack builder', run: (app) => startBuilt(app, ['--builder', 'webpack']) },
      { name: 'the specs of the Nest layer', run: runOwnSpecs, once: true },
      ...['5.4', '5.7', '5.9', '7'].map((version) => ({
        name: `the types under TypeScript ${version}`,
        run: (app: App) => compile(app, version),
        once: true,
        full: version !== '5.4',
      })),
    ],
  },
  {
    nest: 12,
    cli: '@nestjs/cli@12',
    cliNeeds: 22,
    packages: ['@swc/cli', '@swc/core@1.16.18', '@swc/jest', 'jest', 'ts-jest', '@types/jest'],
    checks: [
      { name: 'Vitest, as scaffolded', run: (app) => npm(app, ['test'], ['run', 'test:e2e']) },
      {
        name: 'ts-jest',
        run: (app) =>
          jest(app, { ...esModules, transform: { [String.raw`\.ts$`]: ['ts-jest', { useESM: true }] } }),
      },
      {
        name: '@swc/jest',
        run: (app) => jest(app, { ...esModules, transform: { [String.raw`\.ts$`]: swcJest } }),
      },
      ...common,
    ],
  },
];

const { values: options } = parseArgs({ options: { short: { type: 'boolean' }, nest: { type: 'string' } } });
const chosen = scaffolds.filter(({ nest }) => options.nest === undefined || String(nest) === options.nest);
if (chosen.length === 0) {
  const majors = scaffolds.map(({ nest }) => nest).join(' or ');
  throw new Error(`--nest: expected ${majors}, got ${String(options.nest)}`);
}

const folder = mkdtempSync(join(tmpdir(), 'nest-batching-matrix-'));
const table: string[] = [];
let failed = 0;
try {
  await main();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`\n${table.join('\n')}\n\n${table.length - failed} checks passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

async function main(): Promise<void> {
  const nodes = await installNodes();
  const builder = nodes.at(-1)?.env ?? process.env;
  const tarball = await pack();
  const folders = await Promise.all(chosen.map((scaffold) => makeApp(scaffold, builder, tarball)));
  for (const [row, scaffold] of chosen.entries()) {
    const checks = scaffold.checks.filter(({ full }) => !(options.short && full));
    for (const [column, check] of checks.entries()) {
      const able = nodes.filter(({ major }) => !check.cli || major >= scaffold.cliNeeds);
      // In the short form the checks take turns among the versions of Node.
      const turn = able[column % able.length];
      for (const node of able) {
        if ((options.short || check.once) && node !== turn) continue;
        await run(scaffold, check, { folder: folders[row] ?? '', env: node.env, builder });
      }
    }
  }
}

async function run({ nest }: Scaffold, { name, run }: Check, app: App): Promise<void> {
  const [version] = await output(app.folder, app.env, 'node', ['--version']);
  const start = performance.now();
  let outcome = 'passed';
  try {
    await run(app);
  } catch (error) {
    outcome = 'FAILED';
    failed += 1;
    console.error(`Nest ${nest}, Node ${version.trim()}, ${name}:\n${messageOf(error)}\n`);
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  table.push(`Nest ${nest} | Node ${version.trim().padEnd(9)} | ${name} | ${outcome} | ${seconds} s`);
  console.log(table.at(-1));
}

/** The environments of the versions of Node, which come as packages with nothing but the program. */
async function installNodes(): Promise<Node[]> {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const name = `node-${platform}-${process.arch}`;
  return Promise.all(
    nodeVersions.map(async (version) => {
      const place = join(folder, `node-${version}`);
      mkdirSync(place);
      await output(place, process.env, 'npm', [
        ...['install', '--no-audit', '--no-fund', '--prefix', place, `${name}@${version}`],
      ]);
      const bin = join(place, 'node_modules', name, 'bin');
      // Without what `npm run` set for this process: its own programs, and its configuration.
      const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('npm_')));
      const path = `${bin}${delimiter}${process.env.PATH ?? ''}`;
      return { major: Number.parseInt(version), env: { ...env, NODE_OPTIONS: '', PATH: path } };
    }),
  );
}

async function pack(): Promise<string> {
  const built = join(root, 'dist/libs/batching');
  const [stdout] = await output(built, process.env, 'npm', [
    'pack',
    '--silent',
    '--pack-destination',
    folder,
  ]);
  return join(folder, stdout.trim());
}

/** An application as `nest new` makes it, with the quick start in it. */
async function makeApp(scaffold: Scaffold, env: NodeJS.ProcessEnv, tarball: string): Promise<string> {
  const start = performance.now();
  const name = `nest-${scaffold.nest}`;
  await output(folder, env, 'npm', [
    ...['exec', '--yes', '--package', scaffold.cli, '--', 'nest', 'new', name],
    ...['--strict', '--skip-git', '--skip-install', '--package-manager', 'npm'],
  ]);
  const app = join(folder, name);
  for (const [path, code] of quickStart()) {
    mkdirSync(dirname(join(app, path)), { recursive: true });
    // CommonJS, and so Nest 11's scaffold, has no extensions.
    const text = scaffold.nest < 12 ? code.replaceAll(/( from '\.[^']*)\.js'/g, "$1'") : code;
    writeFileSync(join(app, path), text);
  }
  // On this machine's own address only.
  const main = join(app, 'src/main.ts');
  const source = readFileSync(main, 'utf8');
  writeFileSync(main, source.replace('process.env.PORT ?? 3000', "process.env.PORT ?? 3000, '127.0.0.1'"));
  await output(app, env, 'npm', ['install', '--no-audit', '--no-fund', tarball]);
  await output(app, env, 'npm', [
    ...['install', '--no-audit', '--no-fund', '--save-dev', ...scaffold.packages],
  ]);
  console.log(`${name}: made and installed in ${((performance.now() - start) / 1000).toFixed(0)} s`);
  return app;
}

async function npm(app: App, ...commands: string[][]): Promise<void> {
  for (const command of commands) await output(app.folder, app.env, 'npm', command);
}

async function jest(app: App, config: object): Promise<void> {
  const program = join(app.folder, 'node_modules/jest/bin/jest.js');
  const args = [
    '--experimental-vm-modules',
    program,
    '--config',
    JSON.stringify({ ...config, rootDir: app.folder }),
  ];
  const [, stderr] = await output(app.folder, app.env, 'node', args);
  if (!/^Tests: +[1-9]\d* passed, \d+ total$/m.test(stderr)) throw new Error(`not all passed:\n${stderr}`);
}

async function startWithCli(app: App): Promise<void> {
  await npm(app, ['run', 'build']);
  await answers(app, 'npm', ['start']);
}

async function startBuilt(app: App, builder: string[], flags: string[] = []): Promise<void> {
  await npm({ ...app, env: app.builder }, ['run', 'build', '--', ...builder]);
  await answers(app, 'node', [...flags, 'dist/main.js']);
}

async function startWithoutRequireModule(app: App): Promise<void> {
  await startBuilt(app, [], ['--no-experimental-require-module']);
}

async function startWithPnpm({ folder, ...environments }: App): Promise<void> {
  const copy = `${folder}-pnpm`;
  const skipped = ['node_modules', 'dist', 'package-lock.json'].map((name) => join(folder, name));
  cpSync(folder, copy, { recursive: true, filter: (path) => !skipped.includes(path) });
  const app = { folder: copy, ...environments };
  await npm(app, ['exec', '--yes', '--package', 'pnpm@10', '--', 'pnpm', 'install', '--no-lockfile']);
  await npm(app, ['test'], ['run', 'test:e2e']);
  await startBuilt(app, []);
}

/** Compiles the application, and the library's declarations with it, by each way of resolving modules that the version knows. */
async function compile(app: App, version: string): Promise<void> {
  const resolutions = [
    { module: 'nodenext', moduleResolution: 'nodenext' },
    { module: 'esnext', moduleResolution: 'bundler' },
    // TypeScript 7 has it no more.
    ...(version === '7' ? [] : [{ module: 'commonjs', moduleResolution: 'node10' }]),
  ];
  for (const resolution of resolutions) {
    const config = {
      compilerOptions: {
        ...resolution,
        target: 'es2022',
        strict: true,
        experimentalDecorators: true,
        emitDecoratorMetadata: true,
        skipLibCheck: false,
        types: ['node'],
        noEmit: true,
      },
      files: ['src/app.module.ts'],
    };
    writeFileSync(join(app.folder, 'tsconfig.matrix.json'), JSON.stringify(config));
    const tsc = ['exec', '--yes', '--package', `typescript@${version}`, '--', 'tsc'];
    const [said] = await output(app.folder, app.env, 'npm', [...tsc, '--version']);
    if (!said.startsWith(`Version ${version}.`))
      throw new Error(`expected TypeScript ${version}, got ${said}`);
    await npm(app, [...tsc, '-p', 'tsconfig.matrix.json']);
  }
}

/** Lends the application this repository's TensorFlow.js, which the program needs. */
async function runBothFormats(app: App): Promise<void> {
  const lent = join(app.folder, 'node_modules/@tensorflow');
  symlinkSync(join(root, 'node_modules/@tensorflow'), lent);
  const program = join(app.folder, 'both-formats.mjs');
  cpSync(join(root, 'test/both-formats.mjs'), program);
  try {
    await output(app.folder, app.env, 'node', [program]);
  } finally {
    rmSync(lent);
    rmSync(program);
  }
}

async function runOwnSpecs({ folder, env }: App): Promise<void> {
  const program = join(root, 'node_modules/jest/bin/jest.js');
  const args = ['--experimental-vm-modules', program, '-w', '1', 'libs/batching/src/nest', 'test/two-copies'];
  await output(root, { ...env, NEST: folder }, 'node', args);
}

/** Starts an application, asks for twenty products at once and one that is missing, and ends it. */
async function answers(app: App, command: string, args: string[]): Promise<void> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/products`;
  const env = { ...app.env, PORT: String(port) };
  // A group of its own, since `nest start` starts the application as another process.
  const child = spawn(command, args, {
    cwd: app.folder,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text: Buffer) => {
      said += String(text);
    });
  }
  try {
    await ready(child, `${url}/1`);
    const ids = Array.from({ length: 20 }, (_, index) => index + 1);
    const found = await Promise.all(ids.map(async (id) => (await fetch(`${url}/${id}`)).json()));
    const expected = ids.map((id) => ({ id, name: `Product ${id}` }));
    if (JSON.stringify(found) !== JSON.stringify(expected)) throw new Error(JSON.stringify(found));
    const { status } = await fetch(`${url}/1000`);
    if (status !== 404) throw new Error(`a missing product: expected 404, got ${status}`);
  } catch (error) {
    throw new Error(`${messageOf(error)}\n${said}`, { cause: error });
  } finally {
    if (child.pid !== undefined && child.exitCode === null) {
      process.kill(-child.pid, 'SIGKILL');
      await once(child, 'exit');
    }
  }
}

async function ready(child: ChildProcess, url: string): Promise<void> {
  const end = performance.now() + LIMIT;
  while (performance.now() < end) {
    if (child.exitCode !== null) throw new Error(`the application ended with exit code ${child.exitCode}`);
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok) return;
    if (answer) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
    await sleep(100);
  }
  throw new Error('the application did not start');
}

/** Runs a command to its end. Returns what it wrote to stdout and stderr. */
async function output(
  folder: string,
  env: NodeJS.ProcessEnv,
  command: string,
  args: string[],
): Promise<[string, string]> {
  try {
    const options = { cwd: folder, env, timeout: LIMIT, maxBuffer: 64 * 2 ** 20 };
    const { stdout, stderr } = await promisify(execFile)(command, args, options);
    return [stdout, stderr];
  } catch (cause) {
    const { stdout = '', stderr = '' } = cause as { stdout?: string; stderr?: string };
    throw new Error(`${[command, ...args].join(' ')} failed:\n${`${stdout}\n${stderr}`.slice(-4000)}`, {
      cause,
    });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
