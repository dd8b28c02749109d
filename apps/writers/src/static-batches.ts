import { randomNumbers } from '@app/figures';
import { Injectable } from '@nestjs/common';
import { type Batched, BatchedService, InjectBatched } from 'nest-batching';
import { tokensOf, UNITS, VOCABULARY } from './alphabet.js';
import { BATCH_SIZE, Network } from './network.js';
import { sample } from './sample.js';
import type { Order } from './writer.js';

/** A whole text, which is one input of a batch. */
export interface TextRequest {
  readonly order: Order;
  /** Called with each character as soon as it is written. */
  readonly onText: (text: string) => void;
  /** Aborts when nobody reads it any more. Default: never. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * What is written without steps that batches can be made of: requests are batched as a whole, and a batch takes as long as
 * its longest text. For comparison; readers even get each character at once, not when the batch has ended.
 */
@Injectable()
export class StaticBatches {
  constructor(@InjectBatched(Network) private readonly network: Batched<Network>) {}

  @BatchedService(BATCH_SIZE, 5)
  async write(requests: readonly TextRequest[]): Promise<undefined[]> {
    const texts = requests.map(({ order, onText, signal }) => {
      const [token = 0, ...unread] = tokensOf(`\n${order.prompt}`);
      const state: Float32Array = new Float32Array(UNITS);
      return { order, onText, signal, random: randomNumbers(order.seed), token, unread, state, written: 0 };
    });
    const step = async (text: (typeof texts)[number]) => {
      const { scores, state } = await this.network.step(text);
      text.state = state;
      const read = text.unread.shift();
      if (read !== undefined) {
        text.token = read;
        return;
      }
      text.token = sample(scores, text.order.temperature, text.random());
      text.written += 1;
      if (text.signal?.aborted !== true) text.onText(VOCABULARY.charAt(text.token));
    };
    for (let left = texts; left.length > 0;) {
      await Promise.all(left.map(step));
      left = left.filter(({ written, order, signal }) => written < order.length && signal?.aborted !== true);
    }
    return requests.map(() => undefined);
  }
}
