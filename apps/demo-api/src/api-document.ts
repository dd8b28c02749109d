import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, type OpenAPIObject, type SchemaObject, SwaggerModule } from '@nestjs/swagger';
import type { Configuration } from './configuration.js';
import { drawSamples } from './digits/samples.js';
import { BYTES_TYPE } from './http/bodies.js';

/** The reference of the API. */
export async function createApiDocument(
  app: INestApplication,
  { maxImages }: Configuration,
): Promise<OpenAPIObject> {
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
  const samples = document.paths['/digits/samples']?.get?.responses['200'];
  const answer = samples && 'content' in samples ? samples.content?.['application/json'] : undefined;
  if (answer) answer.example = await drawSamples(1, 0);
  // The decorators cannot know what is set.
  const many = document.paths['/digits/many']?.post?.requestBody;
  const schema = many && 'content' in many ? many.content['application/json']?.schema : undefined;
  if (schema) Object.assign((schema as SchemaObject).properties?.images ?? {}, { maxItems: maxImages });
  return document;
}
