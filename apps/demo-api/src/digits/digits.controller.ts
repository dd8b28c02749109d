import { ApiErrors, CONFIGURATION } from '@app/serving';
import { Controller, Get, HttpCode, Inject, Logger, type OnModuleInit, Post, Query } from '@nestjs/common';
import { ApiBody, ApiConsumes, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type Batched, InjectBatched, type SubmitOptions } from 'nest-batching';
import { digitErrors, manyDigitsErrors, sampleErrors } from '../api-errors.js';
import { type Configuration, MOST_IMAGES } from '../configuration.js';
import { BYTES_TYPE, PICTURE_TYPES, UploadedBody } from '../http/bodies.js';
import { CallerSignal } from '../http/caller.js';
import { DigitDto, DigitQuery, pixelsSchema, SampleDto, SamplesQuery } from './digit.dto.js';
import { type Digit, DigitClassifier } from './digit-classifier.js';
import { DigitPipe, DigitsPipe } from './digit-pipes.js';
import { Journeys } from './journeys.js';
import { drawSamples } from './samples.js';

/** An upright stroke, which is read as a 1. */
const stroke = Array.from({ length: 784 }, (_, i) => {
  const [x, y] = [i % 28, Math.floor(i / 28)];
  return (x === 13 || x === 14) && y >= 4 && y < 24 ? 255 : 0;
});

/** What it was read as, on the backend `wasm`; others differ by some billionths. */
const readStroke: Digit = {
  digit: 1,
  confidence: 0.9999982118606567,
  scores: [
    3.579795071484426e-10, 0.9999982118606567, 1.1607255157031204e-9, 2.917335643892738e-12,
    0.0000012830131481678109, 1.949992523009314e-8, 3.9148906694208563e-7, 1.1756910112126207e-7,
    6.569385591070898e-10, 1.3301014512023812e-8,
  ],
};

/** Handwritten digits, read by one batched network however many callers there are. */
@ApiTags('digits')
@Controller('digits')
export class DigitsController implements OnModuleInit {
  constructor(
    @InjectBatched(DigitClassifier) private readonly digits: Batched<DigitClassifier>,
    private readonly journeys: Journeys,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  onModuleInit(): void {
    const { maxImages } = this.configuration;
    if (maxImages === MOST_IMAGES) return;
    new Logger(DigitsController.name).warn(
      `POST /digits/many takes at most ${maxImages} images, not ${MOST_IMAGES}: more than MAX_QUEUED would never fit`,
    );
  }

  @ApiOperation({
    summary: 'Read one digit',
    description:
      'Takes 784 numbers, or 784 bytes, which are the same grey values, row by row, and cost the server least; or a PNG, ' +
      "JPEG, WebP or GIF picture of a digit on any even background, which is scaled and centred as MNIST's digits are.",
  })
  @ApiConsumes('application/json', BYTES_TYPE, ...PICTURE_TYPES)
  @ApiBody({
    schema: { type: 'object', required: ['pixels'], properties: { pixels: pixelsSchema } },
    examples: { one: { value: { pixels: stroke } } },
  })
  @ApiOkResponse({ type: DigitDto, example: readStroke })
  @ApiErrors(...digitErrors)
  @HttpCode(200)
  @Post()
  async classify(
    @UploadedBody(DigitPipe) pixels: Uint8Array,
    @CallerSignal() signal: AbortSignal,
    @Query() { journey }: DigitQuery,
  ): Promise<Digit> {
    const submit = () => this.digits.classify(pixels, this.#optionsOf(signal));
    if (!journey) return submit();
    const [digit] = await this.journeys.follow(() => [submit()]);
    return digit as Digit;
  }

  @ApiOperation({
    summary: 'Read many digits',
    description:
      'Takes arrays of 784 numbers, or the 784 bytes of each image, one image after the other. All or nothing; answers are ' +
      'in the order of the images.',
  })
  @ApiConsumes('application/json', BYTES_TYPE)
  @ApiBody({
    schema: {
      type: 'object',
      required: ['images'],
      properties: { images: { type: 'array', minItems: 1, maxItems: MOST_IMAGES, items: pixelsSchema } },
    },
    examples: { two: { value: { images: [stroke, stroke] } } },
  })
  @ApiOkResponse({ type: [DigitDto], example: [readStroke, readStroke] })
  @ApiErrors(...manyDigitsErrors)
  @HttpCode(200)
  @Post('many')
  classifyMany(
    @UploadedBody(DigitsPipe) images: Uint8Array[],
    @CallerSignal() signal: AbortSignal,
    @Query() { journey }: DigitQuery,
  ): Promise<Digit[]> {
    const submit = () => this.digits.classify.submitMany(images, this.#optionsOf(signal));
    return journey ? this.journeys.follow(submit) : Promise.all(submit());
  }

  @ApiOperation({
    summary: 'Draw digits to try',
    description:
      'Real test digits of MNIST, which the network has not seen. The same seed draws the same digits.',
  })
  @ApiOkResponse({ type: [SampleDto] })
  @ApiErrors(...sampleErrors)
  @Get('samples')
  samples(@Query() { count, seed }: SamplesQuery): ReturnType<typeof drawSamples> {
    return drawSamples(count, seed);
  }

  #optionsOf(signal: AbortSignal): SubmitOptions {
    return { signal, timeout: this.configuration.digitTimeout };
  }
}
