import { join } from 'node:path';
import { type FileReply, referenceFolders, sendPage, staticFolders } from '@app/serving';
import { Controller, Get, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { appFolder } from './app-folder.js';

const pages = join(appFolder, 'public');

/** The pages' own files, and those of the reference. */
export const folders = staticFolders({ '/page': pages, ...referenceFolders });

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
}
