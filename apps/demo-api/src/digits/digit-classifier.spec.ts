import { describe, expect, it } from '@jest/globals';
import { assertBatches, createTestBatched, expectBatchInvariant, fakeModel } from 'nest-batching/testing';
import type { TfjsModel } from 'nest-batching/tfjs';
import { DigitClassifier } from './digit-classifier.js';

/** A model that is sure of the digit that the first pixel of a picture says. */
const model = fakeModel<TfjsModel>({
  predict: (pictures: readonly Uint8Array[]) =>
    pictures.map(([first]) => Array.from({ length: 10 }, (_, digit) => (digit === first ? 0.75 : 0.025))),
});
const picture = (digit: number) => Uint8Array.of(digit, 0, 0);

describe('DigitClassifier', () => {
  it('reads the digit with the highest score', async () => {
    const [digit] = await new DigitClassifier(model).classify([picture(7)]);
    expect(digit).toMatchObject({ digit: 7, confidence: 0.75 });
    expect(digit?.scores).toHaveLength(10);
  });

  it('reads the pictures of all callers in one batch, for each caller its own', async () => {
    const { view, batches, dispatch } = createTestBatched(new DigitClassifier(model));
    const pictures = [picture(3), picture(1), picture(4)];
    const answers = Promise.all(pictures.map((one) => view.classify(one)));
    await dispatch();
    expect((await answers).map(({ digit }) => digit)).toEqual([3, 1, 4]);
    assertBatches(batches.classify, [pictures]);
  });

  it('gives a picture the same answer in any batch', async () => {
    const classifier = new DigitClassifier(model);
    await expectBatchInvariant((batch: Uint8Array[]) => classifier.classify(batch), [0, 5, 9].map(picture));
  });
});
