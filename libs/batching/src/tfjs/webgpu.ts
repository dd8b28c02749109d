import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { workerData } from 'node:worker_threads';
import type * as TfjsWebgpu from '@tensorflow/tfjs-backend-webgpu';
import type * as Dawn from 'webgpu';
import { DeviceLock } from '../inference/protocol/device-lock.js';
import type { WorkerOptions } from '../inference/protocol/messages.js';

/**
 * WebGPU in Node: puts Dawn, from the package `webgpu`, where TensorFlow.js looks for a browser's. One per
 * thread.
 */

type Backend = TfjsWebgpu.WebGPUBackend;

// Dawn crashes the process when this object is garbage-collected, so a reference is kept while the thread
// exists.
let dawn: GPU | undefined;

const lock = new DeviceLock((workerData as Partial<WorkerOptions> | null)?.deviceLock);

export interface Adapter {
  /** Description of the device. */
  device: string;
  /** Whether it is a GPU; `false` for a software Vulkan. */
  gpu: boolean;
}

/** Opens Dawn and describes the adapter that TensorFlow.js will use. Throws if there is none. */
export async function findAdapter(): Promise<Adapter> {
  const { create, globals } = await importDawn();
  dawn ??= create([]);
  // The request of TensorFlow.js, which fails with a TypeError if there is no adapter.
  const adapter = await dawn.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error(`found no GPU; ${REMEDY}`);
  Object.assign(globalThis, globals);
  const scope = globalThis as { navigator?: object };
  scope.navigator ??= {};
  Object.assign(scope.navigator, { gpu: dawn });
  return describe(adapter.info);
}

async function importDawn(): Promise<typeof Dawn> {
  try {
    createRequire(import.meta.url).resolve('webgpu');
  } catch {
    throw new Error('webgpu is not installed; npm install webgpu @tensorflow/tfjs-backend-webgpu');
  }
  try {
    return await import('webgpu');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the package webgpu does not load on ${process.platform}-${process.arch}: ${why}`, {
      cause,
    });
  }
}

const API = { darwin: 'Metal', win32: 'Direct3D' }[process.platform as string] ?? 'Vulkan';

const REMEDY =
  API === 'Vulkan'
    ? 'install its Vulkan driver and the Vulkan loader (on Debian libvulkan1)'
    : `install a driver for ${API}`;

function describe({ vendor, architecture, device, isFallbackAdapter }: GPUAdapterInfo): Adapter {
  // Names are identifiers such as `nvidia-h200`, `llvmpipe-llvm-15-0-6-256-bits-`.
  const name = (device || `${vendor} ${architecture}`).replaceAll('-', ' ').trim();
  return isFallbackAdapter
    ? { gpu: false, device: `CPU (${name.split(' ')[0] ?? ''}, software ${API} through Dawn)` }
    : { gpu: true, device: `GPU (${name}, ${API} through Dawn)` };
}

/** Runs work that awaits Dawn; the thread is not ended in the meantime. */
export function holdDevice<T>(work: () => Promise<T>): Promise<T> {
  return lock.hold(work);
}

const FILTERS = ['validation', 'out-of-memory', 'internal'] as const;

/**
 * @returns a function that runs work on the device, one at a time, and rejects with the GPU's message if the
 *   device reported an error in the meantime (WebGPU then returns zeros). The work disposes of its tensors
 *   itself. If the device is lost, the thread ends with an error, which rejects the work
 */
export function checksOf(backend: Backend): <T>(work: () => Promise<T>) => Promise<T> {
  const { device } = backend;
  const pool = backend.bufferManager as unknown as BufferPool;
  let busy = false;
  let lost: Error | undefined;
  void device.lost.then(({ reason, message }) => {
    lost = new Error(`WebGPU device lost: ${reason}: ${message}`);
    if (!busy) die(lost);
  });
  const breakOff = () => {
    for (const buffer of [...pool.usedBuffers.values()].flat()) {
      if (buffer.mapState === 'pending') buffer.unmap();
    }
  };
  void lock.onEnding(breakOff);
  // The thread may also end by itself, with an uncaught error.
  process.on('exit', () => {
    breakOff();
    lock.release();
  });
  explainReadSync(backend);

  return (work) => {
    // The thread is about to end; Dawn would abort the process if that interrupted work.
    if (lost) return new Promise(() => undefined);
    return holdDevice(async () => {
      busy = true;
      for (const filter of FILTERS) device.pushErrorScope(filter);
      const [outcome] = await Promise.allSettled([work()]);
      // Submit recorded commands now: their errors belong to this work, and would otherwise fail the next.
      backend.ensureCommandEncoderReady();
      backend.endComputePassEncoder();
      backend.submitQueue();
      const errors = await Promise.all(FILTERS.map(() => device.popErrorScope()));
      const error = errors.find((error) => error !== null);
      // A read that fails without a GPU error was interrupted, or the device is lost, which `device.lost`
      // reports later.
      if (!error && outcome.status === 'rejected' && outcome.reason instanceof DOMException && !lock.ending) {
        await Promise.race([device.lost, sleep(1000)]);
      }
      busy = false;
      if (lost) {
        die(lost);
        if (outcome.status === 'rejected') return new Promise(() => undefined);
      }
      if (error) {
        emptyPool(pool);
        throw new Error(`${error.constructor.name}: ${error.message.trim()}`);
      }
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
  };
}

/** Members of the buffer pool of TensorFlow.js that its types do not declare. */
interface BufferPool {
  freeBuffers: Map<string, GPUBuffer[]>;
  usedBuffers: Map<string, GPUBuffer[]>;
  numFreeBuffers: number;
  numBytesAllocated: number;
}

/**
 * Empties the pool: TensorFlow.js also pools buffers whose creation failed, which would fail all later work
 * of their size.
 */
function emptyPool(pool: BufferPool): void {
  for (const buffers of pool.freeBuffers.values()) {
    for (const buffer of buffers.splice(0)) {
      buffer.destroy();
      pool.numFreeBuffers -= 1;
      pool.numBytesAllocated -= buffer.size;
    }
  }
}

/**
 * Ends the thread with an uncaught error, even if unhandled rejections are only warnings
 * (`--unhandled-rejections`).
 */
function die(error: Error): void {
  setImmediate(() => {
    throw error;
  });
}

/**
 * Adds an explanation to the error of ops that read a tensor synchronously: TensorFlow.js needs a canvas for
 * that.
 */
function explainReadSync(backend: Backend): void {
  const readSync = backend.readSync.bind(backend);
  backend.readSync = (dataId) => {
    try {
      return readSync(dataId);
    } catch (cause) {
      if (!(cause instanceof ReferenceError)) throw cause;
      const op = /(\w+) \[as kernelFunc\]/.exec(cause.stack ?? '')?.[1];
      throw new Error(
        `${op ? `the op ${op}` : 'an op'} reads a tensor back synchronously, which WebGPU cannot do in Node; ` +
          'use another backend for this model',
        { cause },
      );
    }
  };
}
