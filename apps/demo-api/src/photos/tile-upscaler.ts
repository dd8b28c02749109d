import { Injectable } from '@nestjs/common';
import { BatchedService } from 'nest-batching';
import { InjectTfjsModel, TfjsModel } from 'nest-batching/tfjs';

@Injectable()
export class TileUpscaler {
  constructor(@InjectTfjsModel('esrgan') private readonly model: TfjsModel) {}

  /** Takes tiles of 84×84 pixels, 8-bit RGB, of whatever pictures; gives 168×168 for each. The environment retunes the batch size. */
  @BatchedService(4, 5, { concurrency: 2, isolateErrors: true })
  async upscale(tiles: readonly Uint8Array[]): Promise<Uint8ClampedArray[]> {
    const enlarged = await this.model.predict(tiles);
    // This rounds, and clips what the network puts below 0 or above 255.
    return enlarged.map((values) => new Uint8ClampedArray(values));
  }
}
