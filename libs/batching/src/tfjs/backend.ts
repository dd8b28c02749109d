import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type * as Tfjs from '@tensorflow/tfjs';
import type * as TfjsWasm from '@tensorflow/tfjs-backend-wasm';
import { TfjsBackendError } from './errors.js';

/**
 * Where a model runs:
 * - `tensorflow`: TensorFlow's own library through `@tensorflow/tfjs-node-gpu`, else `@tensorflow/tfjs-node`;
 * - `wasm`: WebAssembly on one core, through `@tensorflow/tfjs-backend-wasm`;
 * - `cpu`: plain JavaScript, slow, needs nothing but `@tensorflow/tfjs`.
 */
export type TfjsBackend = 'tensorflow' | 'wasm' | 'cpu';

/** What came of starting a backend, in words for the log. */
export interface BackendReport {
  backend: TfjsBackend;
  /** What does the arithmetic, such as `GPU (TensorFlow 2.21.0)`. */
  device: string;
  /** Why each backend that `auto` prefers to this one did not start. */
  passedOver: string[];
}

interface StartedBackend {
  tf: typeof Tfjs;
  device: string;
}

/** Each backend's start, in the order in which `auto` tries them. */
const starts: Record<TfjsBackend, () => Promise<StartedBackend>> = {
  tensorflow: startTensorflow,
  wasm: startWasm,
  cpu: startCpu,
};

export const tfjsBackends = Object.keys(starts) as readonly TfjsBackend[];

const require = createRequire(import.meta.url);

/** Starts the backend in this thread; `auto` takes the first that works. Throws `TfjsBackendError` when none does. */
export async function startBackend(
  wanted: TfjsBackend | 'auto',
): Promise<{ tf: typeof Tfjs; report: BackendReport }> {
  const passedOver: string[] = [];
  for (const backend of wanted === 'auto' ? tfjsBackends : [wanted]) {
    try {
      const { tf, device } = await starts[backend]();
      return { tf, report: { backend, device, passedOver } };
    } catch (error) {
      passedOver.push(`${backend}: ${error instanceof Error ? error.message : JSON.stringify(error)}`);
    }
  }
  const none = wanted === 'auto' ? 'no backend can start' : `backend ${wanted} cannot start`;
  throw new TfjsBackendError(`${none}; ${passedOver.join('; ')}`);
}

async function startTensorflow(): Promise<StartedBackend> {
  const found = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'].map(findTensorflow);
  const usable = found.find(({ problem }) => problem === undefined);
  if (!usable) {
    throw new Error(
      `${found.map(({ name, problem }) => `${name} ${problem ?? ''}`).join(', ')}; ` +
        'npm install @tensorflow/tfjs-node-gpu (for an NVIDIA GPU) or @tensorflow/tfjs-node',
    );
  }
  // tfjs-node calls this function, of which Node 22 warns and which Node 23 took away. (Each thread has its own `util`.)
  const util = require('node:util') as { isNullOrUndefined: (value: unknown) => boolean };
  util.isNullOrUndefined = (value) => value === null || value === undefined;
  const tf = loadTfjs(usable.name);
  await useBackend(tf, 'tensorflow');
  const { isUsingGpuDevice, binding } = tf.backend() as Tfjs.KernelBackend & {
    isUsingGpuDevice: boolean;
    binding: { TF_Version: string };
  };
  return { tf, device: `${isUsingGpuDevice ? 'GPU' : 'CPU'} (TensorFlow ${binding.TF_Version})` };
}

/** Looks for the addon's file, because a `require` that fails leaves kernels registered for a backend that is not there. */
function findTensorflow(name: string): { name: string; problem?: string } {
  let folder: string;
  try {
    folder = dirname(require.resolve(`${name}/package.json`));
  } catch {
    return { name, problem: 'is not installed' };
  }
  const lib = join(folder, 'lib');
  const built =
    existsSync(lib) && readdirSync(lib).some((napi) => existsSync(join(lib, napi, 'tfjs_binding.node')));
  return built ? { name } : { name, problem: `has no addon in ${lib} (npm rebuild ${name} fetches it, npx nest-batching link-tensorflow builds it)` };
}

async function startWasm(): Promise<StartedBackend> {
  const tf = loadTfjs('@tensorflow/tfjs');
  const name = '@tensorflow/tfjs-backend-wasm';
  const wasm = load(name) as typeof TfjsWasm;
  wasm.setWasmPaths(join(dirname(require.resolve(name)), '/'));
  await withoutNewListeners(() => useBackend(tf, 'wasm'));
  const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
  return { tf, device: `CPU (WebAssembly${simd === true ? ' with SIMD' : ''})` };
}

/**
 * The start of wasm adds listeners that throw again what nobody caught. Without them the worker ends with the error
 * itself, as any worker does. (Never call `removeBackend('wasm')`: it would remove everybody's listeners.)
 */
async function withoutNewListeners(start: () => Promise<void>): Promise<void> {
  const uncaught = process.listeners('uncaughtException');
  const unhandled = process.listeners('unhandledRejection');
  try {
    await start();
  } finally {
    for (const listener of process.listeners('uncaughtException')) {
      if (!uncaught.includes(listener)) process.removeListener('uncaughtException', listener);
    }
    for (const listener of process.listeners('unhandledRejection')) {
      if (!unhandled.includes(listener)) process.removeListener('unhandledRejection', listener);
    }
  }
}

async function startCpu(): Promise<StartedBackend> {
  const tf = loadTfjs('@tensorflow/tfjs');
  await useBackend(tf, 'cpu');
  return { tf, device: 'CPU (plain JavaScript)' };
}

async function useBackend(tf: typeof Tfjs, name: TfjsBackend): Promise<void> {
  if (!(await tf.setBackend(name))) {
    // tfjs keeps the reason to itself: the factory, called again, throws it.
    await tf.findBackendFactory(name)();
    throw new Error('did not start');
  }
  // One op shows that it works. TensorFlow needs it besides: when a thread that loaded it has run none, the process dies of
  // a segmentation fault at its exit (TensorFlow 2.21).
  const sum = tf.add(1, 1);
  await sum.data();
  sum.dispose();
}

function loadTfjs(name: string): typeof Tfjs {
  const tf = load(name) as typeof Tfjs;
  // TensorFlow.js' own switch for its hints and warnings ("looks like you are running TensorFlow.js in Node.js"). It
  // changes no result, and has to come before the first tensor.
  tf.enableProdMode();
  return tf;
}

function load(name: string): unknown {
  try {
    require.resolve(name);
  } catch {
    throw new Error(`${name} is not installed; npm install ${name}`);
  }
  return require(name);
}
