import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Injectable, Logger, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  type BatchContext,
  type Batched,
  BatchedService,
  BatchingModule,
  type BatchingModuleOptions,
  type BatchingOptionsFactory,
  BatchingRegistry,
  type BatchReport,
  InjectBatched,
  SerialService,
} from '../index.js';

class Classifier {
  readonly sizes: number[] = [];

  @BatchedService(8, 60_000, { concurrency: 2, onFull: 'wait' })
  classify(inputs: number[]): Promise<number[]> {
    this.sizes.push(inputs.length);
    return Promise.resolve(inputs);
  }

  @BatchedService(4, 60_000)
  tell(inputs: string[]): Promise<string[]> {
    return Promise.resolve(inputs);
  }
}

class Device {
  @SerialService()
  load(path: string): string {
    return path;
  }
}

async function start(options?: BatchingModuleOptions) {
  const app = await Test.createTestingModule({
    imports: [BatchingModule.forRoot(options)],
    providers: [Classifier, Device],
  }).compile();
  await app.init();
  const registry = app.get(BatchingRegistry);
  return { app, registry, classifier: registry.view(Classifier), device: registry.view(Device) };
}

describe('the options of a queue', () => {
  it('come from the override, else the decorator, else the defaults, else the library', async () => {
    const { registry } = await start({
      defaults: { concurrency: 5, maxQueued: 50, dispatch: 'eager' },
      queues: { 'Classifier.classify': { batchSize: 16, maxDelay: 2 }, 'Classifier.tell': { maxQueued: 7 } },
    });
    expect(registry.get('Classifier.classify').stats().options).toMatchObject({
      batchSize: 16,
      maxDelay: 2,
      dispatch: 'eager',
      concurrency: 2,
      maxQueued: 50,
      onFull: 'wait',
    });
    expect(registry.get('Classifier.tell').stats().options).toMatchObject({
      batchSize: 4,
      maxDelay: 60_000,
      dispatch: 'eager',
      concurrency: 5,
      maxQueued: 7,
      onFull: 'reject',
    });
  });

  it('stay as they were where an environment variable is not set', async () => {
    const { registry } = await start({
      defaults: { concurrency: undefined },
      queues: { 'Classifier.classify': { batchSize: undefined, concurrency: undefined } },
    });
    expect(registry.get('Classifier.classify').stats().options).toMatchObject({
      batchSize: 8,
      concurrency: 2,
    });
  });

  it('leave a serial method serial', async () => {
    const { registry } = await start({
      defaults: { concurrency: 5, dispatch: 'fixed', maxQueued: 50 },
      queues: { 'Device.load': { onFull: 'wait' } },
    });
    expect(registry.get('Device.load').stats().options).toMatchObject({
      batchSize: 1,
      maxDelay: 0,
      dispatch: 'eager',
      concurrency: 1,
      maxQueued: 50,
      onFull: 'wait',
    });
  });

  it.each<[BatchingModuleOptions, string]>([
    [
      { queues: { 'Classifier.tell': { batchSize: 0 } } },
      "BatchingModule.forRoot(): queues['Classifier.tell']: batchSize: expected an integer ≥ 1 or Infinity, got 0",
    ],
    [
      { queues: { 'Classifier.tell': { maxDelay: NaN } } },
      "BatchingModule.forRoot(): queues['Classifier.tell']: maxDelay: expected milliseconds ≥ 0, got NaN",
    ],
    [
      { queues: { 'Classifier.tell': { batchsize: 3 } as object } },
      "BatchingModule.forRoot(): queues['Classifier.tell']: batchsize: expected one of batchSize, maxDelay, dispatch, " +
        'concurrency, maxQueued, onFull, maxCost, maxQueuedCost, aging, isolateErrors, runTimeout for a method marked with @BatchedService()',
    ],
    [
      { queues: { 'Device.load': { concurrency: 2 } } },
      "BatchingModule.forRoot(): queues['Device.load']: concurrency: expected one of maxQueued, onFull, maxQueuedCost, aging, runTimeout for a method " +
        'marked with @SerialService()',
    ],
    [
      { defaults: { concurrency: 0 } },
      'BatchingModule.forRoot(): defaults: concurrency: expected an integer ≥ 1 or Infinity, got 0',
    ],
    [{ shutdownTimeout: -1 }, 'BatchingModule.forRoot(): shutdownTimeout: expected milliseconds ≥ 0, got -1'],
  ])('%j is refused', async (options, message) => {
    await expect(start(options)).rejects.toThrow(message);
  });

  it('that belong to no queue are reported by a warning that lists the queues', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
    await start({ queues: { 'Clasifier.classify': { batchSize: 1 } } });
    expect(warn.mock.calls).toEqual([
      [
        'BatchingModule.forRoot(): queues: no queue is called Clasifier.classify; ' +
          'there are: Classifier.classify, Classifier.tell, Device.load',
      ],
    ]);
  });

  it('with minified class names: the warning says how to keep the names', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
    const providers = ['t', 'aB'].map((name) =>
      Object.defineProperty(class extends Classifier {}, 'name', { value: name }),
    );
    const options = { queues: { 'Classifier.classify': { batchSize: 1 } } };
    const app = await Test.createTestingModule({
      imports: [BatchingModule.forRoot(options)],
      providers,
    }).compile();
    await app.init();
    expect(warn.mock.calls.join()).toMatch(/there are: t\.classify.*keepNames.*keep_classnames/);

    const twins = ['t', 't'].map((name) =>
      Object.defineProperty(class extends Classifier {}, 'name', { value: name }),
    );
    const other = await Test.createTestingModule({
      imports: [BatchingModule.forRoot()],
      providers: twins,
    }).compile();
    await expect(other.init()).rejects.toThrow(
      /with the name t\.classify; rename one of the classes\. .*keepNames/,
    );
  });

  afterEach(() => {
    jest.restoreAllMocks();
  });
});

describe('forRootAsync', () => {
  it('whose factory needs a view fails with an error that names the circle', async () => {
    @Injectable()
    class Settings {
      constructor(@InjectBatched(Classifier) readonly classifier: Batched<Classifier>) {}
    }
    @Module({ providers: [Classifier, Settings], exports: [Settings] })
    class SettingsModule {}
    const app = Test.createTestingModule({
      imports: [
        BatchingModule.forRootAsync({
          imports: [SettingsModule],
          inject: [Settings],
          useFactory: () => ({}),
        }),
      ],
    });
    await expect(app.compile()).rejects.toThrow(
      /circular dependency.*"(Batched<Classifier> of BatchingModule\.forRoot\(\)|BatchingRegistry.*|options of .*|Settings)"/,
    );
  });

  const options: BatchingModuleOptions = { queues: { 'Classifier.tell': { batchSize: 99 } } };

  @Injectable()
  class Factory implements BatchingOptionsFactory {
    createBatchingOptions(): BatchingModuleOptions {
      return options;
    }
  }

  @Module({ providers: [Factory, { provide: 'options', useValue: options }], exports: [Factory, 'options'] })
  class ConfigModule {}

  const imports = [ConfigModule];
  const useFactory = (given: BatchingModuleOptions) => Promise.resolve(given);

  it.each([
    ['useFactory', BatchingModule.forRootAsync({ imports, inject: ['options'], useFactory })],
    ['useClass', BatchingModule.forRootAsync({ useClass: Factory })],
    ['useExisting', BatchingModule.forRootAsync({ imports, useExisting: Factory })],
  ])('takes its options from %s', async (_form, module) => {
    const app = await Test.createTestingModule({ imports: [module], providers: [Classifier] }).compile();
    await app.init();
    expect(app.get(BatchingRegistry).get('Classifier.tell').batchSize).toBe(99);
  });
});

describe('the registry', () => {
  it('lists queues and gets them by name; an unknown name is an error that lists the names', async () => {
    const { registry, classifier } = await start();
    expect(registry.list()).toEqual(['Classifier.classify', 'Classifier.tell', 'Device.load']);
    expect(registry.get('Classifier.tell')).toBe(classifier.tell.queue);
    expect(() => registry.get('tell')).toThrow(
      "no queue is called 'tell'; there are: Classifier.classify, Classifier.tell, Device.load",
    );
  });

  it('can be injected by a string, without an import', async () => {
    const { app, registry } = await start();
    expect(app.get('BatchingRegistry of nest-batching')).toBe(registry);
  });

  it('returns the stats of all queues', async () => {
    const { registry, device } = await start();
    await device.load('a');
    expect(registry.stats().map(({ name, settled }) => [name, settled])).toEqual([
      ['Classifier.classify', 0],
      ['Classifier.tell', 0],
      ['Device.load', 1],
    ]);
  });

  it('shows through a view only the call, submitMany and queue', async () => {
    const { registry, classifier, device } = await start();
    for (const method of [classifier.classify, classifier.tell, device.load]) {
      expect(Object.keys(method).sort()).toEqual(['queue', 'submitMany']);
      for (const name of ['submit', 'start', 'drain', 'stop']) expect(name in method).toBe(false);
    }
    expect(classifier.tell.queue).toBe(registry.get('Classifier.tell'));
    const results = classifier.tell.submitMany(['a', 'b', 'c', 'd']);
    expect(await Promise.all(results)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('drains all, and goes on', async () => {
    const { registry, classifier } = await start();
    const results = [classifier.classify(1), classifier.tell('a')];
    await registry.drain();
    expect(await Promise.all(results)).toEqual([1, 'a']);
    const next = classifier.classify(2);
    await registry.drain();
    expect(await next).toBe(2);
  });

  it('stops all: what was accepted ends, what comes later is refused', async () => {
    const { registry, classifier } = await start();
    const result = classifier.classify(1);
    await Promise.all([registry.stop(), registry.stop()]);
    expect(await result).toBe(1);
    await expect(classifier.classify(2)).rejects.toMatchObject({ code: 'ERR_BATCHING_STOPPED' });
    await registry.stop();
    expect(registry.stats().map(({ state }) => state)).toEqual(['stopped', 'stopped', 'stopped']);
  });

  it('stops hard: what waits is dropped', async () => {
    const { app, registry, classifier } = await start();
    const result = classifier.classify(1);
    await Promise.all([
      expect(result).rejects.toMatchObject({ code: 'ERR_BATCHING_STOPPED' }),
      registry.stop({ hard: true }),
    ]);
    expect(app.get(Classifier).sizes).toEqual([]);
  });

  it('refuses for queues that are built after it has stopped', async () => {
    const app = await Test.createTestingModule({
      imports: [BatchingModule.forRoot()],
      providers: [Classifier],
    }).compile();
    await app.get(BatchingRegistry).stop();
    const { classify } = app.get(BatchingRegistry).view(Classifier);
    await expect(classify(1)).rejects.toMatchObject({ code: 'ERR_BATCHING_STOPPED' });
  });

  it('reports the batches of all queues, also of those that are built later', async () => {
    const app = await Test.createTestingModule({
      imports: [BatchingModule.forRoot()],
      providers: [Classifier, Device],
    }).compile();
    const registry = app.get(BatchingRegistry);
    const load = registry.view(Device).load;
    const reports: string[] = [];
    const listener = ({ queue, size }: BatchReport) => reports.push(`${queue} ${size}`);
    const unsubscribe = registry.onBatch(listener);
    const unsubscribeAgain = registry.onBatch(listener);
    registry.onBatch(() => reports.push('gone'))();

    const results = registry.view(Classifier).classify.submitMany([1, 2]);
    await Promise.all([load('a'), registry.drain(), ...results]);
    expect(reports.sort()).toEqual([
      'Classifier.classify 2',
      'Classifier.classify 2',
      'Device.load 1',
      'Device.load 1',
    ]);

    unsubscribe();
    await load('b');
    expect(reports).toHaveLength(5);
    unsubscribeAgain();
    await load('c');
    expect(reports).toHaveLength(5);
  });
});

describe('a marked method', () => {
  class Watching {
    readonly given: unknown[][] = [];
    readonly signals: (AbortSignal | undefined)[] = [];

    @BatchedService(2, 0)
    async run(inputs: number[], batch?: BatchContext): Promise<number[]> {
      this.signals.push(batch?.signal);
      await new Promise((resolve) => batch?.signal.addEventListener('abort', resolve));
      return inputs;
    }

    @BatchedService(2, 0)
    echo(...given: [inputs: number[], batch?: BatchContext]): number[] {
      this.given.push(given);
      return given[0];
    }

    @SerialService()
    load(...given: [path: string]): string {
      this.given.push(given);
      return given[0];
    }
  }

  async function watch() {
    const app = await Test.createTestingModule({
      imports: [BatchingModule.forRoot()],
      providers: [Watching],
    }).compile();
    await app.init();
    return { provider: app.get(Watching), view: app.get(BatchingRegistry).view(Watching) };
  }

  it('gets a batch context: its signal aborts when the last caller has gone', async () => {
    const { provider, view } = await watch();
    // A spy declares no parameter.
    const spy = jest.spyOn(provider, 'run');
    const [first, second] = [new AbortController(), new AbortController()];
    const results = [view.run(1, { signal: first.signal }), view.run(2, { signal: second.signal })];
    while (spy.mock.calls.length === 0) await new Promise(setImmediate);
    first.abort('one');
    expect(provider.signals.map((signal) => signal?.aborted)).toEqual([false]);
    second.abort('two');
    expect(provider.signals.map((signal): unknown => signal?.reason)).toEqual(['two']);
    expect(await Promise.allSettled(results)).toMatchObject([{ reason: 'one' }, { reason: 'two' }]);
  });

  it('gets it even if it does not declare the parameter', async () => {
    const { provider, view } = await watch();
    expect(await Promise.all([view.echo(1), view.echo(2)])).toEqual([1, 2]);
    expect(provider.given).toEqual([[[1, 2], { signal: expect.any(AbortSignal) }]]);
  });

  it('gets its input and nothing else, if it is serial', async () => {
    const { provider, view } = await watch();
    expect(await view.load('a')).toBe('a');
    expect(provider.given).toEqual([['a']]);
  });
});

describe('a method with keyBy', () => {
  class Users {
    readonly batches: number[][] = [];

    @BatchedService(8, 1, { keyBy: (id: number) => id, coalesce: true })
    byId(ids: number[]): Promise<Map<number, { id: number }>> {
      this.batches.push(ids);
      return Promise.resolve(new Map(ids.filter((id) => id > 0).map((id) => [id, { id }])));
    }

    @SerialService({ keyBy: (id: number) => id, coalesce: true })
    load(id: number): Promise<{ id: number }> {
      this.batches.push([id]);
      return Promise.resolve({ id });
    }
  }

  async function startUsers() {
    const app = await Test.createTestingModule({
      imports: [BatchingModule.forRoot({ queues: { 'Users.byId': { batchSize: 4 } } })],
      providers: [Users],
    }).compile();
    await app.init();
    return { app, users: app.get(Users), view: app.get(BatchingRegistry).view(Users) };
  }

  it('may return a Map, and its callers may share inputs', async () => {
    const { app, users, view } = await startUsers();
    const [one, two, same, missing] = await Promise.allSettled(view.byId.submitMany([1, 2, 1, -1]));
    expect(users.batches).toEqual([[1, 2, -1]]);
    expect([one, two]).toMatchObject([{ value: { id: 1 } }, { value: { id: 2 } }]);
    expect((same as { value: unknown }).value).toBe((one as { value: unknown }).value);
    expect(missing).toMatchObject({ reason: { code: 'ERR_BATCHING_MISSING', queue: 'Users.byId', key: -1 } });
    await app.close();
  });

  it('may take one input at a time', async () => {
    const { app, users, view } = await startUsers();
    const [one, same, other] = await Promise.all(view.load.submitMany([1, 1, 2]));
    expect([one, other]).toEqual([{ id: 1 }, { id: 2 }]);
    expect(same).toBe(one);
    expect(users.batches).toEqual([[1], [2]]);
    await app.close();
  });

  it('cannot share inputs without it', () => {
    expect(() => {
      class Keyless {
        @BatchedService(8, 1, { coalesce: true })
        run(inputs: number[]): number[] {
          return inputs;
        }
      }
      return Keyless;
    }).toThrow('@BatchedService() on Keyless.run: coalesce: expected a keyBy beside it');
  });
});
