import { Inject, Injectable } from '@nestjs/common';
import { BatchedService } from 'nest-batching';
import { DIGITS_NETWORK, type DigitsNetwork } from './digits-network.js';

/** What the network reads in a picture. */
export interface Digit {
  digit: number;
  /** The score of that digit, 0–1. */
  confidence: number;
  /** One per digit 0–9; together 1. */
  scores: number[];
}

@Injectable()
export class DigitClassifier {
  constructor(@Inject(DIGITS_NETWORK) private readonly model: DigitsNetwork) {}

  /** Takes pictures of 28×28 bytes. The numbers are for a start; the environment retunes them: see AppModule. */
  @BatchedService(64, 5, { concurrency: 2, isolateErrors: true })
  async classify(pictures: readonly Uint8Array[]): Promise<Digit[]> {
    const scores = await this.model.predict(pictures);
    return scores.map(toDigit);
  }
}

function toDigit(scores: Float32Array): Digit {
  const confidence = Math.max(...scores);
  return { digit: scores.indexOf(confidence), confidence, scores: [...scores] };
}
