import { CONFIGURATION } from '@app/serving';
import { Controller, HttpCode, Inject, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { type Batched, InjectBatched } from 'nest-batching';
import type { Configuration } from '../../demo-api/src/configuration.js';
import { type Digit, DigitClassifier } from '../../demo-api/src/digits/digit-classifier.js';
import { DigitPipe, DigitsPipe } from '../../demo-api/src/digits/digit-pipes.js';
import { UploadedBody } from '../../demo-api/src/http/bodies.js';
import { CallerSignal } from '../../demo-api/src/http/caller.js';

/** The demo's digits; that they are read on other nodes is not seen here. */
@ApiTags('digits')
@Controller('digits')
export class DigitsController {
  constructor(
    @InjectBatched(DigitClassifier) private readonly digits: Batched<DigitClassifier>,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  @HttpCode(200)
  @Post()
  classify(@UploadedBody(DigitPipe) pixels: Uint8Array, @CallerSignal() signal: AbortSignal): Promise<Digit> {
    return this.digits.classify(pixels, { signal, timeout: this.configuration.digitTimeout });
  }

  @HttpCode(200)
  @Post('many')
  classifyMany(
    @UploadedBody(DigitsPipe) images: Uint8Array[],
    @CallerSignal() signal: AbortSignal,
  ): Promise<Digit[]> {
    return Promise.all(
      this.digits.classify.submitMany(images, { signal, timeout: this.configuration.digitTimeout }),
    );
  }
}
