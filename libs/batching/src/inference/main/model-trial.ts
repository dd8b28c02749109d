import { Logger } from '@nestjs/common';
import { InferenceWorkerError, messageOf, ModelNotReadyError, UnsupportedModelError } from '../errors.js';
import { type BatchTensor, nonFiniteIn, tensorsOf } from '../protocol/batch-layout.js';
import type { ModelDescription } from '../protocol/model-description.js';
import type { BatchMemory } from './batch-memory.js';
import type { BatchSizes } from './batch-sizes.js';
import type { InferenceThread } from './inference-thread.js';
import { bytesOnly, checkInputs, fillBatch, type InputTensors } from './model-input.js';
import { differenceFrom, type ModelSelfTest } from './self-test.js';

/** Interval in which a long warm-up logs its progress, in milliseconds. */
const LOG_INTERVAL = 1000;

/** Warms up and tests a model that the worker has just loaded. */
export class ModelTrial {
  constructor(
    private readonly name: string,
    private readonly description: ModelDescription,
    private readonly sizes: BatchSizes,
    private readonly thread: InferenceThread,
    private readonly memory: BatchMemory,
    private readonly logger: Logger,
  ) {}

  /** Runs a batch of zeros of each size that is prepared at start-up. */
  async warmUp(allowNonFinite: boolean): Promise<void> {
    const sizes = this.sizes.warmUp;
    if (sizes.length === 0) return;
    const start = performance.now();
    let logged = start;
    for (const [i, size] of sizes.entries()) {
      const problem = await this.#run([], size, nonFiniteIn);
      if (problem !== undefined && !allowNonFinite) throw notFinite(this.name, problem);
      if (performance.now() - logged > LOG_INTERVAL && i < sizes.length - 1) {
        logged = performance.now();
        this.logger.log(
          `model '${this.name}' is warming up: batches of ${size} done, ${i + 1} of ${sizes.length} sizes`,
        );
      }
    }
    const took = Math.round(performance.now() - start);
    this.logger.log(`model '${this.name}' warmed up with batches of ${sizes.join(', ')} in ${took} ms`);
  }

  /** @throws {ModelNotReadyError} unless the model returns what the test expects */
  async test(test: ModelSelfTest): Promise<void> {
    let inputs: InputTensors[];
    try {
      inputs = checkInputs(this.name, this.description, [test.input]);
    } catch (cause) {
      const why = messageOf(cause);
      throw new ModelNotReadyError(
        this.name,
        `its selfTest has an input that the model does not accept: ${why}`,
        {
          cause,
        },
      );
    }
    for (const { size } of this.sizes.cut(1)) {
      const difference = await this.#run(inputs, size, (outputs) => differenceFrom(test, outputs, size));
      if (difference === undefined) continue;
      throw new ModelNotReadyError(
        this.name,
        `its selfTest failed on ${this.thread.report.backend}: ${difference}. Its files are another model's or damaged, or ` +
          'the backend computes it wrong',
      );
    }
  }

  /** Runs one batch. @returns what `look` returns for its results */
  async #run<Found>(
    inputs: readonly InputTensors[],
    size: number,
    look: (outputs: readonly BatchTensor[]) => Found,
  ): Promise<Found> {
    const { name, description, thread, memory } = this;
    const batch = memory.take(description, size, bytesOnly(inputs, description.inputs));
    try {
      const shared = tensorsOf(batch, description);
      fillBatch(shared.inputs, inputs, size);
      await thread.call('predict', [name, batch]);
      return look(shared.outputs);
    } catch (cause) {
      if (cause instanceof InferenceWorkerError) throw cause;
      throw new UnsupportedModelError(
        `model '${name}' cannot run a batch of ${size} on ${thread.report.backend}: ${messageOf(cause)}`,
        { cause },
      );
    } finally {
      memory.giveBack(batch);
    }
  }
}

/** @param problem description of the number in the results of zeros */
export function notFinite(name: string, problem: string): ModelNotReadyError {
  return new ModelNotReadyError(
    name,
    `an input of zeros gives ${problem}: its weights may be damaged. If this is right for the model, set ` +
      'allowNonFinite: true, or give a selfTest, which decides instead',
  );
}
