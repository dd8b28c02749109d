import {
  Controller,
  createParamDecorator,
  type ExecutionContext,
  Get,
  HttpCode,
  Post,
  Query,
} from '@nestjs/common';
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
import { CallerSignal, rawRequest } from '../http/caller.js';
import { type BodyType, parseJson, readBody } from '../http/request-body.js';
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
const picture: BodyType<Uint8Array> = { limit: 8_000_000, read: pictureToPixels };

/** 784 numbers of three figures, each with a comma and a space, have 4 KB; pretty-printed JSON has four times that. */
const digitBodies: Record<string, BodyType<Uint8Array>> = {
  'application/json': {
    limit: 32_000,
    read: (bytes) => new Uint8Array(digitBody.check(parseJson(bytes)).pixels),
  },
  'image/png': picture,
  'image/jpeg': picture,
};

const manyBodies: Record<string, BodyType<Uint8Array[]>> = {
  'application/json': {
    // 256 times 4 KB, and some room.
    limit: 1_500_000,
    read: (bytes) => manyBody.check(parseJson(bytes)).images.map((pixels) => new Uint8Array(pixels)),
  },
};

const DigitBody = createParamDecorator((_: unknown, context: ExecutionContext) =>
  readBody(rawRequest(context.switchToHttp().getRequest()), digitBodies),
);

const ManyBody = createParamDecorator((_: unknown, context: ExecutionContext) =>
  readBody(rawRequest(context.switchToHttp().getRequest()), manyBodies),
);

/** Handwritten digits, read by one batched network however many callers there are. */
@ApiTags('digits')
@Controller('digits')
export class DigitsController {
  constructor(@InjectBatched(DigitClassifier) private readonly digits: Batched<DigitClassifier>) {}

  @ApiOperation({
    summary: 'Read one digit',
    description:
      'Takes 784 numbers, or a PNG or JPEG picture of a digit on any even background, which is scaled and centred as ' +
      "MNIST's digits are.",
  })
  @ApiConsumes(...Object.keys(digitBodies))
  @ApiBody({ schema: digitBodySchema, examples: { one: { value: { pixels: examplePixels } } } })
  @ApiOkResponse({ schema: { $ref: getSchemaPath('Digit') } })
  @ApiErrors(400, 413, 415, 422, 503)
  @HttpCode(200)
  @Post()
  classify(@DigitBody() pixels: Uint8Array, @CallerSignal() signal: AbortSignal): Promise<Digit> {
    return this.digits.classify(pixels, { signal });
  }

  @ApiOperation({
    summary: 'Read up to 256 digits',
    description: 'All or nothing; answers are in the order of the images.',
  })
  @ApiConsumes(...Object.keys(manyBodies))
  @ApiBody({
    schema: manyBodySchema,
    examples: { two: { value: { images: [examplePixels, examplePixels] } } },
  })
  @ApiOkResponse({ schema: { type: 'array', items: { $ref: getSchemaPath('Digit') } } })
  @ApiErrors(400, 413, 415, 503)
  @HttpCode(200)
  @Post('many')
  classifyMany(@ManyBody() images: Uint8Array[], @CallerSignal() signal: AbortSignal): Promise<Digit[]> {
    return Promise.all(this.digits.classify.submitMany(images, { signal }));
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
