import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import openapiTS, { astToString } from 'openapi-typescript';
import { startDemo } from './demo.js';

const run = promisify(execFile);
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');

/** What a user of the generated types writes. Lines that are not to compile say so. */
const client = `
import createClient from 'openapi-fetch';
import type { components, paths } from './api.js';

const api = createClient<paths>({ baseUrl: process.argv[2] });
const { data: samples, error: noSamples } = await api.GET('/digits/samples', { params: { query: { count: 3, seed: 1 } } });
if (!samples) throw new Error(noSamples.message);
const images: number[][] = samples.map(({ pixels }) => pixels);
const { data: digits } = await api.POST('/digits/many', { body: { images } });
const read: components['schemas']['Digit'][] = digits ?? [];
const bytes = new Uint8Array(784);
const { data: one } = await api.POST('/digits', {
  body: new Blob([bytes]) as never,
  bodySerializer: (body) => body,
  headers: { 'content-type': 'application/octet-stream' },
});
const { error, response } = await api.POST('/digits', { body: { pixels: [1] } });
const code: string | undefined = error?.code;
// No header need be given.
const leave = new AbortController();
const { data: live } = await api.GET('/queues/live', { parseAs: 'stream', signal: leave.signal });
const { value } = (await live?.getReader().read()) ?? {};
leave.abort();
const first: string = new TextDecoder().decode(value);
const queues: components['schemas']['Live'] = JSON.parse(/^data: (.*)$/m.exec(first)?.[1] ?? '');
// @ts-expect-error a count is a number
void (() => api.GET('/digits/samples', { params: { query: { count: 'three' } } }));
// @ts-expect-error there is no such route
void (() => api.GET('/digit'));
console.log(JSON.stringify({
  labels: samples.map(({ label }) => label),
  digits: read.map(({ digit }) => digit),
  one: one?.scores.length,
  refused: [response.status, code],
  queues: queues.queues.map(({ name }) => name),
}));
`;

describe('A client generated from the reference of the demo', () => {
  const folder = mkdtempSync(join(import.meta.dirname, '../dist/client-'));
  let app: INestApplication;
  let url: string;
  beforeAll(async () => {
    ({ app, url } = await startDemo({ BACKEND: 'wasm' }));
  });
  afterAll(async () => {
    await app.close();
    rmSync(folder, { recursive: true });
  });

  it('compiles, and calls the server', async () => {
    const types = astToString(await openapiTS(new URL(`${url}/docs/openapi.json`)));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    writeFileSync(join(folder, 'api.ts'), types);
    writeFileSync(join(folder, 'client.ts'), client);
    const options = [
      '--strict',
      '--skipLibCheck',
      '--module',
      'nodenext',
      '--target',
      'es2023',
      '--types',
      'node',
      '--lib',
      'es2023,dom',
    ];
    await run(process.execPath, [tsc, '--ignoreConfig', ...options, join(folder, 'client.ts')]).catch(
      (error: unknown) => {
        throw new Error((error as { stdout: string }).stdout);
      },
    );
    const { stdout } = await run(process.execPath, [join(folder, 'client.js'), url]);
    const given = JSON.parse(stdout) as { labels: number[]; digits: number[] };
    expect(given).toEqual({
      labels: expect.any(Array),
      digits: given.labels,
      one: 10,
      refused: [400, 'ERR_INVALID'],
      queues: expect.arrayContaining(['DigitClassifier.classify', 'TileUpscaler.upscale']) as unknown,
    });
    expect(given.digits).toHaveLength(3);
  });
});
