import { join } from 'node:path';
import { Injectable } from '@nestjs/common';
import { BatchedService } from 'nest-batching';
import { InjectTfjsModel, TfjsModel, type TfjsModelOptions } from 'nest-batching/tfjs';
import { modelFolder } from './alphabet.js';

/** Most steps in one batch, to which every batch is padded. */
export const BATCH_SIZE = 64;

/** One step of a text: the character that it has now, and the state before. */
export interface Step {
  readonly token: number;
  readonly state: Float32Array;
}

/** What the network has read. */
export interface Reading {
  /** Logits of the next character, rounded. */
  readonly scores: Float32Array;
  readonly state: Float32Array;
}

/**
 * The network as it is registered. It runs at one size only: a backend may add in another order in a batch of another size,
 * and then the company of a text would decide over its letters.
 */
export function network(): TfjsModelOptions {
  return { name: 'writers', path: join(modelFolder, 'network.js'), batchSizes: [BATCH_SIZE] };
}

@Injectable()
export class Network {
  constructor(@InjectTfjsModel('writers') private readonly model: TfjsModel) {}

  /**
   * One step of each text. All texts of a batch go on when it ends, and are together in the next one; so one batch at a time is
   * the fullest.
   */
  @BatchedService(BATCH_SIZE, 2)
  async step(steps: readonly Step[]): Promise<Reading[]> {
    const results = await this.model.predict(steps.map(({ token, state }) => ({ token: [token], state })));
    return results.map(({ scores, state }) => ({
      scores: round(scores as Float32Array),
      state: state as Float32Array,
    }));
  }
}

/** To 1/1024, in place, so that differences in the last bits, as between two backends, rarely change a choice. */
function round(scores: Float32Array): Float32Array {
  // By index, as in sample.ts.
  for (let i = 0, count = scores.length; i < count; i++)
    scores[i] = Math.round((scores[i] ?? NaN) * 1024) / 1024;
  return scores;
}
