import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { NotFoundException, StreamableFile } from '@nestjs/common';

/** What the replies of Express and Fastify have in common. */
export interface Reply {
  status(code: number): unknown;
  header(name: string, value: string): unknown;
}

const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.jpg': 'image/jpeg',
};

/** A few files, read once and sent from memory; browsers keep them, and ask each time whether they are still the same. */
export class StaticFiles {
  readonly #files: ReadonlyMap<string, { content: Buffer; type: string; etag: string }>;

  /** @throws {Error} when one of the files is missing */
  static async read(folder: string, names: readonly string[]): Promise<StaticFiles> {
    return new StaticFiles(
      await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const)),
    );
  }

  private constructor(contents: readonly (readonly [string, Buffer])[]) {
    this.#files = new Map(
      contents.map(([name, content]) => {
        const type = types[extname(name)] ?? 'application/octet-stream';
        const etag = `"${createHash('sha256').update(content).digest('base64url')}"`;
        return [name, { content, type, etag }];
      }),
    );
  }

  /** @param knownEtags the request's If-None-Match */
  send(name: string, knownEtags: string | undefined, reply: Reply): StreamableFile | undefined {
    const file = this.#files.get(name);
    if (!file) throw new NotFoundException();
    reply.header('Cache-Control', 'no-cache');
    reply.header('ETag', file.etag);
    if (knownEtags?.includes(file.etag)) {
      reply.status(304);
      return undefined;
    }
    return new StreamableFile(file.content, { type: file.type, length: file.content.length });
  }
}
