import { Injectable } from '@nestjs/common';
import { BatchedService } from 'nest-batching';
import { type Digit, DigitClassifier } from '../digits/digit-classifier.js';

/** The lanes of the race: the same method of the classifier, and queues that differ in the size of their batches alone. */
@Injectable()
export class RaceLanes {
  constructor(private readonly digits: DigitClassifier) {}

  @BatchedService(1, 5, { concurrency: 2 })
  async oneByOne(pictures: readonly Uint8Array[]): Promise<Digit[]> {
    return this.digits.classify(pictures);
  }

  @BatchedService(64, 5, { concurrency: 2 })
  async batched(pictures: readonly Uint8Array[]): Promise<Digit[]> {
    return this.digits.classify(pictures);
  }
}
