import { runWorker } from '../../inference/worker/run-loop.js';
import { startBackend, type TfjsBackend } from '../backend.js';
import { TfjsRuntime } from './tfjs-runtime.js';

/** The inference worker of TensorFlow.js: the file of the thread that `tfjs/runtime.ts` names. */
await runWorker(async (backend) => new TfjsRuntime(await startBackend(backend as TfjsBackend | 'auto')));
