import { expect, it } from '@jest/globals';
import { Test } from '@nestjs/testing';
import { getTfjsModelToken, type TfjsModel, TfjsModule } from 'nest-batching/tfjs';
import { describeOn } from './backends.fixture.js';
import { randomFloats, writeConvModel, writeFunctionalModel } from './models.fixture.js';

const predictions = 200_000;
const largestBatch = 1024;

for (const backend of ['tensorflow', 'webgpu', 'wasm', 'cpu'] as const) {
  await describeOn(backend, 'memory', () => {
    it('is the same after 200,000 predictions in batches of all sizes', async () => {
      const app = await Test.createTestingModule({
        imports: [
          TfjsModule.forRoot({ backend }),
          TfjsModule.forFeature([
            { name: 'conv', path: writeConvModel().path },
            { name: 'functional', path: writeFunctionalModel().path },
          ]),
        ],
      }).compile();
      const conv = app.get<TfjsModel>(getTfjsModelToken('conv'), { strict: false });
      const functional = app.get<TfjsModel>(getTfjsModelToken('functional'), { strict: false });
      const floats = randomFloats(72, 1);
      const bytes = new Uint8Array(72).fill(3);
      const named = { left: [1, 2, 3], right: [4, 5] };
      const predict = async (count: number): Promise<void> => {
        for (let batch = 0, done = 0; done < count; batch++) {
          const size = 1 + ((batch * 397) % largestBatch);
          await Promise.all([
            conv.predict(Array.from({ length: size }, (_, i) => (batch % 2 || i % 2 ? floats : bytes))),
            batch % 4 ? undefined : functional.predict(Array.from({ length: 1 + (size % 8) }, () => named)),
            batch % 4 ? undefined : conv.predict([[NaN]]).catch(() => undefined),
          ]);
          done += size;
        }
      };
      // What is kept to be used again has to be there first.
      await predict(predictions / 10);
      const before = await conv.memory();
      await predict(predictions);
      const { sharedBytes } = await conv.memory();
      expect(await conv.memory()).toEqual({ ...before, sharedBytes });
      // A batch of 1024 needs half of this.
      expect(sharedBytes).toBeLessThanOrEqual(2 ** 20);
      await app.close();
    }, 120_000);
  });
}
