import { AsyncLocalStorage } from 'node:async_hooks';
import {
  Inject,
  Injectable,
  type LoggerService,
  type ModuleMetadata,
  NotFoundException,
} from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterEach, describe, expect, it } from '@jest/globals';
import { QueueFullError, ServiceStoppedError, TooManyInputsError } from '../core/errors.js';
import { NoNodeError } from '../transport/errors.js';
import { MemoryBroker, memoryTransport } from '../transport/memory-transport.js';
import type { TraceCarrier, Transport } from '../transport/transport.js';
import { BatchedService, SerialService } from './batched-service.js';
import type { Batched } from './batched-view.js';
import { BatchingModule } from './batching-module.js';
import { BatchingRegistry } from './batching-registry.js';
import { InjectBatched } from './inject-batched.js';
import type { BatchingModuleOptions, BatchingNodeOptions } from './module-options.js';
import { RemoteQueue, RemoteQueueError, type RemoteQueueStats } from './remote-queue.js';
import type { Class } from './views.js';

class Model {
  readonly batches: number[][] = [];
  run: (inputs: number[]) => unknown[] | Promise<unknown[]> = (inputs) => inputs.map((each) => each * 2);
}

@Injectable()
class Digits {
  constructor(@Inject(Model) private readonly model: Model) {}

  @BatchedService(4, 1)
  async classify(inputs: number[]): Promise<number[]> {
    this.model.batches.push(inputs);
    return (await this.model.run(inputs)) as number[];
  }

  @SerialService({ name: 'digits.load' })
  load(path: string): Promise<string> {
    return Promise.resolve(`loaded ${path}`);
  }
}

@Injectable()
class Client {
  constructor(@InjectBatched(Digits) readonly digits: Batched<Digits>) {}
}

const nothing = (): void => undefined;
const silent: LoggerService = { log: nothing, error: nothing, warn: nothing };

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

class OutOfStock extends Error {
  constructor(readonly article: string) {
    super(`no ${article}`);
  }
}

describe('an application whose classes are on other nodes', () => {
  const apps: TestingModule[] = [];
  let broker = new MemoryBroker();

  afterEach(async () => {
    for (const app of apps.splice(0).reverse()) await app.close();
    broker = new MemoryBroker();
  });

  async function start(
    options: BatchingModuleOptions & BatchingNodeOptions,
    providers: ModuleMetadata['providers'],
  ): Promise<TestingModule> {
    const app = await Test.createTestingModule({
      imports: [BatchingModule.forRoot(options)],
      providers: providers ?? [],
    })
      .setLogger(silent)
      .compile();
    await app.init();
    apps.push(app);
    return app;
  }

  const transport = (noNodeTimeout = 5000) => memoryTransport({ broker, noNodeTimeout, redeliverAfter: 100 });
  const web = (options: BatchingModuleOptions = {}, noNodeTimeout?: number) =>
    start({ transport: transport(noNodeTimeout), remote: [Digits], ...options }, [Client]);
  const modelNode = (options: BatchingModuleOptions = {}, node = transport()) =>
    start({ transport: node, serve: [Digits], ...options }, [Digits, Model]);
  const callFrom = (app: TestingModule) => app.get(Client).digits;

  it('calls them as if they were here, without their dependencies, and they are batched there', async () => {
    const digits = callFrom(await web());
    const model = (await modelNode()).get(Model);
    const results = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((each) => digits.classify(each)));
    expect(results).toEqual([2, 4, 6, 8, 10, 12, 14, 16]);
    expect(model.batches).toEqual([
      [1, 2, 3, 4],
      [5, 6, 7, 8],
    ]);
    expect(await digits.load('x')).toBe('loaded x');
    expect(await Promise.all(digits.classify.submitMany([1, 2]))).toEqual([2, 4]);
  });

  it('calls a class that it lists and does not inject, and one behind a token', async () => {
    class Fast {
      @BatchedService(2, 1)
      run(inputs: string[]): string[] {
        return inputs;
      }
    }
    class Caller {
      constructor(@InjectBatched('fast', Fast) readonly fast: Batched<Fast>) {}
    }
    const node = await start({ transport: transport(), serve: ['fast', Digits] }, [
      { provide: 'fast', useClass: Fast },
      Digits,
      Model,
    ]);
    const app = await start({ transport: transport(), remote: ['fast', Digits] }, [Caller]);
    expect(await app.get(Caller).fast.run('x')).toBe('x');
    expect(await app.get(BatchingRegistry).view(Digits).classify(4)).toBe(8);
    expect(app.get(BatchingRegistry).list().sort()).toEqual(['Digits.classify', 'digits.load', 'fast.run']);
    expect(node.get(BatchingRegistry).list().sort()).toEqual(['Digits.classify', 'digits.load', 'fast.run']);
  });

  it('takes remote and serve of forRootAsync, with the transport from the factory', async () => {
    await modelNode();
    const app = await Test.createTestingModule({
      imports: [
        BatchingModule.forRootAsync({ remote: [Digits], useFactory: () => ({ transport: transport() }) }),
      ],
      providers: [Client],
    }).compile();
    apps.push(await app.init());
    expect(await callFrom(app).classify(3)).toBe(6);
  });

  it('brings errors: those of this library, of Nest, registered ones', async () => {
    const errors = { OutOfStock };
    const digits = callFrom(await web({ errors }));
    const model = (await modelNode({ errors })).get(Model);
    model.run = () => [new OutOfStock('tea')];
    const missing = await digits.classify(1).catch((error: unknown) => error);
    expect(missing).toBeInstanceOf(OutOfStock);
    expect(missing).toMatchObject({ article: 'tea', message: 'no tea' });
    model.run = () => Promise.reject(new NotFoundException('no such digit'));
    const notFound = (await digits.classify(1).catch((error: unknown) => error)) as NotFoundException;
    expect(notFound).toBeInstanceOf(NotFoundException);
    expect(notFound.getStatus()).toBe(404);
    expect(notFound.getResponse()).toMatchObject({ message: 'no such digit', statusCode: 404 });
  });

  it('bounds the calls in flight by maxQueued', async () => {
    const digits = callFrom(await web({ queues: { 'Digits.classify': { maxQueued: 3 } } }));
    const model = (await modelNode()).get(Model);
    let release: () => void = () => undefined;
    model.run = (inputs) =>
      new Promise(
        (resolve) =>
          (release = () => {
            resolve(inputs);
          }),
      );
    const calls = [1, 2, 3].map((each) => digits.classify(each));
    await expect(digits.classify(4)).rejects.toThrow(QueueFullError);
    await expect(Promise.all(digits.classify.submitMany([1, 2, 3, 4]))).rejects.toThrow(TooManyInputsError);
    digits.classify.queue.maxQueued = 4;
    calls.push(digits.classify(4));
    expect(digits.classify.queue.stats()).toMatchObject({ running: 4, dropped: 5, submitted: 9 });
    const free = setInterval(() => {
      release();
    }, 5);
    expect(await Promise.all(calls)).toEqual([1, 2, 3, 4]);
    clearInterval(free);
  });

  it("waits for room with onFull: 'wait', for no longer than the timeout and the signal say", async () => {
    const app = await web({ queues: { 'Digits.classify': { maxQueued: 1, onFull: 'wait' } } });
    const { classify } = callFrom(app);
    const model = (await modelNode()).get(Model);
    const releases: (() => void)[] = [];
    model.run = (inputs) =>
      new Promise((resolve) =>
        releases.push(() => {
          resolve(inputs);
        }),
      );
    const controller = new AbortController();
    const first = classify(1);
    const outcomes = Promise.allSettled([
      first,
      classify(2, { timeout: 20 }),
      classify(3, { signal: controller.signal }),
      classify(4),
    ]);
    expect(classify.queue.stats()).toMatchObject({ running: 1, blocked: 3 });
    controller.abort(new Error('gone'));
    await new Promise((resolve) => setTimeout(resolve, 40));
    const free = setInterval(() => releases.shift()?.(), 5);
    const [one, late, gone, four] = await outcomes;
    clearInterval(free);
    expect([one, four]).toMatchObject([{ value: 1 }, { value: 4 }]);
    expect(late).toMatchObject({ reason: { code: 'ERR_BATCHING_TIMEOUT', phase: 'waiting' } });
    expect(gone).toMatchObject({ reason: { message: 'gone' } });
    expect(model.batches.flat()).toEqual([1, 4]);
    expect(classify.queue.stats()).toMatchObject({
      results: 2,
      drops: { aborted: 1, timeout: 1 },
      blocked: 0,
    });
  });

  it('counts a caller that gives up while its input is sent', async () => {
    const { classify } = callFrom(await web());
    const model = (await modelNode()).get(Model);
    let free: () => void = nothing;
    model.run = (inputs) =>
      new Promise((resolve) => {
        free = () => {
          resolve(inputs);
        };
      });
    const leaving = new AbortController();
    const results = [classify(1, { signal: leaving.signal }), classify(2)];
    await until(() => model.batches.length > 0);
    leaving.abort(new Error('gone'));
    await expect(results[0]).rejects.toThrow('gone');
    expect(classify.queue.abortedWhileRunning).toBe(1);
    free();
    expect(await results[1]).toBe(2);
    expect(classify.queue.stats()).toMatchObject({ results: 1, errors: 1 });
    expect(classify.queue.abortedWhileRunning).toBe(1);
  });

  it('has settings of the sending side only', async () => {
    const { queue } = callFrom(await web()).classify;
    expect(queue).toBeInstanceOf(RemoteQueue);
    for (const set of [
      () => (queue.batchSize = 2),
      () => (queue.maxDelay = 2),
      () => (queue.concurrency = 2),
    ]) {
      expect(set).toThrow(RemoteQueueError);
    }
    expect(() => (queue.batchSize = 2)).toThrow(
      'batchSize of Digits.classify belongs to the nodes that serve it',
    );
    expect(() => (queue.maxQueued = -1)).toThrow(RangeError);
  });

  it('drains and stops the sending side', async () => {
    const app = await web();
    const { classify } = callFrom(app);
    const model = (await modelNode()).get(Model);
    let release: () => void = () => undefined;
    model.run = (inputs) =>
      new Promise(
        (resolve) =>
          (release = () => {
            resolve(inputs);
          }),
      );
    const call = classify(1);
    const drained = classify.queue.drain();
    setTimeout(() => {
      release();
    }, 30);
    await drained;
    expect(await call).toBe(1);
    const left = classify(2);
    const stopped = classify.queue.stop({ timeout: 10 });
    await expect(left).rejects.toThrow(ServiceStoppedError);
    await stopped;
    await expect(classify(3)).rejects.toThrow(ServiceStoppedError);
    expect(classify.queue.stats()).toMatchObject({ state: 'stopped', running: 0, results: 1, errors: 1 });
    release();
  });

  it('says that no node serves it', async () => {
    const digits = callFrom(await web({}, 50));
    await expect(digits.classify(1)).rejects.toThrow(NoNodeError);
    await expect(digits.classify(1)).rejects.toThrow(
      'no node serves Digits.classify, and none came within 50 ms; start one whose BatchingModule has it in serve',
    );
  });

  it('shows nodes in the registry and in the stats of its queues', async () => {
    const app = await web();
    const node = await modelNode();
    const digits = callFrom(app);
    const registry = app.get(BatchingRegistry);
    const known = registry.transport()?.services.map(({ service, nodes }) => [service, nodes.length]);
    // For readiness, before the first call.
    expect(known).toEqual([
      ['Digits.classify', 1],
      ['digits.load', 1],
    ]);
    await digits.classify(1);
    const service = {
      service: 'Digits.classify',
      waiting: 0,
      redelivered: 0,
      nodes: [{ node: node.get(BatchingRegistry).transport()?.node, prefetch: 8, inProgress: 0 }],
    };
    expect(registry.transport()).toMatchObject({ connected: true, draining: false });
    expect(registry.transport()?.services).toMatchObject([service, { service: 'digits.load' }]);
    const [stats] = registry.stats();
    expect(stats).toMatchObject({ name: 'Digits.classify', results: 1, remote: service });
    const { remote } = digits.classify.queue.stats() as RemoteQueueStats;
    expect(remote.roundTrip.count).toBe(1);
    const local = await start({}, [Digits, Model]);
    expect(local.get(BatchingRegistry).transport()).toBeUndefined();
  });

  it('runs here what it serves and calls itself, while less than a batch waits, and the rest elsewhere', async () => {
    const both = await start({ transport: transport(), remote: [Digits], serve: [Digits] }, [
      Client,
      Digits,
      Model,
    ]);
    const other = await modelNode();
    const here = both.get(Model);
    const hold = (model: Model) => {
      let release: () => void = () => undefined;
      const held = new Promise<void>((resolve) => (release = resolve));
      model.run = async (inputs) => {
        await held;
        return inputs;
      };
      return release;
    };
    const releases = [hold(here), hold(other.get(Model))];
    const digits = callFrom(both);
    const calls = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map((each) => digits.classify(each));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(here.batches[0]).toEqual([1, 2, 3, 4]);
    expect(other.get(Model).batches.flat().length).toBeGreaterThanOrEqual(4);
    for (const release of releases) release();
    expect(await Promise.all(calls)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    expect(
      here.batches
        .flat()
        .concat(other.get(Model).batches.flat())
        .sort((a, b) => a - b),
    ).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it.each(['drain', 'close'] as const)('waits at %s for what it has sent elsewhere', async (end) => {
    const both = await start({ transport: transport(), remote: [Digits], serve: [Digits] }, [
      Client,
      Digits,
      Model,
    ]);
    const other = (await modelNode()).get(Model);
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    other.run = async (inputs) => {
      await held;
      return inputs;
    };
    const digits = callFrom(both);
    let ended = 0;
    const calls = Array.from({ length: 12 }, (_, each) => digits.classify(each).finally(() => ended++));
    await until(() => other.batches.length > 0);
    if (end === 'close') apps.splice(apps.indexOf(both), 1);
    const waited = end === 'drain' ? both.get(BatchingRegistry).drain() : both.close();
    setTimeout(release, 50);
    await waited;
    expect(ended).toBe(12);
    await Promise.all(calls);
  });

  it('runs second deliveries with none but others, and third ones alone', async () => {
    const digits = callFrom(await web());
    const calls: Promise<number>[] = [];
    const batches: number[][][] = [];
    const kill = async (count: number) => {
      const node = transport();
      const app = await modelNode({}, node);
      const model = app.get(Model);
      model.run = () => new Promise(() => undefined);
      for (let more = 0; more < count; more++) calls.push(digits.classify(calls.length));
      await until(() => has(node, calls.length) && model.batches.length > 0);
      node.crash();
      batches.push(model.batches);
      apps.splice(apps.indexOf(app), 1);
    };
    const has = (node: Transport, inputs: number) => {
      const { node: name, services } = node.state();
      return services.some(({ nodes }) =>
        nodes.some((one) => one.node === name && one.inProgress === inputs),
      );
    };
    await kill(2);
    // 0 and 1 come for the second time; 2 and 3 are new.
    await kill(2);
    const model = (await modelNode()).get(Model);
    calls.push(digits.classify(4));
    expect(await Promise.all(calls)).toEqual([0, 2, 4, 6, 8]);
    const sorted = model.batches.map((batch) => batch.sort().join());
    expect(sorted).toContain('0');
    expect(sorted).toContain('1');
    expect(sorted).toContain('2,3');
    expect(sorted).toContain('4');
    expect(batches[0]).toEqual([[0, 1]]);
  });

  it.each(['inject', 'extract'] as const)(
    'loses no call and no place where %s of a trace throws',
    async (throwing) => {
      let isBroken = true;
      const fail = () => {
        if (isBroken) throw new Error('broken trace');
      };
      const trace = {
        inject: () => {
          if (throwing === 'inject') fail();
          return { traceparent: '00' };
        },
        extract: <T>(_: TraceCarrier, run: () => T) => {
          if (throwing === 'extract') fail();
          return run();
        },
      };
      const app = await web({ trace });
      await modelNode({ trace });
      const digits = callFrom(app);
      // More than the node may have at once.
      const calls = Array.from({ length: 20 }, (_, each) => digits.classify(each));
      for (const call of calls) await expect(call).rejects.toThrow('broken trace');
      expect(digits.classify.queue.stats().running).toBe(0);
      isBroken = false;
      expect(await digits.classify(4)).toBe(8);
      await digits.classify.queue.drain();
    },
  );

  it('takes no more at once than may wait here', async () => {
    const digits = callFrom(await web());
    const calls = Promise.all([1, 2, 3, 4, 5, 6].map((each) => digits.classify(each)));
    const node = await modelNode({ queues: { 'Digits.classify': { maxQueued: 3 } } });
    expect(await calls).toEqual([2, 4, 6, 8, 10, 12]);
    const [service] = node.get(BatchingRegistry).transport()?.services ?? [];
    expect(service?.nodes[0]?.prefetch).toBe(3);
  });

  it('can still be asked for its figures when it is closed', async () => {
    const app = await web();
    await modelNode();
    const { queue } = callFrom(app).classify;
    await callFrom(app).classify(1);
    await app.close();
    expect(queue.stats()).toMatchObject({ results: 1, remote: { service: 'Digits.classify' } });
    expect(app.get(BatchingRegistry).transport()).toBeUndefined();
  });

  it('carries trace context into the batch queue of the node', async () => {
    const context = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const trace = {
      inject: () => {
        const traceparent = context.getStore();
        return traceparent === undefined ? undefined : { traceparent };
      },
      extract: <T>(carrier: Readonly<Record<string, string>>, submit: () => T): T => {
        seen.push(carrier);
        return submit();
      },
    };
    const digits = callFrom(await web({ trace }));
    await modelNode({ trace });
    await context.run('00-ab-cd-01', () => digits.classify(1));
    await digits.classify(2);
    expect(seen).toEqual([{ traceparent: '00-ab-cd-01' }]);
  });

  it('answers what it has taken when it closes, gives back the rest, and the next node runs it', async () => {
    const digits = callFrom(await web());
    const closing = await modelNode({ shutdownTimeout: 200 });
    const model = closing.get(Model);
    model.run = (inputs) =>
      new Promise(
        (resolve) =>
          inputs.includes(1) &&
          setTimeout(() => {
            resolve(inputs);
          }, 30),
      );
    const calls = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((each) => digits.classify(each));
    await new Promise((resolve) => setTimeout(resolve, 20));
    apps.splice(apps.indexOf(closing), 1);
    const closed = closing.close();
    const next = (await modelNode()).get(Model);
    await closed;
    // The first batch has ended there, the second hung.
    expect(await Promise.all(calls)).toEqual([1, 2, 3, 4, 10, 12, 14, 16, 18]);
    expect(next.batches.flat().sort((a, b) => a - b)).toEqual([5, 6, 7, 8, 9]);
  });

  describe('at the start', () => {
    it('runs everything here without a transport, and says so if the class is not provided', async () => {
      const app = await start({ remote: [Digits], serve: [Digits] }, [Client, Digits, Model]);
      expect(await callFrom(app).classify(2)).toBe(4);
      expect(app.get(BatchingRegistry).transport()).toBeUndefined();
      await expect(start({ remote: [Digits] }, [Client])).rejects.toThrow(
        /no module provides Digits .*; it is listed in remote, which has no effect without a transport/,
      );
    });

    it('refuses what is served and not provided, and remote classes without marks', async () => {
      await expect(start({ transport: transport(), serve: [Digits] }, [])).rejects.toThrow(
        'no module provides Digits; add it to the providers of one',
      );
      await expect(start({ transport: transport(), remote: [Model] }, [])).rejects.toThrow(
        'Model is listed in remote, and has no method marked with @BatchedService() or @SerialService()',
      );
    });

    it.each<[BatchingModuleOptions & BatchingNodeOptions, string]>([
      [
        { transport: {} as never },
        'transport: expected a transport, as redisTransport() returns it, got an Object',
      ],
      [{ errors: { A: 1 as never } }, 'errors: A: expected a class of errors, got 1'],
      [{ remote: Digits as never }, 'remote: expected an array, got a function'],
      [
        { serve: [undefined as never] },
        'serve: expected classes, got undefined; if it is imported, the files',
      ],
    ])('refuses the options %p', async (options, message) => {
      await expect(start(options, [])).rejects.toThrow(`BatchingModule.forRoot(): ${message}`);
    });

    it('refuses the minified name of a service, unless the mark has one', async () => {
      const minified = (options: { name?: string }): Class => {
        class e {
          @BatchedService(2, 1, options)
          run(inputs: string[]): string[] {
            return inputs;
          }
        }
        return e;
      };
      await expect(start({ transport: transport(), remote: [minified({})] }, [])).rejects.toThrow(
        "e.run is the name of a service between nodes, and looks minified: in another build it would be another one; name it yourself, in the options of @BatchedService(): { name: 'digits.classify' }",
      );
      const app = await start({ transport: transport(), remote: [minified({ name: 'named.run' })] }, []);
      expect(app.get(BatchingRegistry).list()).toEqual(['named.run']);
    });
  });
});
