import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import type * as Tfjs from '@tensorflow/tfjs';
import type * as TfjsWasm from '@tensorflow/tfjs-backend-wasm';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { BackendReport as AnyBackendReport } from '../inference/protocol/messages.js';
import { TfjsBackendError } from './errors.js';
import { checksOf, findAdapter, holdDevice } from './webgpu.js';

/**
 * Where a model runs:
 * - `tensorflow`: the TensorFlow library, through `@tensorflow/tfjs-node-gpu`, else `@tensorflow/tfjs-node`;
 * - `webgpu`: a GPU of any make through the packages `webgpu` (Dawn) and `@tensorflow/tfjs-backend-webgpu`;
 * - `wasm`: WebAssembly on one core, through `@tensorflow/tfjs-backend-wasm`;
 * - `cpu`: plain JavaScript, slow, needs nothing but `@tensorflow/tfjs`.
 */
export type TfjsBackend = 'tensorflow' | 'webgpu' | 'wasm' | 'cpu';

/** The backend that runs, and its device. */
export interface BackendReport extends AnyBackendReport {
  backend: TfjsBackend;
}

/** A backend that runs in this thread. */
export interface StartedBackend {
  /** TensorFlow.js, set to this backend. */
  tf: typeof Tfjs;
  /** Description of the device, such as `GPU (TensorFlow 2.21.0)`. */
  device: string;
  /** Whether the device is a GPU. */
  gpu: boolean;
  /**
   * Runs work on the device, one at a time, and also rejects with errors of the device that TensorFlow.js
   * does not report. Everything that awaits the device goes through this, loading included.
   */
  checked: <T>(work: () => Promise<T>) => Promise<T>;
}

/**
 * The functions that start the backends, in the order in which `auto` tries them. For `auto`, WebGPU needs a
 * GPU.
 */
const STARTS: Record<TfjsBackend, (auto: boolean) => Promise<StartedBackend>> = {
  tensorflow: startTensorflow,
  webgpu: startWebgpu,
  wasm: startWasm,
  cpu: startCpu,
};

/** The names of all backends, in the order in which `auto` tries them. */
export const tfjsBackends = Object.keys(STARTS) as readonly TfjsBackend[];

const BACKENDS_OF_GPUS: readonly TfjsBackend[] = ['tensorflow', 'webgpu'];

/**
 * A function, because a bundle of CommonJS modules has no `import.meta.url`; for its error message see
 * runtime.ts.
 */
const requireHere = () => createRequire(import.meta.url);

/**
 * Starts the backend in this thread; `auto` takes the first that uses a GPU, else the first that works.
 *
 * @returns the backend, and a report that also says why `auto` passed over others
 * @throws {TfjsBackendError} if the backend, or for `auto` none, starts; the message has the reasons
 */
export async function startBackend(
  wanted: TfjsBackend | 'auto',
): Promise<StartedBackend & { report: BackendReport }> {
  const passedOver: string[] = [];
  let best: (StartedBackend & { backend: TfjsBackend }) | undefined;
  for (const backend of wanted === 'auto' ? tfjsBackends : [wanted]) {
    if (best && (best.gpu || !BACKENDS_OF_GPUS.includes(backend))) break;
    try {
      const started = await STARTS[backend](wanted === 'auto');
      if (best) passedOver.push(`${best.backend}: has no GPU here, it would run on ${best.device}`);
      best = { backend, ...started };
    } catch (error) {
      passedOver.push(`${backend}: ${error instanceof Error ? error.message : JSON.stringify(error)}`);
    }
  }
  if (!best) {
    const none = wanted === 'auto' ? 'no backend can start' : `backend ${wanted} cannot start`;
    throw new TfjsBackendError(`${none}; ${passedOver.join('; ')}`);
  }
  const { backend, device, gpu } = best;
  // A backend that was tried later may be set.
  await best.checked(() => useBackend(best.tf, backend));
  return { ...best, report: { backend, device, gpu, passedOver } };
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
  // tfjs-node calls this function, which Node 22 deprecates and Node 23 removed. (Each thread has its own
  // `util`.)
  const util = requireHere()('node:util') as { isNullOrUndefined: (value: unknown) => boolean };
  util.isNullOrUndefined = (value) => value === null || value === undefined;
  const tf = forGood(() => loadTfjs(usable.name));
  await useBackend(tf, 'tensorflow');
  const { isUsingGpuDevice, binding } = tf.backend() as Tfjs.KernelBackend & {
    isUsingGpuDevice: boolean;
    binding: { TF_Version: string };
  };
  const device = `${isUsingGpuDevice ? 'GPU' : 'CPU'} (TensorFlow ${binding.TF_Version})`;
  return { tf, device, gpu: isUsingGpuDevice, checked: unchecked };
}

/**
 * Checks for the addon's file first, because a failed `require` leaves kernels registered for a missing
 * backend.
 */
function findTensorflow(name: string): { name: string; problem?: string } {
  let folder: string;
  try {
    folder = dirname(requireHere().resolve(`${name}/package.json`));
  } catch {
    return { name, problem: 'is not installed' };
  }
  const lib = join(folder, 'lib');
  const built =
    existsSync(lib) && readdirSync(lib).some((napi) => existsSync(join(lib, napi, 'tfjs_binding.node')));
  return built
    ? { name }
    : {
        name,
        problem: `has no addon in ${lib} (npm rebuild ${name} fetches it, npx nest-batching link-tensorflow builds it)`,
      };
}

/** `RTLD_NODELETE` of dlfcn.h, which `os.constants` lacks; `undefined` on other systems. */
const RTLD_NODELETE = ({ linux: 0x1000, darwin: 0x80 } as Partial<Record<NodeJS.Platform, number>>)[
  process.platform
];

/**
 * Keeps the addons that `load` loads in the process for good. Node closes an addon, and unloads its library,
 * with the thread that loaded it; but TensorFlow leaves threads and exit handlers behind, so that the process
 * would end with a segmentation fault (2.21).
 */
function forGood<T>(load: () => T): T {
  if (RTLD_NODELETE === undefined) return load();
  const dlopen = process.dlopen.bind(process);
  process.dlopen = (module, file, flags = constants.dlopen.RTLD_LAZY) => {
    dlopen(module, file, flags | RTLD_NODELETE);
  };
  try {
    return load();
  } finally {
    process.dlopen = dlopen;
  }
}

async function startWebgpu(auto: boolean): Promise<StartedBackend> {
  const { device, gpu } = await holdDevice(findAdapter);
  if (auto && !gpu) throw new Error(`has no GPU here, it would run on ${device}`);
  const tf = loadTfjs('@tensorflow/tfjs');
  load('@tensorflow/tfjs-backend-webgpu');
  await holdDevice(() => useBackend(tf, 'webgpu'));
  return { tf, device, gpu, checked: checksOf(tf.backend() as unknown as WebGPUBackend) };
}

async function startWasm(): Promise<StartedBackend> {
  const tf = loadTfjs('@tensorflow/tfjs');
  const name = '@tensorflow/tfjs-backend-wasm';
  const wasm = load(name) as typeof TfjsWasm;
  wasm.setWasmPaths(join(dirname(requireHere().resolve(name)), '/'));
  await withoutNewListeners(() => useBackend(tf, 'wasm'));
  refuseFailedMalloc(tf.backend() as unknown as WasmBackend);
  const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
  return {
    tf,
    device: `CPU (WebAssembly${simd === true ? ' with SIMD' : ''})`,
    gpu: false,
    checked: unchecked,
  };
}

interface WasmBackend {
  wasm: { _malloc: (bytes: number) => number };
}

/**
 * A failed malloc returns address 0, and one of more than 4 GiB allocates the size modulo 4 GiB.
 * TensorFlow.js checks neither and would overwrite other data with the tensor.
 */
function refuseFailedMalloc({ wasm }: WasmBackend): void {
  const malloc = wasm._malloc;
  wasm._malloc = (bytes) => {
    const address = bytes < 2 ** 32 ? malloc(bytes) : 0;
    if (address === 0 && bytes > 0) {
      throw new Error(`out of memory: WebAssembly has no room for a tensor of ${bytes} bytes (4 GiB in all)`);
    }
    return address;
  };
}

/**
 * The start of wasm adds listeners that rethrow uncaught errors; these are removed, so that a thread ends
 * with the error itself. (Never call `removeBackend('wasm')`: it would also remove the application's
 * listeners.)
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
  return { tf, device: 'CPU (plain JavaScript)', gpu: false, checked: unchecked };
}

/** For backends whose errors TensorFlow.js reports. */
const unchecked: StartedBackend['checked'] = (work) => work();

async function useBackend(tf: typeof Tfjs, name: TfjsBackend): Promise<void> {
  if (!(await tf.setBackend(name))) {
    // TensorFlow.js hides the reason; the backend's factory, called again, throws it.
    await tf.findBackendFactory(name)();
    throw new Error('did not start');
  }
  // One op shows that it works, on a tensor that is too large for `webgpu` to forward it to the CPU.
  const sum = tf.tidy(() => tf.add(tf.ones([2048]), 1));
  const [result] = await sum.data();
  sum.dispose();
  if (result !== 2) throw new Error(`returns ${result ?? 'nothing'} for 1 + 1`);
}

function loadTfjs(name: string): typeof Tfjs {
  const tf = load(name) as typeof Tfjs;
  // Turns off the hints and warnings of TensorFlow.js ("looks like you are running TensorFlow.js in
  // Node.js"). It must be called before the first tensor, and changes no result.
  tf.enableProdMode();
  return tf;
}

function load(name: string): unknown {
  try {
    requireHere().resolve(name);
  } catch {
    throw new Error(`${name} is not installed; npm install ${name}`);
  }
  return requireHere()(name);
}
