import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type FileReply, sendPage, staticFolders } from '@app/serving';
import { Controller, Get, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { appFolder } from './app-folder.js';

const pages = join(appFolder, 'public');

/** The pages' own files, and Swagger UI: Nest's way to serve that needs inline styles, which the pages' policy forbids. */
export const folders = staticFolders({ '/page': pages, '/docs': swaggerUiFolder() });

/** The pages, at paths that are not the names of their files. */
@ApiExcludeController()
@Controller()
export class PageController {
  @Get()
  digits(@Res() reply: FileReply): void {
    sendPage(reply, pages, 'index.html');
  }

  @Get('photos')
  photos(@Res() reply: FileReply): void {
    sendPage(reply, pages, 'photos.html');
  }

  @Get('docs')
  docs(@Res() reply: FileReply): void {
    sendPage(reply, pages, 'docs.html');
  }
}

/** The copy that @nestjs/swagger brings. */
function swaggerUiFolder(): string {
  const { resolve } = createRequire(createRequire(import.meta.url).resolve('@nestjs/swagger'));
  return dirname(resolve('swagger-ui-dist/package.json'));
}
