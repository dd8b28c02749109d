import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { build, type Format } from 'esbuild';

/** In the project, where the packages that the bundle leaves out are found. */
const folder = join(import.meta.dirname, '../../../../dist/bundle-spec');

describe('an application that was bundled', () => {
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it.each<Format>(['cjs', 'esm'])(
    'with the library in it (%s) says: keep nest-batching external',
    async (format) => {
      mkdirSync(folder, { recursive: true });
      const outfile = join(folder, format === 'cjs' ? 'main.cjs' : 'main.mjs');
      await build({
        stdin: {
          contents: `
          import 'reflect-metadata';
          import { NestFactory } from '@nestjs/core';
          import { TfjsModule } from './libs/batching/tfjs/index.js';
          class App {}
          const imports = [TfjsModule.forRoot({ backend: 'cpu' })];
          const options = { logger: false, abortOnError: false };
          NestFactory.createApplicationContext({ module: App, imports }, options).catch(({ code, message }) => {
            process.stdout.write(JSON.stringify({ code, message }));
          });`,
          resolveDir: join(folder, '..'),
        },
        outfile,
        format,
        bundle: true,
        platform: 'node',
        logLevel: 'silent',
        external: ['@nestjs/*', '@tensorflow/*', 'reflect-metadata', 'webgpu'],
      });
      const { status, stdout } = spawnSync(process.execPath, [outfile], {
        encoding: 'utf8',
        timeout: 25_000,
      });
      expect({ status, ...(JSON.parse(stdout) as object) }).toEqual({
        status: 0,
        code: 'ERR_BATCHING_TFJS_MODULE',
        message: expect.stringMatching(/^the inference worker has no file.*; keep nest-batching external/),
      });
    },
  );
});
