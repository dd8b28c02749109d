import { type ErrorBody, errorBody } from '@app/serving';
import { applyDecorators, type INestApplication } from '@nestjs/common';
import {
  ApiProperty,
  ApiPropertyOptional,
  ApiResponse,
  ApiSchema,
  DocumentBuilder,
  type OpenAPIObject,
  type SchemaObject,
  SwaggerModule,
} from '@nestjs/swagger';
import type { Configuration } from './configuration.js';
import { BYTES_TYPE } from './http/bodies.js';

@ApiSchema({ name: 'Error' })
class ErrorDto implements ErrorBody {
  @ApiProperty({ type: 'integer' })
  statusCode!: number;

  @ApiProperty({ description: 'The name of the status' })
  error!: string;

  @ApiProperty({ description: 'What was expected and what came, for people' })
  message!: string;

  @ApiPropertyOptional({
    description: 'What it was, for programs; stays the same from version to version',
  })
  code?: string;

  @ApiPropertyOptional({
    description: 'What else there is to know',
    oneOf: [{ type: 'object' }, { type: 'array', items: {} }],
  })
  details?: unknown;
}

/** When each status comes, with an example. */
const errors = {
  400: {
    description:
      'The body is empty, no JSON, of a wrong length, or not what the schema says; or the query is not.',
    example: errorBody(
      400,
      'pixels: expected an array of 784 integers from 0 to 255, got nothing',
      'ERR_INVALID',
      [{ path: 'pixels', expected: 'an array of 784 integers from 0 to 255', received: 'nothing' }],
    ),
  },
  408: {
    description: 'The body did not arrive in time.',
    example: errorBody(408, 'expected the whole body within 30000 ms', 'ERR_BODY_TIMEOUT', { limit: 30_000 }),
  },
  409: {
    description: 'Another race is run. `Retry-After` says in how many seconds it is over.',
    example: errorBody(409, 'another race is run, for about 3 s more', 'ERR_RACE_RUNNING', { seconds: 3 }),
  },
  413: {
    description: 'The body has too many bytes, or the picture too many pixels.',
    example: errorBody(
      413,
      'expected a picture of at most 1000000 pixels, got 1200×900',
      'ERR_PICTURE_TOO_LARGE',
    ),
  },
  415: {
    description: 'The Content-Type is none of those that are taken.',
    example: errorBody(
      415,
      'expected a body with Content-Type image/png, uncompressed; got none',
      'ERR_BODY_TYPE',
    ),
  },
  422: {
    description:
      'The picture is damaged, is neither PNG nor JPEG, has too many scans, takes too long to decode, or shows nothing.',
    example: errorBody(422, 'expected one digit, got 9 spots of similar size', 'ERR_PICTURE_BLANK'),
  },
  503: {
    description:
      'Too many inputs wait already, too many bytes, connections or viewers are there, or the server is shutting down. ' +
      '`Retry-After` says in how many seconds to try again.',
    example: errorBody(503, 'TileUpscaler.upscale is full: 1024 inputs wait', 'ERR_BATCHING_FULL'),
  },
};

/** Documents the errors of a route. */
export function ApiErrors(...statuses: (keyof typeof errors)[]): MethodDecorator {
  return applyDecorators(
    ...statuses.map((status) => ApiResponse({ status, type: ErrorDto, ...errors[status] })),
  );
}

/** The reference of the API. */
export function createApiDocument(app: INestApplication, { maxImages }: Configuration): OpenAPIObject {
  const document = SwaggerModule.createDocument(
    app,
    new DocumentBuilder()
      .setTitle('Digits and photos')
      .setDescription(
        'Reads handwritten digits and enlarges photos: a demo of nest-batching. Every error has the shape `Error`.',
      )
      .setVersion('1')
      .build(),
  );
  for (const [path, { post }] of Object.entries(document.paths)) {
    if (!post?.requestBody || !('content' in post.requestBody)) continue;
    // Nest documents one schema for all media types of a route.
    for (const [type, body] of Object.entries(post.requestBody.content)) {
      if (type === 'application/json') continue;
      body.schema = { type: 'string', format: 'binary' };
      if (type === BYTES_TYPE) {
        body.schema.description =
          path === '/digits/many' ? `784 bytes of each of 1 to ${maxImages} images` : '784 bytes';
      }
      delete body.examples;
    }
  }
  // The decorators cannot know what is set.
  const many = document.paths['/digits/many']?.post?.requestBody;
  const schema = many && 'content' in many ? many.content['application/json']?.schema : undefined;
  if (schema) Object.assign((schema as SchemaObject).properties?.images ?? {}, { maxItems: maxImages });
  return document;
}
