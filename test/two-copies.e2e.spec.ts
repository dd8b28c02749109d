import { execFile } from 'node:child_process';
import { copyFile, cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, Injectable, Module, Param, type Type } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import * as here from 'nest-batching';
import * as tfjsHere from 'nest-batching/tfjs';

type Library = typeof here;
type Tfjs = Pick<typeof tfjsHere, 'InferenceWorkerError' | 'ModelInputError' | 'ModelNotReadyError'>;

const built = fileURLToPath(new URL('../dist/libs/batching', import.meta.url));

/** Two copies of the library under one Nest, as an application gets them by two dependencies that each bring one. */
describe('two copies of the library', () => {
  let folder: string;
  let there: Library;
  let tfjsThere: Tfjs;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'nest-batching-copy-'));
    await cp(built, join(folder, 'copy'), { recursive: true });
    await symlink(fileURLToPath(new URL('../node_modules', import.meta.url)), join(folder, 'node_modules'));
    const load = (file: string): Promise<unknown> =>
      import(pathToFileURL(join(folder, 'copy', file)).href) as Promise<unknown>;
    there = (await load('index.js')) as Library;
    tfjsThere = (await load('tfjs/index.js')) as Tfjs;
  });

  afterAll(() => rm(folder, { recursive: true }));

  /** What a request gets that runs into each of the errors. */
  async function answers(
    adapter: ExpressAdapter | FastifyAdapter,
    filter: Type,
    errors: readonly Error[],
  ): Promise<unknown[]> {
    @Controller()
    class Errors {
      @Get(':index')
      fail(@Param('index') index: string): never {
        throw errors[Number(index)] ?? new Error(index);
      }
    }
    @Module({ controllers: [Errors], providers: [{ provide: APP_FILTER, useClass: filter }] })
    class App {}
    const module = await Test.createTestingModule({ imports: [App] }).compile();
    const app = module.createNestApplication(adapter as ExpressAdapter);
    app.useLogger(false);
    await app.listen(0, '127.0.0.1');
    const url = await app.getUrl();
    const seen = [];
    for (const index of errors.keys()) {
      const answer = await fetch(`${url}/${index}`, { headers: { connection: 'close' } });
      const { code } = (await answer.json()) as { code?: string };
      seen.push([answer.status, answer.headers.get('retry-after'), code]);
    }
    await app.close();
    return seen;
  }

  it.each([
    ['Express', () => new ExpressAdapter()],
    ['Fastify', () => new FastifyAdapter()],
  ])('nest#10059: on %s the filter of one answers the errors of the other', async (_name, adapter) => {
    expect(there.BatchingError).not.toBe(here.BatchingError);
    const errorsOf = (library: Library, tfjs: Tfjs) => [
      new library.QueueFullError('queue', 100, 1200),
      new library.DeadlineError('queue', 100, 1200),
      new library.TooManyInputsError('queue', 300, 256),
      new library.InputCostError('queue', 9, 8),
      new library.ServiceStoppedError('queue'),
      new library.BatchTimeoutError('queue', 50, 'waiting'),
      new library.BatchResultError('queue', 3, 'a Map'),
      new library.MissingResultError('queue', 'secret'),
      new tfjs.ModelInputError('digits', 0, undefined, 'must have 784 numbers; it has 5'),
      new tfjs.InferenceWorkerError('it has died'),
      new Error('of the application'),
    ];
    const expected = [
      [503, '2', 'ERR_BATCHING_FULL'],
      [503, '2', 'ERR_BATCHING_DEADLINE'],
      [413, null, 'ERR_BATCHING_TOO_MANY'],
      [413, null, 'ERR_BATCHING_COST'],
      [503, '1', 'ERR_BATCHING_STOPPED'],
      [504, null, 'ERR_BATCHING_TIMEOUT'],
      [500, null, 'ERR_BATCHING_RESULT'],
      [404, null, 'ERR_BATCHING_MISSING'],
      [400, null, 'ERR_BATCHING_INPUT'],
      [503, '1', 'ERR_BATCHING_WORKER'],
      [500, null, undefined],
    ];
    const ofOther = errorsOf(there, tfjsThere);
    expect(await answers(adapter(), here.BatchingExceptionFilter, ofOther)).toEqual(expected);
    const ofThis = errorsOf(here, tfjsHere);
    expect(await answers(adapter(), there.BatchingExceptionFilter, ofThis)).toEqual(expected);
  });

  it('nest#10059: know every class of errors of each other', () => {
    const pairs: [object, object][] = [
      [here, there],
      [tfjsHere, tfjsThere],
    ];
    const names = pairs.flatMap(([ofThis, ofOther]) =>
      Object.entries(ofThis).flatMap(([name, type]: [string, unknown]) => {
        const twin: unknown = Reflect.get(ofOther, name);
        if (!name.endsWith('Error') || typeof type !== 'function' || typeof twin !== 'function') return [];
        expect(Object.create(twin.prototype as object) instanceof type).toBe(true);
        expect(Object.create(type.prototype as object) instanceof twin).toBe(true);
        return [name];
      }),
    );
    expect(names).toEqual(expect.arrayContaining(['BatchingError', 'TooManyInputsError', 'ModelFileError']));
    expect(names.length).toBeGreaterThanOrEqual(16);
  });

  it('nest#10059: share lanes, and the module of one makes the views of the other', async () => {
    const lane = new there.Lane();
    const echo = here.asBatchedService(2, 0, { lane })((numbers: number[]) => numbers);
    expect(await Promise.all(echo.submitMany([1, 2, 3]))).toEqual([1, 2, 3]);

    class Squares {
      @there.BatchedService(2, 0)
      square(numbers: number[]): number[] {
        return numbers.map((number) => number * number);
      }
    }
    @Injectable()
    class Caller {
      constructor(@there.InjectBatched(Squares) readonly squares: here.Batched<Squares>) {}
    }
    const app = await Test.createTestingModule({
      imports: [here.BatchingModule.forRoot()],
      providers: [Squares, Caller],
    }).compile();
    await app.init();
    expect(await app.get(Caller).squares.square(3)).toBe(9);
    expect(there.getBatchedToken(Squares)).toBe(here.getBatchedToken(Squares));
    await app.close();
  });
});

/** Of the two formats in one process, what Jest cannot load: a `require` of Nest 12, which is ES modules alone. */
it('an ES module copy and a CommonJS copy of the library understand each other', async () => {
  const folder = await mkdtemp(join(built, '..', 'both-formats-'));
  try {
    await cp(built, join(folder, 'node_modules/nest-batching'), { recursive: true });
    await copyFile(new URL('./both-formats.mjs', import.meta.url), join(folder, 'main.mjs'));
    const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'main.mjs')]);
    expect(stdout).toMatch(/^CommonJS under ES modules: .*\nES modules under CommonJS: .*\n$/);
  } finally {
    await rm(folder, { recursive: true });
  }
});
