import { describe, expect, it, jest } from '@jest/globals';
import { Controller, Get, Injectable, Query } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  BatchingRegistry,
  getBatchedToken,
  InjectBatched,
  SerialService,
} from '../index.js';
import { fakeBatched, fakeModel } from './fakes.js';
import { assertBatches, recordBatches } from './recorded-batches.js';
import { createTestBatched } from './test-batched.js';

@Injectable()
class Texts {
  @BatchedService(2, 60_000, { maxQueued: 5 })
  measure(texts: readonly string[]): Promise<number[]> {
    return Promise.resolve(texts.map((text) => text.length));
  }

  @BatchedService(8, 5, { keyBy: (text: string) => text })
  upper(texts: string[]): Map<string, string> {
    return new Map(texts.map((text) => [text, text.toUpperCase()]));
  }

  @SerialService()
  load(path: string): string {
    return `of ${path}`;
  }

  unmarked(): string {
    return 'here';
  }
}

@Controller()
class TextsController {
  constructor(@InjectBatched(Texts) private readonly texts: Batched<Texts>) {}

  @Get()
  async read(@Query('text') text: string): Promise<string> {
    const path = await this.texts.load(text);
    return `${path}: ${await this.texts.measure(text)}`;
  }
}

describe('createTestBatched', () => {
  it('makes the view of an instance, whose batches leave when the test says so', async () => {
    const { view, batches, dispatch } = createTestBatched(new Texts());
    const results = Promise.all([
      ...view.measure.submitMany(['a', 'bb', 'ccc']),
      view.upper('x'),
      view.load('y'),
    ]);
    expect(await dispatch(5)).toHaveLength(4);
    expect(await results).toEqual([1, 2, 3, 'X', 'of y']);
    assertBatches(batches.measure, [['a', 'bb'], ['ccc']]);
    assertBatches(batches.upper, [['x']]);
    assertBatches(batches.load, [['y']]);
    expect(view.measure.queue.stats()).toMatchObject({ name: 'Texts.measure', options: { maxQueued: 5 } });
    expect(Object.keys(view)).toEqual(['measure', 'upper', 'load']);
  });

  it('serves code that submits one input after the other', async () => {
    const texts = createTestBatched(new Texts());
    const controller = new TextsController(texts.view);
    const answers = Promise.all([controller.read('a'), controller.read('bb')]);
    await texts.dispatch(2);
    await texts.dispatch(2);
    expect(await answers).toEqual(['of a: 1', 'of bb: 2']);
    assertBatches(texts.batches.load, [['a'], ['bb']]);
    assertBatches(texts.batches.measure, [['a', 'bb']]);
  });

  it('calls what a test has put in the place of a method', async () => {
    const instance = new Texts();
    jest.spyOn(instance, 'measure').mockRejectedValue(new Error('down'));
    const { view, dispatch } = createTestBatched(instance);
    const result = view.measure('a').catch(String);
    await dispatch();
    expect(await result).toBe('Error: down');
  });

  it('lets time pass for all methods', async () => {
    const { view, advance } = createTestBatched(new Texts());
    const results = [view.measure('a', { timeout: 5 }), view.upper('b', { timeout: 5 })].map((result) =>
      result.catch((error: unknown) => (error as Error).name),
    );
    advance(5);
    expect(await Promise.all(results)).toEqual(['BatchTimeoutError', 'BatchTimeoutError']);
  });

  it('refuses what has no marked method', () => {
    for (const wrong of [new Date(), Texts, undefined, null, 'text']) {
      expect(() => createTestBatched(wrong as object)).toThrow(
        'createTestBatched: expected an instance of a class with marked methods, got',
      );
    }
  });
});

describe('fakeBatched', () => {
  it('answers each call alone, at once', async () => {
    jest.useFakeTimers();
    const view = fakeBatched<Texts>({
      measure: (text) => 10 * text.length,
      load: async (path) => Promise.resolve(path),
    });
    expect(await Promise.all(view.measure.submitMany(['a', 'bb']))).toEqual([10, 20]);
    expect(await view.load('x', { timeout: 5 })).toBe('x');
    expect(view.measure.queue.stats()).toMatchObject({ name: 'measure', submitted: 0 });
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
    expect(view).not.toHaveProperty('upper');
  });

  it('rejects with what the fake throws', async () => {
    const view = fakeBatched<Texts>({
      measure: () => {
        throw new RangeError('too long');
      },
    });
    await expect(view.measure('a')).rejects.toThrow(new RangeError('too long'));
  });

  it('is provided for the token of the class', async () => {
    const view = fakeBatched<Texts>({ measure: () => 7, load: (path) => path });
    const context = await Test.createTestingModule({
      controllers: [TextsController],
      providers: [{ provide: getBatchedToken(Texts), useValue: view }],
    }).compile();
    expect(await context.get(TextsController).read('a')).toBe('a: 7');
  });

  it('refuses a fake that is not a function', () => {
    expect(() => fakeBatched<Texts>({ measure: 7 as never })).toThrow(
      'fakeBatched: measure: expected a function of one input, got 7',
    );
  });
});

describe('fakeModel', () => {
  /** The public part of a model, which also has private fields. */
  abstract class Model {
    readonly #own = 1;
    abstract readonly name: string;
    abstract readonly ready: boolean;
    abstract predict(inputs: readonly Uint8Array[]): Promise<Float32Array[]>;
    abstract check(input: Uint8Array): void;
    get size(): number {
      return this.#own;
    }
  }
  const run = async (model: Model, ...inputs: Uint8Array[]) => model.predict(inputs);

  it('stands in for a model, with results as a model has them', async () => {
    const model = fakeModel<Model>({
      predict: (images: readonly Uint8Array[]) => images.map((image) => [image.length, 0.5]),
      name: 'digits',
    });
    expect(await run(model, new Uint8Array(3))).toEqual([Float32Array.of(3, 0.5)]);
    expect(model).toMatchObject({ name: 'digits', ready: true });
    model.check(new Uint8Array());
  });

  it('takes its type from where it is used, and leaves results by name as they are', async () => {
    const named = { scores: Float32Array.of(1) };
    expect(await run(fakeModel({ predict: () => [named] }), new Uint8Array(1))).toEqual([named]);
  });

  it('rejects when the fake returns another number of results', async () => {
    await expect(run(fakeModel({ predict: () => [] }), new Uint8Array(1))).rejects.toThrow(
      'fakeModel: predict: expected 1 results, one per input, got 0 results',
    );
    await expect(run(fakeModel({ predict: () => 3 as never }), new Uint8Array(1))).rejects.toThrow('got 3');
    expect(() => fakeModel<Model>({ predict: 3 as never })).toThrow(
      'fakeModel: predict: expected a function of the inputs, got 3',
    );
  });
});

describe('recordBatches', () => {
  it('records the batches of a provider in an application, with their reasons', async () => {
    const app = await Test.createTestingModule({
      imports: [BatchingModule.forRoot()],
      providers: [Texts],
    }).compile();
    await app.init();
    const registry = app.get(BatchingRegistry);
    const { measure } = registry.view(Texts);
    await Promise.all(measure.submitMany(['before', 'it']));
    const recording = recordBatches(app.get(Texts), 'measure', registry.get('Texts.measure'));
    const results = Promise.all(measure.submitMany(['a', 'bb', 'ccc']));
    await registry.drain();
    expect(await results).toEqual([1, 2, 3]);
    expect(recording.batches).toEqual([
      { inputs: ['a', 'bb'], size: 2, reason: 'size' },
      { inputs: ['ccc'], size: 1, reason: 'drain' },
    ]);
    recording.restore();
    await Promise.all(measure.submitMany(['after', 'it']));
    expect(recording.batches).toHaveLength(2);
    expect(Object.keys(app.get(Texts))).toEqual([]);
    await app.close();
  });

  it('gives a method of the instance itself back, and needs no queue', async () => {
    const texts = new Texts();
    const own = jest.fn(() => Promise.resolve([1]));
    texts.measure = own;
    const recording = recordBatches(texts, 'measure');
    await texts.measure(['a']);
    expect(recording.batches).toEqual([{ inputs: ['a'], size: 1, reason: undefined }]);
    recording.restore();
    expect(Object.getOwnPropertyDescriptor(texts, 'measure')?.value).toBe(own);
    expect(() => recordBatches(texts, 'none' as 'measure')).toThrow(
      'recordBatches: expected a method, none is undefined',
    );
  });
});
