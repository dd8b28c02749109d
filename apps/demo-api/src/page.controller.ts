import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Controller, Get, Headers, type OnModuleInit, Param, Res, type StreamableFile } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { appFolder } from './app-folder.js';
import { type Reply, StaticFiles } from './static-files.js';

/** What people look at: the page of the demo, and the reference of the API with Swagger UI. */
@ApiExcludeController()
@Controller()
export class PageController implements OnModuleInit {
  #page!: StaticFiles;
  #swaggerUi!: StaticFiles;

  async onModuleInit(): Promise<void> {
    const pageFolder = join(appFolder, 'public');
    this.#page = await StaticFiles.read(pageFolder, await readdir(pageFolder));
    this.#swaggerUi = await StaticFiles.read(swaggerUiFolder(), ['swagger-ui.css', 'swagger-ui-bundle.js']);
  }

  @Get()
  page(@Headers('if-none-match') etags: string | undefined, @Res({ passthrough: true }) reply: Reply) {
    return this.#page.send('index.html', etags, reply);
  }

  @Get('photos')
  photosPage(@Headers('if-none-match') etags: string | undefined, @Res({ passthrough: true }) reply: Reply) {
    return this.#page.send('photos.html', etags, reply);
  }

  @Get('page/:file')
  pageFile(
    @Param('file') file: string,
    @Headers('if-none-match') etags: string | undefined,
    @Res({ passthrough: true }) reply: Reply,
  ): StreamableFile | undefined {
    return this.#page.send(file, etags, reply);
  }

  @Get('docs')
  docs(@Headers('if-none-match') etags: string | undefined, @Res({ passthrough: true }) reply: Reply) {
    return this.#page.send('docs.html', etags, reply);
  }

  @Get('docs/:file')
  docsFile(
    @Param('file') file: string,
    @Headers('if-none-match') etags: string | undefined,
    @Res({ passthrough: true }) reply: Reply,
  ): StreamableFile | undefined {
    return this.#swaggerUi.send(file, etags, reply);
  }
}

/** The copy that @nestjs/swagger brings. Its own way to serve it needs one more package on Fastify, and inline styles. */
function swaggerUiFolder(): string {
  const { resolve } = createRequire(createRequire(import.meta.url).resolve('@nestjs/swagger'));
  return dirname(resolve('swagger-ui-dist/package.json'));
}
