import { afterEach, describe, expect, it } from '@jest/globals';
import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import { HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { Test, type TestingModule } from '@nestjs/testing';
import { MODEL_REPORT, REGISTRY } from '../core/application.js';
import { type Batched, BatchedService, BatchingModule, BatchingRegistry, InjectBatched } from '../index.js';
import { MemoryBroker, memoryTransport } from '../transport/memory-transport.js';
import { BatchingHealthIndicator } from './index.js';

@Injectable()
class Squares {
  release: () => void = () => undefined;

  @BatchedService(1, 0, { maxQueued: 10 })
  async of(xs: readonly number[]): Promise<number[]> {
    await new Promise<void>((resolve) => (this.release = resolve));
    return xs.map((x) => x * x);
  }
}

const apps: TestingModule[] = [];
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
});

async function start(...providers: object[]): Promise<TestingModule> {
  const app = await Test.createTestingModule({
    imports: [BatchingModule.forRoot(), TerminusModule.forRoot({ logger: false })],
    providers: [Squares, BatchingHealthIndicator, ...(providers as [])],
  }).compile();
  apps.push(app);
  return app.init();
}

const healthOf = (app: TestingModule, ...args: Parameters<BatchingHealthIndicator['isHealthy']>) =>
  app.get(BatchingHealthIndicator).isHealthy(...args);

function down(...problems: string[]): object {
  return { batching: { status: 'down', message: problems.join('; '), problems } };
}

describe('BatchingHealthIndicator', () => {
  it('is up where every queue takes inputs and every model is ready, and Terminus takes it', async () => {
    const app = await start({ provide: 'digits', useValue: { [MODEL_REPORT]: { problem: undefined } } });
    expect(healthOf(app)).toEqual({ batching: { status: 'up' } });
    const result = await app
      .get(HealthCheckService)
      .check([() => app.get(BatchingHealthIndicator).isHealthy('queues')]);
    expect(result).toMatchObject({ status: 'ok', info: { queues: { status: 'up' } } });
  });

  it('looks at the own application: another one of the process has classes that this one does not', async () => {
    @Injectable()
    class Cubes {
      @BatchedService(1, 0)
      of(xs: readonly number[]): Promise<number[]> {
        return Promise.resolve(xs.map((x) => x ** 3));
      }
    }
    @Injectable()
    class Caller {
      @InjectBatched(Cubes) readonly cubes!: Batched<Cubes>;
    }
    const other = await start(Cubes, Caller);
    const app = await start();
    expect(healthOf(app)).toEqual({ batching: { status: 'up' } });
    await other.get(BatchingRegistry).stop();
    expect(healthOf(app)).toEqual({ batching: { status: 'up' } });
    expect(healthOf(other)).toEqual(down('Squares.of is stopped', 'Cubes.of is stopped'));
  });

  it('is down while a model is not ready, with its reason, and up when it is', async () => {
    const report = { problem: "model 'digits' is being loaded" as string | undefined };
    const other = { problem: "model 'digits' is being loaded" };
    const app = await start(
      { provide: 'digits', useValue: { [MODEL_REPORT]: report } },
      { provide: 'others', useValue: { [MODEL_REPORT]: other } },
    );
    expect(healthOf(app)).toEqual(down("model 'digits' is being loaded"));
    report.problem = other.problem = undefined as never;
    expect(healthOf(app)).toEqual({ batching: { status: 'up' } });
  });

  it('is down when a queue is stopped', async () => {
    const app = await start();
    await app.get(BatchingRegistry).stop();
    expect(healthOf(app)).toEqual(down('Squares.of is stopped'));
  });

  it('is down from the first shutdown hook on', async () => {
    const seen: unknown[] = [];
    @Injectable()
    class Watcher implements BeforeApplicationShutdown {
      constructor(private readonly health: BatchingHealthIndicator) {}
      beforeApplicationShutdown(): void {
        seen.push(this.health.isHealthy());
      }
    }
    const app = await start(Watcher);
    await app.close();
    expect(seen).toEqual([down('it is shutting down')]);
  });

  it('is down while the broker cannot be reached, and while this node drains', async () => {
    const transport = { transport: 'redis', node: 'a', connected: false, draining: false, services: [] };
    const app = await Test.createTestingModule({
      imports: [TerminusModule.forRoot({ logger: false })],
      providers: [
        BatchingHealthIndicator,
        { provide: REGISTRY, useValue: { stats: () => [], transport: () => transport } },
      ],
    }).compile();
    expect(healthOf(app)).toEqual(down('the broker (redis) cannot be reached'));
    Object.assign(transport, { connected: true, draining: true });
    expect(healthOf(app)).toEqual(down('this node takes no more inputs of other nodes'));
    transport.draining = false;
    expect(healthOf(app)).toEqual({ batching: { status: 'up' } });
  });

  it('is up under overload, which is shed, unless asked, and then with hysteresis', async () => {
    const app = await start();
    const queue = app.get(BatchingRegistry).get('Squares.of');
    const squares = app.get(Squares);
    const results = queue.submitMany(Array.from({ length: 10 }, (_, x) => x));
    const limits = { overloaded: { from: 0.8, until: 0.5 } };
    const waiting = async (count: number): Promise<void> => {
      while (queue.stats().waiting > count) {
        squares.release();
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const status = () => healthOf(app, 'batching', limits).batching?.status;
    expect(healthOf(app, 'batching', { overloaded: true })).toEqual(
      down('Squares.of is overloaded: 10 inputs wait, and 10 may'),
    );
    expect(healthOf(app, 'other')).toEqual({ other: { status: 'up' } });
    expect(status()).toBe('down');
    await waiting(6);
    expect(status()).toBe('down');
    expect(healthOf(app)).toEqual({ batching: { status: 'up' } });
    await waiting(5);
    expect(status()).toBe('up');
    results.push(queue.submit(1), queue.submit(1));
    expect(queue.stats().waiting).toBe(7);
    expect(status()).toBe('up');
    results.push(queue.submit(1));
    expect(status()).toBe('down');
    await waiting(0);
    squares.release();
    await Promise.all(results);
  });

  it('takes a node that sends to others for overloaded where it may send no more', async () => {
    @Injectable()
    class Caller {
      @InjectBatched(Squares) readonly squares!: Batched<Squares>;
    }
    const transport = memoryTransport({ broker: new MemoryBroker(), noNodeTimeout: 50 });
    const app = await Test.createTestingModule({
      imports: [
        BatchingModule.forRoot({ transport, remote: [Squares] }),
        TerminusModule.forRoot({ logger: false }),
      ],
      providers: [Caller, BatchingHealthIndicator],
    }).compile();
    apps.push(await app.init());
    const overloaded = () => healthOf(app, 'batching', { overloaded: true });
    expect(overloaded()).toEqual({ batching: { status: 'up' } });
    const calls = app.get(Caller).squares.of.submitMany(Array.from({ length: 10 }, (_, x) => x));
    const settled = Promise.allSettled(calls);
    expect(overloaded()).toEqual(
      down('Squares.of is overloaded: 10 inputs are sent and not answered, and 10 may'),
    );
    expect(healthOf(app)).toEqual({ batching: { status: 'up' } });
    await settled;
    expect(overloaded()).toEqual({ batching: { status: 'up' } });
  });

  it.each([
    [7, TypeError, 'overloaded: expected a boolean or { from, until }, got 7'],
    [{ from: 0 }, RangeError, 'overloaded.from: expected a share above 0 and at most 1, got 0'],
    [{ until: 1 }, RangeError, 'overloaded.until: expected a share of at least 0 and below from, got 1'],
  ])('refuses overloaded: %j', async (overloaded, type, message) => {
    const app = await start();
    const check = () => healthOf(app, 'batching', { overloaded: overloaded as never });
    expect(check).toThrow(type);
    expect(check).toThrow(message);
  });
});
