import { applyDecorators, type INestApplication } from '@nestjs/common';
import {
  ApiResponse,
  DocumentBuilder,
  getSchemaPath,
  type OpenAPIObject,
  type SchemaObject,
  SwaggerModule,
} from '@nestjs/swagger';
import type { Configuration } from './configuration.js';
import { digitSchema, manyBodySchema, sampleSchema } from './digits/digit-schemas.js';
import { type ErrorBody, errorBody } from './http/api-error.js';

const errorSchema = {
  type: 'object',
  required: ['statusCode', 'error', 'message'],
  properties: {
    statusCode: { type: 'integer' },
    error: { type: 'string', description: 'The name of the status' },
    message: { type: 'string', description: 'What was expected and what came, for people' },
    code: {
      type: 'string',
      description: 'What it was, for programs; stays the same from version to version',
    },
    details: { description: 'What else there is to know' },
  },
} satisfies SchemaObject;

/** When each status comes, with an example. */
const errors = {
  400: {
    description: 'The body is empty, no JSON, or not what the schema says; or the query is not.',
    example: errorBody(
      400,
      'pixels: expected an array of 784 integers from 0 to 255, got an array of 3',
      'ERR_INVALID',
      [{ path: 'pixels', expected: 'an array of 784 integers from 0 to 255', received: 'an array of 3' }],
    ),
  },
  408: {
    description: 'The body did not arrive in time.',
    example: errorBody(408, 'expected the whole body within 30000 ms', 'ERR_BODY_TIMEOUT', { limit: 30_000 }),
  },
  413: {
    description: 'The body has too many bytes, or the picture too many pixels.',
    example: errorBody(413, 'expected a body of at most 32000 bytes, got 40000', 'ERR_BODY_TOO_LARGE', {
      limit: 32_000,
    }),
  },
  415: {
    description: 'The Content-Type is none of those that are taken.',
    example: errorBody(
      415,
      'expected a body with Content-Type application/json, uncompressed; got text/plain',
      'ERR_BODY_TYPE',
      { accepted: ['application/json'] },
    ),
  },
  422: {
    description:
      'The picture is damaged, is neither PNG nor JPEG, has too many scans, takes too long to decode, or shows nothing.',
    example: errorBody(
      422,
      'expected a PNG or JPEG picture, got data that begins with the bytes 47494638',
      'ERR_PICTURE_FORMAT',
    ),
  },
  503: {
    description:
      'Too many inputs wait already, too many bytes, connections or viewers are there, or the server is shutting down. ' +
      '`Retry-After` says in how many seconds to try again.',
    example: errorBody(
      503,
      'DigitClassifier.classify is full: 10000 inputs wait already',
      'ERR_BATCHING_FULL',
    ),
  },
} satisfies Record<number, { description: string; example: ErrorBody }>;

/** Documents the errors of a route. */
export function ApiErrors(...statuses: (keyof typeof errors)[]): MethodDecorator {
  return applyDecorators(
    ...statuses.map((status) => {
      const { description, example } = errors[status];
      return ApiResponse({
        status,
        description,
        content: { 'application/json': { schema: { $ref: getSchemaPath('Error') }, example } },
      });
    }),
  );
}

/** The reference of the API. What bodies look like comes from the schemas that they are checked with. */
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
  document.components = {
    ...document.components,
    schemas: { Digit: digitSchema, Sample: sampleSchema, Error: errorSchema },
  };
  for (const { post } of Object.values(document.paths)) {
    if (!post?.requestBody || !('content' in post.requestBody)) continue;
    // Nest documents one schema for all media types of a route.
    for (const [type, body] of Object.entries(post.requestBody.content)) {
      if (!type.startsWith('image/')) continue;
      body.schema = { type: 'string', format: 'binary' };
      delete body.examples;
    }
  }
  // The decorators cannot know what is set.
  const many = document.paths['/digits/many']?.post?.requestBody;
  if (many && 'content' in many)
    Object.assign(many.content['application/json'] ?? {}, { schema: manyBodySchema(maxImages) });
  return document;
}
