import { runWorker } from '../../inference/worker/run-loop.js';
import { startBackend, type TfjsBackend } from '../backend.js';
import { TfjsRuntime } from './tfjs-runtime.js';

/** The inference worker of TensorFlow.js: the main file of its thread. */
await runWorker(async (backend) => new TfjsRuntime(await startBackend(backend as TfjsBackend | 'auto')));
