import { randomNumbers } from '@app/figures';
import { Injectable } from '@nestjs/common';
import { type Batched, InjectBatched, type SubmitOptions } from 'nest-batching';
import { tokensOf, UNITS, VOCABULARY } from './alphabet.js';
import { Network } from './network.js';
import { sample } from './sample.js';

/** What to write. */
export interface Order {
  /** What the text follows; normalized, of known characters. */
  readonly prompt: string;
  /** 0: always the likeliest character. 1: as the network has learned it. */
  readonly temperature: number;
  /** The same seed gives the same text, whatever else is written meanwhile. */
  readonly seed: number;
  /** Characters to write. */
  readonly length: number;
}

/** Writes texts, each as if it were alone. */
@Injectable()
export class Writer {
  constructor(@InjectBatched(Network) private readonly network: Batched<Network>) {}

  /**
   * @param options of each step: an aborted `signal` gives up the place in the next batch
   * @yields one character at a time; while its reader is busy the text makes no step
   */
  async *write(
    { prompt, temperature, seed, length }: Order,
    options: Pick<SubmitOptions, 'signal' | 'tenant'> = {},
  ): AsyncGenerator<string, void> {
    const random = randomNumbers(seed);
    let state: Float32Array = new Float32Array(UNITS);
    // A text begins as a paragraph does.
    const [begin = 0, ...rest] = tokensOf(`\n${prompt}`);
    let token = begin;
    for (const next of rest) {
      ({ state } = await this.network.step({ token, state }, options));
      token = next;
    }
    for (let written = 0; written < length; written++) {
      const reading = await this.network.step({ token, state }, options);
      ({ state } = reading);
      token = sample(reading.scores, temperature, random());
      yield VOCABULARY.charAt(token);
    }
  }
}
