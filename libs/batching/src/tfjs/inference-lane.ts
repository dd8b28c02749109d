import { resolve as absolute } from 'node:path';
import { Logger } from '@nestjs/common';
import { type BackendReport, type TfjsBackend, tfjsBackends } from './backend.js';
import { ServiceStoppedError } from '../core/errors.js';
import { InferenceError, InferenceWorkerError, TfjsModuleError } from './errors.js';
import { InferenceThread } from './inference-thread.js';
import type { InferenceMemory } from './inference-worker.js';
import type { BatchValues, ModelDescription } from './loaded-model.js';

interface Registration {
  path: string;
  description: Promise<ModelDescription>;
}

/** Longest pause before the worker is started again, in milliseconds. */
const maxPause = 5000;

/**
 * What the models of one device share: its backend, and the inference worker in which their batches run one after the
 * other. When the worker dies, the predictions it had reject, and it is started again with its models: at once the first
 * time and after any prediction that went well, else after a pause that doubles. In a pause predictions reject at once.
 */
export class InferenceLane {
  readonly #logger = new Logger('TfjsModule');
  readonly #wanted: TfjsBackend | 'auto';
  readonly #models = new Map<string, Registration>();
  /** The worker, or why there is none. */
  #thread: Promise<InferenceThread>;
  #report!: BackendReport;
  /** Deaths and failed starts since the last prediction that went well. */
  #failures = 0;
  #closing: Promise<void> | undefined;

  /** Resolves once the backend runs. Throws `RangeError` for a name that is none, `TfjsBackendError` if it cannot start. */
  static async open(backend: TfjsBackend | 'auto'): Promise<InferenceLane> {
    const names = ['auto', ...tfjsBackends];
    if (!names.includes(backend)) {
      throw new RangeError(`TfjsModule: backend must be one of ${names.join(', ')}; it is '${backend}'`);
    }
    const lane = new InferenceLane(backend);
    await lane.#thread;
    return lane;
  }

  private constructor(wanted: TfjsBackend | 'auto') {
    this.#wanted = wanted;
    this.#thread = this.#start();
  }

  /** The backend and its device; another start of the worker may change them where the backend is `auto`. */
  get report(): BackendReport {
    return this.#report;
  }

  /** Loads a model into the worker. The same name may come again with the same path only. */
  async load(name: string, path: string): Promise<ModelDescription> {
    const file = absolute(path);
    const registered = this.#models.get(name);
    if (registered && registered.path !== file) {
      throw new TfjsModuleError(
        `model '${name}' is registered twice, with ${registered.path} and ${file}: give one of them another name`,
      );
    }
    if (registered) return registered.description;
    const description = this.#load(name, file);
    this.#models.set(name, { path: file, description });
    return description;
  }

  async #load(name: string, path: string): Promise<ModelDescription> {
    try {
      const thread = await this.#thread;
      const description = await thread.call('load', [name, path]);
      const { inputShape, outputShape } = description;
      this.#logger.log(`model '${name}' loaded: [${inputShape.join(', ')}] to [${outputShape.join(', ')}]`);
      return description;
    } catch (error) {
      this.#models.delete(name);
      throw error;
    }
  }

  /** Takes the batch's memory over. Gives all results, one after the other. */
  async predict(model: string, batch: BatchValues, size: number): Promise<Float32Array> {
    if (this.#closing) throw new ServiceStoppedError(`model '${model}'`);
    const thread = await this.#thread;
    try {
      const results = await thread.call('predict', [model, batch, size], [batch.buffer]);
      this.#failures = 0;
      return results;
    } catch (error) {
      if (error instanceof InferenceWorkerError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new InferenceError(`model '${model}' failed on ${this.#report.backend}: ${why}`, {
        cause: error,
      });
    }
  }

  async memory(): Promise<InferenceMemory> {
    const thread = await this.#thread;
    return thread.call('memory', []);
  }

  /** Finishes the predictions that were asked for, refuses others from now on, and ends the worker. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    try {
      const thread = await this.#thread;
      // Calls are answered in order: with this one, all before it are.
      await thread.call('memory', []);
      await thread.end();
    } catch {
      // It is dead already, and nobody waits for it.
    }
  }

  async #start(): Promise<InferenceThread> {
    const thread = new InferenceThread();
    try {
      this.#report = await thread.call('start', [this.#wanted]);
      for (const [name, { path }] of this.#models) await thread.call('load', [name, path]);
    } catch (error) {
      await thread.end();
      throw error;
    }
    void thread.ended.then((reason) => {
      this.#restart(reason);
    });
    const { backend, device, passedOver } = this.#report;
    const others = passedOver.map((reason) => `; passed over ${reason}`).join('');
    this.#logger.log(`backend ${backend} on ${device}${others}`);
    return thread;
  }

  #restart(reason: InferenceWorkerError): void {
    if (this.#closing) return;
    const pause = this.#failures === 0 ? 0 : Math.min(100 * 2 ** this.#failures, maxPause);
    this.#failures += 1;
    this.#logger.error(`${reason.message}; started again ${pause === 0 ? 'now' : `in ${pause} ms`}`);
    if (pause === 0) {
      this.#startAgain();
    } else {
      this.#replace(Promise.reject(reason));
      setTimeout(() => {
        this.#startAgain();
      }, pause).unref();
    }
  }

  #startAgain(): void {
    if (this.#closing) return;
    this.#replace(
      this.#start().catch((cause: unknown) => {
        const why = cause instanceof Error ? cause.message : String(cause);
        const reason = new InferenceWorkerError(`the inference worker could not be started again: ${why}`, {
          cause,
        });
        this.#restart(reason);
        throw reason;
      }),
    );
  }

  #replace(thread: Promise<InferenceThread>): void {
    this.#thread = thread;
    // Whoever predicts is told; but perhaps nobody does before the next start.
    thread.catch(() => undefined);
  }
}
