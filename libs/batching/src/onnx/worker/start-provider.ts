import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { workerData } from 'node:worker_threads';
import type * as Ort from 'onnxruntime-node';
import { messageOf } from '../../inference/errors.js';
import { DeviceLock } from '../../inference/protocol/device-lock.js';
import type { BackendReport, WorkerOptions } from '../../inference/protocol/messages.js';
import { OnnxBackendError } from '../errors.js';
import { type OnnxExecutionProvider, providersOfAuto } from '../execution-provider.js';

/** ONNX Runtime, and an execution provider that works in this thread. */
export interface StartedProvider {
  ort: typeof Ort;
  /** The options of each model's session. */
  options: Ort.InferenceSession.SessionOptions;
  report: BackendReport;
}

const PACKAGE = 'onnxruntime-node';

/** The model `c = a + b` for numbers of float32, as a protocol buffer. */
const ADDITION = Buffer.from(
  'CAg6VwoOCgFhCgFiEgFjIgNBZGQSA2FkZFoUCgFhEg8KDQgBEgkKAxIBbgoCCAJaFAoBYhIPCg0IARIJCgMSAW4KAggCYhQKAWMSDwoNCAESCQoDEgFuCgIIAkICEA0=',
  'base64',
);

/** Holds off the end of this thread; without effect in the main thread. */
const lock = new DeviceLock((workerData as Partial<WorkerOptions> | null)?.deviceLock);

const requireHere = createRequire(import.meta.url);

/**
 * Starts an execution provider in this thread; `auto` takes the first that works.
 *
 * @returns the provider, and a report that also says why `auto` passed over others
 * @throws {OnnxBackendError} if the provider, or for `auto` none, starts; the message has the reasons
 */
export async function startProvider(wanted: OnnxExecutionProvider | 'auto'): Promise<StartedProvider> {
  const auto = wanted === 'auto';
  const passedOver: string[] = [];
  try {
    const ort = loadPackage();
    for (const provider of auto ? providersOfAuto : [wanted]) {
      const options = optionsFor(provider);
      try {
        checkParts(ort, provider);
        if (auto && provider === 'webgpu' && !hasGpu()) throw new Error('has no GPU here');
        await uninterrupted(() => addOnce(ort, options));
      } catch (error) {
        passedOver.push(`${provider}: ${messageOf(error)}`);
        continue;
      }
      const gpu = provider !== 'cpu' && (provider !== 'webgpu' || hasGpu());
      const device = `${gpu ? 'GPU' : 'CPU'} (ONNX Runtime ${ort.env.versions.node ?? ort.env.versions.common})`;
      return { ort, options, report: { backend: provider, device, gpu, passedOver } };
    }
  } catch (error) {
    passedOver.push(messageOf(error));
  }
  const none = auto ? 'no execution provider can start' : `execution provider ${wanted} cannot start`;
  throw new OnnxBackendError(`${none}; ${passedOver.join('; ')}`);
}

function optionsFor(provider: OnnxExecutionProvider): Ort.InferenceSession.SessionOptions {
  return {
    executionProviders: [provider],
    // More threads would compete with the application's other threads.
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  };
}

function loadPackage(): typeof Ort {
  try {
    requireHere.resolve(PACKAGE);
  } catch {
    throw new Error(`${PACKAGE} is not installed; npm install ${PACKAGE}`);
  }
  let ort: typeof Ort;
  try {
    ort = requireHere(PACKAGE) as typeof Ort;
  } catch (cause) {
    throw new Error(
      `${PACKAGE} has no binary that loads on ${process.platform}-${process.arch}; npm install ${PACKAGE} again, without ` +
        `leaving out files: ${messageOf(cause)}`,
      { cause },
    );
  }
  // Its errors are thrown; it would print them as well, also those of providers that are only tried.
  ort.env.logLevel = 'fatal';
  return ort;
}

/** Says more than ONNX Runtime about a provider whose libraries are not there. */
function checkParts(ort: typeof Ort, provider: OnnxExecutionProvider): void {
  const providers = ort.listSupportedBackends();
  const found = providers.find(({ name }) => name === provider);
  if (!found) {
    throw new Error(
      `${PACKAGE} has no such provider on ${process.platform}-${process.arch}; it has ${providers.map(({ name }) => name).join(', ')}`,
    );
  }
  if (found.bundled || hasLibrary(`onnxruntime_providers_${provider}.`)) return;
  throw new Error(
    `${PACKAGE} is installed without the libraries of ${provider}, which its install script fetches: run it with ` +
      `ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild ${PACKAGE} (npm skips it for onnxruntime-node-install=skip in .npmrc, ` +
      'for --ignore-scripts, and unless allowScripts in package.json allows it)',
  );
}

/** @param part of a file's name in the folder of the package's binaries */
function hasLibrary(part: string): boolean {
  const binaries = join(dirname(requireHere.resolve(`${PACKAGE}/package.json`)), 'bin');
  return (
    existsSync(binaries) &&
    readdirSync(binaries, { recursive: true, encoding: 'utf8' }).some((file) => file.includes(part))
  );
}

/**
 * Whether there is a GPU. Dawn also takes a CPU that poses as one (software Vulkan), and ONNX Runtime does not
 * say so; Linux has a file for each GPU.
 */
function hasGpu(): boolean {
  if (process.platform !== 'linux') return true;
  const files = existsSync('/dev/dri') ? readdirSync('/dev/dri') : [];
  return (
    files.some((file) => file.startsWith('renderD')) ||
    ['/dev/nvidiactl', '/dev/kfd', '/dev/dxg'].some((file) => existsSync(file))
  );
}

/**
 * Runs work in ONNX Runtime; this thread is not ended in the meantime, as the addon then often aborts the whole process
 * (1.30).
 */
export function uninterrupted<T>(work: () => Promise<T>): Promise<T> {
  return lock.hold(work);
}

/** Rejects unless a session with these options adds 1 and 2. */
export async function addOnce(ort: typeof Ort, options: Ort.InferenceSession.SessionOptions): Promise<void> {
  const session = await ort.InferenceSession.create(ADDITION, options);
  try {
    const tensor = (value: number) => new ort.Tensor('float32', Float32Array.of(value, value), [1, 2]);
    const { c } = await session.run({ a: tensor(1), b: tensor(2) });
    const [sum] = (c?.data ?? []) as Float32Array;
    if (sum !== 3) throw new Error(`adds 1 and 2 to ${String(sum)}`);
  } finally {
    await session.release();
  }
}
