import type { ServeStaticModuleOptions } from '@nestjs/serve-static';
import { libraryFolder } from './app-folder.js';

/** What the replies of Express and Fastify have in common. */
export interface FileReply {
  header(name: string, value: string): unknown;
  sendFile(name: string, options: { root: string; cacheControl: boolean }): unknown;
}

/** For `staticFolders`: the style sheet that the pages of several applications share, `/house/house.css`. */
export const houseFolders = { '/house': libraryFolder('serving/public/house') };

/**
 * Options of `ServeStaticModule` for folders whose files a browser keeps, and asks about each time.
 *
 * @param folders by the path under which their files are served
 */
export function staticFolders(folders: Readonly<Record<string, string>>): ServeStaticModuleOptions[] {
  return Object.entries(folders).map(([serveRoot, rootPath], index) => {
    const serveStaticOptions = {
      index: false,
      redirect: false,
      cacheControl: false,
      setHeaders: (reply: FileReply, path: string) => {
        askEachTime(reply);
        // Fastify still has the name before RFC 9239.
        if (path.endsWith('.js')) reply.header('Content-Type', 'text/javascript; charset=utf-8');
      },
      // Fastify decorates once, and takes one route per path: index.html has one by `renderPath`.
      decorateReply: index === 0,
      globIgnore: ['index.html'],
      fallthrough: true,
    };
    // By default every path below that is no file would get index.html.
    return { rootPath, serveRoot, renderPath: '/index.html', serveStaticOptions };
  });
}

/** Answers with one file, in the same way, at a path that is not its name. */
export function sendPage(reply: FileReply, root: string, name: string): void {
  askEachTime(reply);
  reply.sendFile(name, { root, cacheControl: false });
}

function askEachTime(reply: FileReply): void {
  reply.header('Cache-Control', 'no-cache');
}
