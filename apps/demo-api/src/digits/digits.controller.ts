import { CONFIGURATION } from '@app/serving';
import { Controller, Get, HttpCode, Inject, Logger, type OnModuleInit, Post, Query } from '@nestjs/common';
import { ApiBody, ApiConsumes, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type Batched, InjectBatched } from 'nest-batching';
import { ApiErrors } from '../api-document.js';
import { type Configuration, MOST_IMAGES } from '../configuration.js';
import { BYTES_TYPE, PICTURE_TYPES, UploadedBody } from '../http/bodies.js';
import { CallerSignal } from '../http/caller.js';
import { DigitDto, DigitQuery, pixelsSchema, SampleDto, SamplesQuery } from './digit.dto.js';
import { type Digit, DigitClassifier } from './digit-classifier.js';
import { DigitPipe, DigitsPipe } from './digit-pipes.js';
import { draw } from './draw.js';
import { Journeys } from './journeys.js';
import { loadTestDigits } from './mnist.js';

/** An upright stroke, which is read as a 1. */
const stroke = Array.from({ length: 784 }, (_, i) => {
  const [x, y] = [i % 28, Math.floor(i / 28)];
  return (x === 13 || x === 14) && y >= 4 && y < 24 ? 255 : 0;
});

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
      'Takes 784 numbers, or 784 bytes, which are the same grey values, row by row, and cost the server least; or a PNG or ' +
      "JPEG picture of a digit on any even background, which is scaled and centred as MNIST's digits are.",
  })
  @ApiConsumes('application/json', BYTES_TYPE, ...PICTURE_TYPES)
  @ApiBody({
    schema: { type: 'object', required: ['pixels'], properties: { pixels: pixelsSchema } },
    examples: { one: { value: { pixels: stroke } } },
  })
  @ApiOkResponse({ type: DigitDto })
  @ApiErrors(400, 408, 413, 415, 422, 503)
  @HttpCode(200)
  @Post()
  async classify(
    @UploadedBody(DigitPipe) pixels: Uint8Array,
    @CallerSignal() signal: AbortSignal,
    @Query() { journey }: DigitQuery,
  ): Promise<Digit> {
    if (!journey) return this.digits.classify(pixels, { signal });
    const [digit] = await this.journeys.follow(() => [this.digits.classify(pixels, { signal })]);
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
  @ApiOkResponse({ type: [DigitDto] })
  @ApiErrors(400, 408, 413, 415, 503)
  @HttpCode(200)
  @Post('many')
  classifyMany(
    @UploadedBody(DigitsPipe) images: Uint8Array[],
    @CallerSignal() signal: AbortSignal,
    @Query() { journey }: DigitQuery,
  ): Promise<Digit[]> {
    const submit = () => this.digits.classify.submitMany(images, { signal });
    return journey ? this.journeys.follow(submit) : Promise.all(submit());
  }

  @ApiOperation({
    summary: 'Draw digits to try',
    description:
      'Real test digits of MNIST, which the network has not seen. The same seed draws the same digits.',
  })
  @ApiOkResponse({ type: [SampleDto] })
  @ApiErrors(400)
  @Get('samples')
  async samples(@Query() { count, seed }: SamplesQuery): Promise<{ pixels: number[]; label: number }[]> {
    const digits = await loadTestDigits();
    return draw(digits, count, seed).map(({ pixels, label }) => ({ pixels: [...pixels], label }));
  }
}
