import { describe, expect, it, jest } from '@jest/globals';
import { Inject, Injectable, Logger, type ModuleMetadata } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  type BatchingModuleOptions,
  BatchingRegistry,
  getBatchedToken,
  InjectBatched,
} from '../index.js';

const EXACT = Symbol('exact');

@Injectable()
class Model {
  readonly batches: string[][] = [];

  constructor(readonly version: string) {}

  @BatchedService(8, 1)
  read(images: string[]): Promise<string[]> {
    this.batches.push(images);
    return Promise.resolve(images.map((image) => `${image} by ${this.version}`));
  }

  helper(text: string): string {
    return this.version + text;
  }
}

@Injectable()
class Reader {
  constructor(
    @InjectBatched('fast', Model) readonly fast: Batched<Model>,
    @InjectBatched(EXACT, Model) readonly exact: Batched<Model>,
    @Inject('fast') readonly model: Model,
  ) {}
}

const fast = { provide: 'fast', useFactory: () => new Model('fast') };
const exact = { provide: EXACT, useFactory: () => Promise.resolve(new Model('exact')) };

function build(metadata: ModuleMetadata, options?: BatchingModuleOptions) {
  return Test.createTestingModule({ ...metadata, imports: [BatchingModule.forRoot(options)] });
}

async function refusal(metadata: ModuleMetadata): Promise<string> {
  const app = await build(metadata).compile();
  const error: unknown = await app.init().catch((reason: unknown) => reason);
  return error instanceof Error ? error.message : 'it started';
}

describe('several instances of one class, under tokens,', () => {
  it('have a view and queues each, with the name of the token', async () => {
    const app = await build({ providers: [fast, exact, Reader] }).compile();
    await app.init();
    const reader = app.get(Reader);
    const registry = app.get(BatchingRegistry);
    expect(registry.list()).toEqual(['fast.read', 'exact.read']);
    const answers = [reader.fast.read('a'), reader.exact.read('b'), reader.fast.read('c')];
    expect(await Promise.all(answers)).toEqual(['a by fast', 'b by exact', 'c by fast']);
    expect(reader.model.batches).toEqual([['a', 'c']]);
    expect(registry.stats().map(({ name, submitted }) => [name, submitted])).toEqual([
      ['fast.read', 2],
      ['exact.read', 1],
    ]);
    expect(registry.get('exact.read')).toBe(reader.exact.read.queue);
    expect(registry.view('fast', Model)).toBe(reader.fast);
    expect(app.get<unknown>(getBatchedToken(EXACT))).toBe(reader.exact);
    expect(() => reader.fast.helper).toThrow('fast.helper is not marked');
    await app.close();
    await expect(reader.exact.read('d')).rejects.toThrow('exact.read was stopped');
  });

  it('take the settings of forRoot by name', async () => {
    const queues = { 'fast.read': { batchSize: 2 }, 'exact.read': { maxDelay: 7 } };
    const app = await build({ providers: [fast, exact, Reader] }, { queues }).compile();
    const warn = jest.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
    await app.init();
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
    const { fast: first, exact: second } = app.get(Reader);
    expect([first.read.queue.batchSize, second.read.queue.batchSize]).toEqual([2, 8]);
    expect(second.read.queue.maxDelay).toBe(7);
  });

  it('may be replaced by a fake, by overrideProvider of the token or of the view', async () => {
    const app = await build({ providers: [fast, exact, Reader] })
      .overrideProvider('fast')
      .useValue({ read: (images: string[]) => images.map(() => 'a fake') })
      .overrideProvider(getBatchedToken(EXACT))
      .useValue({ read: () => Promise.resolve('a fake view') })
      .compile();
    await app.init();
    expect(await app.get(Reader).fast.read('a')).toBe('a fake');
    expect(await app.get(Reader).exact.read('a')).toBe('a fake view');
    expect(app.get(BatchingRegistry).list()).toContain('fast.read');
  });

  it('share the queues of a class that they are an alias of', async () => {
    const classes = { provide: Model, useFactory: () => new Model('one') };
    const alias = { provide: 'fast', useExisting: Model };
    const app = await build({ providers: [classes, alias, exact, Reader] }).compile();
    await app.init();
    expect(app.get(BatchingRegistry).list()).toEqual(['Model.read', 'exact.read']);
    expect(await app.get(Reader).fast.read('a')).toBe('a by one');
  });

  it('may be of another class under the same token in another application of the process', async () => {
    @Injectable()
    class Counter {
      @BatchedService(8, 1)
      count(words: string[]): Promise<number[]> {
        return Promise.resolve(words.map(({ length }) => length));
      }
    }
    @Injectable()
    class Caller {
      @InjectBatched('fast', Counter) readonly counter!: Batched<Counter>;
    }
    const others = await build({ providers: [{ provide: 'fast', useClass: Counter }, Caller] }).compile();
    await others.init();
    expect(others.get(BatchingRegistry).list()).toEqual(['fast.count']);
    expect(await others.get(Caller).counter.count('four')).toBe(4);
    const app = await build({ providers: [fast, exact, Reader] }).compile();
    await app.init();
    expect(app.get(BatchingRegistry).list()).toEqual(['fast.read', 'exact.read']);
  });

  it('are found by their token in a factory', async () => {
    const user = {
      provide: 'user',
      inject: [getBatchedToken('fast'), 'fast'],
      useFactory: (view: Batched<Model>) => view.read('early'),
    };
    const app = await build({ providers: [fast, user] }).compile();
    expect(app.get<unknown>('user')).toBe('early by fast');
  });

  it('are named by their token in what is wrong with them', async () => {
    expect(await refusal({ providers: [fast, Reader] })).toContain(
      '- no module provides Symbol(exact) (whose view is injected into Reader); ' +
        'add { provide: that token, useClass: Model } to the providers of one',
    );
    const twin = { provide: Symbol('fast'), useFactory: () => new Model('twin') };
    getBatchedToken(twin.provide);
    expect(await refusal({ providers: [fast, exact, twin, Reader] })).toContain(
      '- two providers have a queue with the name fast.read; give Symbol(fast) or the other one another name',
    );
    expect(await refusal({ providers: [{ provide: 'fast', useValue: 7 }, exact, Reader] })).toContain(
      "- 'fast': expected an instance to be provided, got 7",
    );
  });

  it('need a class where they are injected', () => {
    expect(() => InjectBatched('fast', undefined as never)).toThrow(
      '@InjectBatched(): expected a class, got undefined',
    );
  });
});

describe('getBatchedToken of a token', () => {
  it('is a string of its own', () => {
    class fastest extends Model {}
    const tokens = ['fastest', Symbol('fastest'), Symbol('fastest'), fastest].map((key) =>
      getBatchedToken(key),
    );
    expect(new Set(tokens).size).toBe(4);
    expect(tokens[0]).toBe("Batched<'fastest'> of BatchingModule.forRoot()");
    expect(getBatchedToken('fastest')).toBe(tokens[0]);
  });
});
