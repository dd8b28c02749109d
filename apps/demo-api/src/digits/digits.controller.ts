import { Controller, Get, HttpCode, Logger, type OnModuleInit, Post, Query } from '@nestjs/common';
import {
  ApiBody,
  ApiConsumes,
  ApiOkResponse,
  ApiOperation,
  ApiQuery,
  ApiTags,
  getSchemaPath,
} from '@nestjs/swagger';
import { type Batched, InjectBatched } from 'nest-batching';
import { ApiErrors } from '../api-document.js';
import { Configuration, MOST_IMAGES } from '../configuration.js';
import { type Exchange, HttpExchange } from '../http/caller.js';
import { type BodyType, parseJson, RequestBodies } from '../http/request-body.js';
import { type Digit, DigitClassifier } from './digit-classifier.js';
import {
  digitBody,
  digitBodySchema,
  examplePixels,
  manyBody,
  manyBodySchema,
  sampleQuery,
  sampleQuerySchema,
} from './digit-schemas.js';
import { draw } from './draw.js';
import { loadTestDigits } from './mnist.js';
import { pictureToPixels } from './picture.js';

/** A picture file; a phone's photograph has 2 to 5 MB. */
const picture: BodyType<Uint8Array> = {
  limit: 8_000_000,
  read: (bytes, signal) => pictureToPixels(bytes, { signal }),
};

/** 784 numbers of three figures, each with a comma and a space, have 4 KB; pretty-printed JSON has four times that. */
const digitBodies: Record<string, BodyType<Uint8Array>> = {
  'application/json': {
    limit: 32_000,
    read: (bytes) => new Uint8Array(digitBody.check(parseJson(bytes)).pixels),
  },
  'image/png': picture,
  'image/jpeg': picture,
};

/** Handwritten digits, read by one batched network however many callers there are. */
@ApiTags('digits')
@Controller('digits')
export class DigitsController implements OnModuleInit {
  readonly #maxImages: number;
  readonly #manyBodies: Record<string, BodyType<Uint8Array[]>>;

  constructor(
    @InjectBatched(DigitClassifier) private readonly digits: Batched<DigitClassifier>,
    private readonly bodies: RequestBodies,
    { maxImages }: Configuration,
  ) {
    this.#maxImages = maxImages;
    const body = manyBody(maxImages);
    const read = (bytes: Buffer) =>
      body.check(parseJson(bytes)).images.map((pixels) => new Uint8Array(pixels));
    // 256 times 4 KB, and some room.
    this.#manyBodies = { 'application/json': { limit: 1_500_000, read } };
  }

  onModuleInit(): void {
    if (this.#maxImages === MOST_IMAGES) return;
    new Logger(DigitsController.name).warn(
      `POST /digits/many takes at most ${this.#maxImages} images, not ${MOST_IMAGES}: more than MAX_QUEUED would never fit`,
    );
  }

  @ApiOperation({
    summary: 'Read one digit',
    description:
      'Takes 784 numbers, or a PNG or JPEG picture of a digit on any even background, which is scaled and centred as ' +
      "MNIST's digits are.",
  })
  @ApiConsumes(...Object.keys(digitBodies))
  @ApiBody({ schema: digitBodySchema, examples: { one: { value: { pixels: examplePixels } } } })
  @ApiOkResponse({ schema: { $ref: getSchemaPath('Digit') } })
  @ApiErrors(400, 408, 413, 415, 422, 503)
  @HttpCode(200)
  @Post()
  async classify(@HttpExchange() exchange: Exchange): Promise<Digit> {
    const pixels = await this.bodies.read(exchange, digitBodies);
    return this.digits.classify(pixels, { signal: exchange.signal });
  }

  @ApiOperation({
    summary: 'Read many digits',
    description: 'All or nothing; answers are in the order of the images.',
  })
  @ApiConsumes('application/json')
  @ApiBody({
    schema: manyBodySchema(MOST_IMAGES),
    examples: { two: { value: { images: [examplePixels, examplePixels] } } },
  })
  @ApiOkResponse({ schema: { type: 'array', items: { $ref: getSchemaPath('Digit') } } })
  @ApiErrors(400, 408, 413, 415, 503)
  @HttpCode(200)
  @Post('many')
  async classifyMany(@HttpExchange() exchange: Exchange): Promise<Digit[]> {
    const images = await this.bodies.read(exchange, this.#manyBodies);
    return Promise.all(this.digits.classify.submitMany(images, { signal: exchange.signal }));
  }

  @ApiOperation({
    summary: 'Draw digits to try',
    description:
      'Real test digits of MNIST, which the network has not seen. The same seed draws the same digits.',
  })
  @ApiQuery({ name: 'count', schema: sampleQuerySchema.properties.count, required: false })
  @ApiQuery({ name: 'seed', schema: sampleQuerySchema.properties.seed, required: false })
  @ApiOkResponse({ schema: { type: 'array', items: { $ref: getSchemaPath('Sample') } } })
  @ApiErrors(400)
  @Get('samples')
  async samples(@Query() query: Record<string, string>): Promise<{ pixels: number[]; label: number }[]> {
    const { count, seed } = sampleQuery.checkTexts(query);
    const digits = await loadTestDigits();
    return draw(digits, count, seed).map(({ pixels, label }) => ({ pixels: [...pixels], label }));
  }
}
