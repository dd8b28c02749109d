import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  Controller,
  Get,
  type INestApplication,
  Logger,
  Param,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  type BatchingModuleOptions,
  BatchingRegistry,
  InjectBatched,
} from '../index.js';

/** Its `maxDelay` is longer than any test, so that inputs leave only if they are sent off. */
class Squares implements OnApplicationShutdown {
  readonly sizes: number[] = [];
  isHanging = false;

  @BatchedService(1000, 3_600_000, { dispatch: 'fixed' })
  square(numbers: readonly number[]): Promise<number[]> {
    this.sizes.push(numbers.length);
    if (this.isHanging) return new Promise(() => undefined);
    return Promise.resolve(numbers.map((number) => number * number));
  }

  @BatchedService(1000, 3_600_000, { dispatch: 'fixed', autoStart: false })
  later(numbers: number[]): number[] {
    return numbers;
  }

  beforeClosing = () => Promise.resolve();

  onApplicationShutdown(): Promise<void> {
    return this.beforeClosing();
  }
}

@Controller()
class PowersController {
  constructor(@InjectBatched(Squares) private readonly squares: Batched<Squares>) {}

  @Get('fourth/:base')
  async fourth(@Param('base') base: string): Promise<string> {
    const square = await this.squares.square(Number(base));
    // Submitted while the application is shutting down.
    return String(await this.squares.square(square));
  }

  @Get('later/:number')
  async later(@Param('number') number: string): Promise<string> {
    return String(await this.squares.later(Number(number)));
  }
}

let app: INestApplication;

async function start(adapter: ExpressAdapter | FastifyAdapter, options?: BatchingModuleOptions) {
  const module = await Test.createTestingModule({
    imports: [BatchingModule.forRoot(options)],
    providers: [Squares],
    controllers: [PowersController],
  }).compile();
  app = module.createNestApplication(adapter as ExpressAdapter);
  await app.listen(0, '127.0.0.1');
  const registry = app.get(BatchingRegistry);
  const url = await app.getUrl();
  return { url, registry, squares: app.get(Squares), view: registry.view(Squares) };
}

/** Without keep-alive: a server that closes waits for connections that have become idle meanwhile. */
async function get(url: string): Promise<string> {
  const response = await fetch(url, { headers: { connection: 'close' } });
  return response.text();
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

afterEach(() => app.close());

describe.each([
  ['Express', () => new ExpressAdapter()],
  ['Fastify', () => new FastifyAdapter()],
])('closing an application on %s in mid-traffic', (_name, adapter) => {
  it('answers every request that it has accepted, without waiting for more inputs', async () => {
    const { url, registry, squares } = await start(adapter());
    const bases = Array.from({ length: 50 }, (_, index) => index);
    const answers = Promise.all(bases.map((base) => get(`${url}/fourth/${base}`)));
    await until(() => registry.get('Squares.square').stats().waiting === bases.length);

    await app.close();
    expect(await answers).toEqual(bases.map((base) => String(base ** 4)));
    expect(squares.sizes[0]).toBe(bases.length);
    expect(registry.get('Squares.square').stats()).toMatchObject({
      state: 'stopped',
      results: 100,
      errors: 0,
      dropped: 0,
    });
  });

  it('answers the requests of a queue that was never started', async () => {
    const { url, registry } = await start(adapter());
    const answer = get(`${url}/later/7`);
    await until(() => registry.get('Squares.later').stats().waiting === 1);
    await app.close();
    expect(await answer).toBe('7');
  });
});

describe('closing an application', () => {
  it('runs what was submitted outside any request', async () => {
    const { view } = await start(new ExpressAdapter());
    const result = view.square(3);
    await app.close();
    expect(await result).toBe(9);
    await expect(view.square(4)).rejects.toMatchObject({ code: 'ERR_BATCHING_STOPPED' });
  });

  it('waits no longer than shutdownTimeout', async () => {
    const { squares, view } = await start(new ExpressAdapter(), { shutdownTimeout: 1 });
    squares.isHanging = true;
    const result = expect(view.square(3)).rejects.toMatchObject({ code: 'ERR_BATCHING_STOPPED' });
    await app.close();
    await result;
  });

  it('gives queues and HTTP server one shutdownTimeout: a request whose batch hangs does not keep it from closing', async () => {
    const { url, registry, squares } = await start(new ExpressAdapter(), { shutdownTimeout: 500 });
    squares.isHanging = true;
    const answer = get(`${url}/fourth/2`);
    await until(() => registry.get('Squares.square').stats().waiting === 1);
    expect(registry.shutdownTimeLeft).toBe(500);
    await app.close();
    expect(await answer).toMatch('Internal server error');
    expect(registry.get('Squares.square').stats()).toMatchObject({
      state: 'stopped',
      drops: { stopped: 0 },
      errors: 1,
    });
    expect(registry.shutdownTimeLeft).toBe(0);
  });

  it('lets a provider stop the queues before it closes what they need', async () => {
    const { registry, squares, view } = await start(new ExpressAdapter());
    squares.beforeClosing = async () => {
      await registry.stop();
      squares.sizes.push(-1);
    };
    const result = view.square(3);
    await app.close();
    expect(squares.sizes).toEqual([1, -1]);
    expect(await result).toBe(9);
  });

  it('may happen twice, and may stop queues that are stopped already', async () => {
    const { registry } = await start(new ExpressAdapter());
    await registry.stop();
    const logged = jest.spyOn(Logger, 'error');
    await Promise.all([app.close(), app.close()]);
    await app.close();
    expect(logged).not.toHaveBeenCalled();
    expect(registry.get('Squares.square').stats().state).toBe('stopped');
  });
});
