import { on } from 'node:events';
import { inspect } from 'node:util';
import { parentPort } from 'node:worker_threads';
import { BatchingError } from '../../core/errors.js';
import { UnsupportedModelError } from '../errors.js';
import type { Answer, Call, Failure, WorkerCalls } from '../protocol/messages.js';
import type { KeptStates } from './kept-states.js';
import { LoadedModel } from './loaded-model.js';
import { ModelFiles } from './model-files.js';
import type { Runtime, RuntimeTensor } from './runtime.js';

/**
 * Runs the inference worker: this thread owns a backend and the models on it, and answers the calls of
 * `InferenceThread` one at a time. Rejects when the backend is broken, which ends the thread; the main thread
 * then starts another.
 *
 * @param start starts the backend of this name, or for `auto` the best that works
 */
export async function runWorker<Tensor extends RuntimeTensor>(
  start: (backend: string) => Promise<Runtime<Tensor>>,
): Promise<void> {
  if (!parentPort) throw new Error('an inference worker runs in a worker thread only');
  const host = new ModelHost(start);
  for await (const [call] of on(parentPort, 'message') as AsyncIterable<[Call]>) {
    parentPort.postMessage(await answerTo(call, host));
    if (host.broken) throw host.broken;
  }
}

/** The backend of this thread and the models on it. */
class ModelHost<Tensor extends RuntimeTensor> implements WorkerCalls {
  readonly #models = new Map<string, LoadedModel<Tensor>>();
  /** For each model, the files that its last load read, even if it failed, and the number of loads. */
  readonly #loads = new Map<string, { files: ModelFiles; attempts: number }>();
  readonly #start: (backend: string) => Promise<Runtime<Tensor>>;
  #runtime!: Runtime<Tensor>;
  /** The reason why the backend cannot be used any more. */
  broken: Error | undefined;

  constructor(start: (backend: string) => Promise<Runtime<Tensor>>) {
    this.#start = start;
  }

  readonly start: WorkerCalls['start'] = async (backend) => {
    this.#runtime = await this.#start(backend);
    return this.#runtime.report;
  };

  readonly load: WorkerCalls['load'] = async (name, path, inputShape, state) => {
    await this.unload(name);
    const files = new ModelFiles(path);
    const attempt = this.#loads.get(name)?.attempts ?? 0;
    this.#loads.set(name, { files, attempts: attempt + 1 });
    const model = await LoadedModel.load(this.#runtime, { path, inputShape, state, files, attempt });
    this.#models.set(name, model);
    return { description: model.description, checksums: files.checksums, nonFinite: model.nonFinite };
  };

  readonly unload: WorkerCalls['unload'] = (name) => {
    this.#models.get(name)?.dispose();
    this.#models.delete(name);
    return Promise.resolve();
  };

  readonly changed: WorkerCalls['changed'] = (name) =>
    this.#loads.get(name)?.files.changed() ?? Promise.resolve(true);

  readonly predict: WorkerCalls['predict'] = async (name, batch, states) => {
    const model = this.#models.get(name);
    if (states) model?.states.drop(states.dropped);
    if (!model) throw new UnsupportedModelError('the worker has not loaded it');
    try {
      return await this.#runtime.checked(() => model.run(batch, states));
    } catch (error) {
      await this.#runtime.verify().catch((reason: unknown) => {
        this.broken = reason instanceof Error ? reason : new Error(String(reason));
      });
      throw error;
    }
  };

  readonly drop: WorkerCalls['drop'] = (name, states) => {
    this.#models.get(name)?.states.drop(states);
    return Promise.resolve();
  };

  readonly memory: WorkerCalls['memory'] = () => {
    const models = [...this.#models.values()].filter(({ description }) => description.state);
    const memory = this.#runtime.memory();
    if (models.length === 0) return Promise.resolve(memory);
    const sum = (of: (states: KeptStates) => number) =>
      models.reduce((total, { states }) => total + of(states), 0);
    return Promise.resolve({
      ...memory,
      states: sum(({ count }) => count),
      stateBytes: sum(({ bytes }) => bytes),
    });
  };
}

async function answerTo({ id, name, args }: Call, calls: WorkerCalls): Promise<Answer> {
  try {
    const call = calls[name] as (...args: unknown[]) => Promise<unknown>;
    return { id, value: await call(...args) };
  } catch (error) {
    return { id, failure: failureOf(error) };
  }
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: 'Error', message: inspect(error) };
  const { name, message, stack } = error;
  return { code: error instanceof BatchingError ? error.code : undefined, name, message, stack };
}
