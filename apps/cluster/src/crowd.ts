import { Inject, Injectable } from '@nestjs/common';
import { type Batched, BatchingRegistry, InjectBatched } from 'nest-batching';
import { DigitClassifier } from '../../demo-api/src/digits/digit-classifier.js';
import { loadTestDigits } from '../../demo-api/src/digits/mnist.js';
import type { Progress } from './messages.js';

/** Callers who each send their next digit when the answer is there. */
@Injectable()
export class Crowd {
  #answers = 0;
  #right = 0;
  readonly #errors: Record<string, number> = {};
  #longestGap = 0;
  #longestWait = 0;
  #lastAnswer = 0;
  #isEnding = false;
  #isDone = false;

  constructor(
    @InjectBatched(DigitClassifier) private readonly digits: Batched<DigitClassifier>,
    @Inject(BatchingRegistry) private readonly registry: BatchingRegistry,
  ) {}

  /** Resolves when every call has ended, some time after `end`. */
  async send(callers: number): Promise<void> {
    const samples = await loadTestDigits();
    let next = 0;
    const call = async (): Promise<void> => {
      while (!this.#isEnding) {
        const sample = samples[next++ % samples.length];
        if (!sample) throw new Error('MNIST is empty');
        const began = performance.now();
        try {
          const { digit } = await this.digits.classify(sample.pixels);
          this.#answered();
          if (digit === sample.label) this.#right++;
        } catch (error) {
          const code = (error as { code?: string }).code ?? String(error);
          this.#errors[code] = (this.#errors[code] ?? 0) + 1;
        }
        this.#longestWait = Math.max(this.#longestWait, performance.now() - began);
      }
    };
    this.#lastAnswer = performance.now();
    await Promise.all(Array.from({ length: callers }, call));
    this.#isDone = true;
  }

  end(): void {
    this.#isEnding = true;
  }

  get progress(): Progress {
    const services = this.registry.transport()?.services ?? [];
    const nodes = services.flatMap((service) => service.nodes);
    return {
      answers: this.#answers,
      right: this.#right,
      errors: this.#errors,
      // Silence that lasts is a gap as well.
      longestGap: this.#isDone ? this.#longestGap : Math.max(this.#longestGap, this.#silence),
      longestWait: this.#longestWait,
      redelivered: Object.fromEntries(nodes.map(({ node, redelivered }) => [node, redelivered])),
      isDone: this.#isDone,
    };
  }

  get #silence(): number {
    return performance.now() - this.#lastAnswer;
  }

  #answered(): void {
    this.#answers++;
    this.#longestGap = Math.max(this.#longestGap, this.#silence);
    this.#lastAnswer = performance.now();
  }
}
