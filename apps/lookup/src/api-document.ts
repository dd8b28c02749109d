import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';

/** The reference of the API. */
export function createApiDocument(app: INestApplication): OpenAPIObject {
  const document = new DocumentBuilder()
    .setTitle('Members of the library')
    .setDescription(
      'Looks members up and adds them, a batch of requests with each statement: an example of nest-batching. ' +
        'Every error has the shape `Error`.',
    )
    .setVersion('1')
    .build();
  return SwaggerModule.createDocument(app, document);
}
