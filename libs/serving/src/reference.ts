import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { Controller, Get, type INestApplication, Res } from '@nestjs/common';
import { ApiExcludeController, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import { libraryFolder } from './app-folder.js';
import { type FileReply, sendPage } from './static-files.js';

const page = libraryFolder('serving/public/reference');

/**
 * For `staticFolders`: the page's own files, and Swagger UI in the copy that @nestjs/swagger brings. Nest's way to serve
 * that needs inline styles, which the pages' policy forbids.
 */
export const referenceFolders = { '/docs/page': page, '/docs': swaggerUiFolder() };

/** `GET /docs`: the reference of the application's API, in the look of the system, dark or light. */
@ApiExcludeController()
@Controller('docs')
export class ReferenceController {
  @Get()
  reference(@Res() reply: FileReply): void {
    sendPage(reply, page, 'reference.html');
  }
}

/** `GET /docs/openapi.json`: what that page shows, for programs. */
export function serveDocument(app: INestApplication, document: OpenAPIObject): void {
  SwaggerModule.setup('docs', app, document, {
    ui: false,
    raw: ['json'],
    jsonDocumentUrl: 'docs/openapi.json',
  });
}

function swaggerUiFolder(): string {
  const { resolve } = createRequire(createRequire(import.meta.url).resolve('@nestjs/swagger'));
  return dirname(resolve('swagger-ui-dist/package.json'));
}
