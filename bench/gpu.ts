import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import type { AdapterFigures } from './adapter.js';
import { runChild } from './child.js';
import type { GoldenCase, GoldenMessage } from './golden.js';
import { type BackendFigures, measureBackend, tablesOf } from './inference.js';
import { markdownTable, printTable } from './table.js';
import { type VulkanEnvironment, vulkanEnvironments } from './vulkan.js';

/**
 * What the bundle of `npm run bench:gpu` does on the machine with the GPU: finds the adapter, runs the golden cases, then the
 * table of `npm run bench:inference` with the device's limits. Writes results.json and results.md into the current folder,
 * after each part what is known by then. Ends with 1 when something failed, and in any case within ten minutes.
 */

export interface GpuResults {
  date: string;
  /** The bundle's version and commit. */
  bundle: string;
  machine: { node: string; kernel: string; processor: string; cores: number; gigabytes: number };
  /** What nvidia-smi says, if it is there. */
  nvidiaSmi?: string;
  adapter?: AdapterFigures & { driver: string };
  golden: { backend: string; device?: string; cases: GoldenCase[]; failed?: string }[];
  backends: BackendFigures[];
  /** What went wrong, in words. */
  failures: string[];
  seconds: number;
}

const options = process.argv.slice(2);
if (options.some((option) => option !== '--quick')) {
  console.error(`unknown: ${options.join(' ')}\nusage: run.sh [--quick]`);
  process.exit(2);
}
const effort = options.includes('--quick')
  ? { rounds: 1, roundMs: 100, quick: true }
  : { rounds: 3, roundMs: 1500 };

const softwareWarning =
  'The adapter is SOFTWARE, not a GPU: the figures of webgpu show that it is correct, and nothing about its speed.';

// What is measured is stopped, and what is known is written all the same.
const interrupted = new AbortController();
for (const event of ['SIGINT', 'SIGTERM', 'SIGHUP', 'exit']) {
  process.on(event, () => {
    interrupted.abort();
  });
}

const start = Date.now();
const totalLimit = 9 * 60_000;
const partLimit = 4 * 60_000;
const root = join(import.meta.dirname, '..');
const scratch = mkdtempSync(join(tmpdir(), 'gpu-bench-'));
const results: GpuResults = {
  date: new Date().toISOString(),
  bundle: bundleVersion(),
  machine: {
    node: process.version,
    kernel: `${process.platform} ${release()} ${process.arch}`,
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    gigabytes: Math.round(totalmem() / 1e9),
  },
  nvidiaSmi: askNvidiaSmi(),
  golden: [],
  backends: [],
  failures: [],
  seconds: 0,
};

try {
  const { node, kernel, processor, cores, gigabytes } = results.machine;
  console.log(`nest-batching ${results.bundle} on Node ${node}`);
  console.log(`${kernel}, ${cores} × ${processor}, ${gigabytes} GB`);
  console.log(`nvidia-smi: ${results.nvidiaSmi ?? 'not found'}`);

  heading('Adapter');
  const env = { ...process.env, NO_COLOR: '1', TMPDIR: scratch };
  Object.assign(env, await findAdapter(env));
  // In the order of their interest, in case the time ends.
  const backends = [
    ...(results.adapter ? ['webgpu'] : []),
    ...(hasCuda() ? ['onnx-cuda'] : []),
    ...(results.adapter ? ['onnx-webgpu'] : []),
    ...(hasTensorflow() ? ['tensorflow'] : []),
    'onnx-cpu',
    'wasm',
  ];

  for (const backend of backends) {
    heading(`Golden cases on ${backend}`);
    await runGolden(backend, env);
    write();
  }
  for (const backend of backends) {
    heading(`Inference on ${backend}`);
    const figures = await measureBackend(backend, effort, {
      env,
      timeLimit: timeLeft(),
      signal: interrupted.signal,
    });
    results.backends.push(figures);
    for (const { title, rows } of tablesOf(figures)) {
      console.log(`\n${title}`);
      printTable(rows);
    }
    const problem = figures.failed ?? figures.leftOut;
    if (problem) fail(`the bench on ${backend}: ${problem}`);
    write();
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

heading(results.failures.length === 0 ? 'All passed' : 'FAILED');
for (const failure of results.failures) console.log(failure);
if (results.adapter?.software) warnOfSoftware();
write();
console.log(`results.json and results.md are in ${process.cwd()}; ${results.seconds} s`);
process.exitCode = results.failures.length === 0 ? 0 : 1;

/** Takes the first environment in which Dawn finds a GPU, else the first in which it finds an adapter made of software. */
async function findAdapter(base: NodeJS.ProcessEnv): Promise<NodeJS.ProcessEnv> {
  const dawn = join(root, 'node_modules/webgpu/dist/linux-x64/dawn.node');
  let environments: VulkanEnvironment[];
  try {
    environments = vulkanEnvironments(join(root, 'lib'), dawn, scratch);
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error));
    return {};
  }
  let best: NodeJS.ProcessEnv = {};
  for (const { driver, env } of environments) {
    let adapter: AdapterFigures | undefined;
    const failed = await runChild<AdapterFigures>('adapter', {
      args: [],
      // Vulkan's loader then says why a driver did not load.
      env: { VK_LOADER_DEBUG: 'error', ...base, ...env },
      timeLimit: Math.min(30_000, timeLeft()),
      signal: interrupted.signal,
      onMessage: (message) => (adapter = message),
    });
    const found = adapter
      ? `${adapter.software ? 'SOFTWARE: ' : ''}${adapter.device || adapter.architecture}, ${adapter.description}`
      : 'no adapter';
    console.log(`${driver}: ${found}${failed ? ` (${failed})` : ''}`);
    if (!adapter || failed) continue;
    if (!results.adapter || !adapter.software) {
      results.adapter = { ...adapter, driver };
      best = env;
    }
    if (!adapter.software) break;
  }
  if (!results.adapter) {
    fail(
      'WebGPU found no adapter: install the GPU’s Vulkan driver (for NVIDIA the driver with its graphics libraries; in a ' +
        'container NVIDIA_DRIVER_CAPABILITIES must include graphics) and, if the bundle has no lib/libvulkan.so.1, the ' +
        'Vulkan loader (libvulkan1 on Debian and Ubuntu, vulkan-loader on Fedora and RHEL)',
    );
  } else if (results.adapter.software) {
    warnOfSoftware();
  }
  return best;
}

async function runGolden(backend: string, env: NodeJS.ProcessEnv): Promise<void> {
  const golden: GpuResults['golden'][number] = { backend, cases: [] };
  const [, provider] = /^onnx-(.+)$/.exec(backend) ?? [];
  golden.failed = await runChild<GoldenMessage>(provider ? 'golden-onnx' : 'golden', {
    args: [provider ?? backend],
    env,
    timeLimit: timeLeft(),
    signal: interrupted.signal,
    onMessage: (message) => {
      if ('golden' in message) golden.cases.push(message.golden);
      else golden.device = message.device;
    },
  });
  results.golden.push(golden);
  if (golden.failed) fail(`the golden cases on ${backend}: ${golden.failed}`);
}

function askNvidiaSmi(): string | undefined {
  const query = 'name,driver_version,memory.total,pcie.link.gen.max,pcie.link.width.max';
  try {
    const args = [`--query-gpu=${query}`, '--format=csv,noheader'];
    return execFileSync('nvidia-smi', args, {
      encoding: 'utf8',
      timeout: 20_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}

/** Whether the libraries of ONNX Runtime for CUDA were copied into the bundle. */
function hasCuda(): boolean {
  const binaries = join(root, 'node_modules/onnxruntime-node/bin/napi-v6/linux/x64');
  return existsSync(join(binaries, 'libonnxruntime_providers_cuda.so'));
}

/** Whether NODE_PATH leads to a linked TensorFlow. */
function hasTensorflow(): boolean {
  const { resolve } = createRequire(import.meta.url);
  return ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'].some((name) => {
    try {
      return existsSync(resolve(`${name}/package.json`));
    } catch {
      return false;
    }
  });
}

function bundleVersion(): string {
  const { version, commit } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    version: string;
    commit?: string;
  };
  return commit ? `${version} (${commit})` : version;
}

/** At least a second, so that what comes too late says so itself. */
function timeLeft(): number {
  return Math.max(1000, Math.min(partLimit, start + totalLimit - Date.now()));
}

function fail(problem: string): void {
  results.failures.push(problem);
  console.log(`FAILED: ${problem}`);
}

function heading(text: string): void {
  console.log(`\n== ${text}`);
}

function warnOfSoftware(): void {
  const line = '*'.repeat(softwareWarning.length);
  console.log(`${line}\n${softwareWarning}\n${line}`);
}

function write(): void {
  results.seconds = Math.round((Date.now() - start) / 1000);
  writeFileSync('results.json', `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync('results.md', markdown());
}

function markdown(): string {
  const { date, bundle, machine, nvidiaSmi, adapter, golden, failures } = results;
  const head = markdownTable([
    ['', ''],
    ['date', date],
    ['nest-batching', bundle],
    ['Node', machine.node],
    ['machine', `${machine.kernel}, ${machine.cores} × ${machine.processor}, ${machine.gigabytes} GB`],
    ['nvidia-smi', nvidiaSmi ?? 'not found'],
    [
      'adapter',
      adapter ? `${adapter.vendor} ${adapter.device}, ${adapter.description} (${adapter.driver})` : 'none',
    ],
  ]);
  const cases = golden.flatMap(({ backend, device, cases }) => {
    const rows = cases.map(({ name, worst, bound }) => [
      name,
      worst.toExponential(1),
      bound.toExponential(1),
      worst <= bound ? 'ok' : 'FAILED',
    ]);
    const table = markdownTable([['case', 'largest difference', 'allowed', ''], ...rows]);
    return [`Golden cases on ${backend}, ${device ?? 'not started'}`, table];
  });
  const tables = results.backends.flatMap((figures) =>
    tablesOf(figures).flatMap(({ title, rows }) => [title, markdownTable(rows)]),
  );
  const warnings = [
    ...(adapter?.software ? [`**${softwareWarning}**`] : []),
    ...failures.map((failure) => `**FAILED: ${failure}**`),
  ];
  return [...warnings, head, ...cases, ...tables].join('\n\n').replaceAll('\n\n\n', '\n\n');
}
