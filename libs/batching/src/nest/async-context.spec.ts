import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout } from 'node:timers/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Injectable, type INestApplication, Module, Param } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { ClsMiddlewareOptions, ClsModule, ClsModuleOptions, ClsService } from 'nestjs-cls';
import {
  asBatchedService,
  asService,
  type Batched,
  BatchedService,
  BatchingModule,
  InjectBatched,
  SerialService,
} from '../index.js';

const als = new AsyncLocalStorage<string>();

/** Says for each input which user the code around it sees: by AsyncLocalStorage, and by nestjs-cls. */
@Injectable()
class Observer {
  constructor(private readonly cls: ClsService) {}

  @BatchedService(8, 20, { dispatch: 'fixed' })
  together(inputs: string[]): { seen: unknown[]; size: number }[] {
    return inputs.map(() => ({ seen: this.#seen(), size: inputs.length }));
  }

  @SerialService({ cost: (input: unknown) => String(input).length })
  async alone(input: string): Promise<{ input: string; seen: unknown[] }> {
    await setTimeout(2);
    return { input, seen: this.#seen() };
  }

  #seen(): unknown[] {
    return [als.getStore(), this.cls.isActive() ? this.cls.get<unknown>('user') : undefined];
  }
}

let lazyBatch: ((input: string) => Promise<unknown>) | undefined;
let lazySerial: ((input: string) => Promise<unknown>) | undefined;

@Controller(':user')
class UsersController {
  constructor(
    @InjectBatched(Observer) private readonly observer: Batched<Observer>,
    private readonly cls: ClsService,
  ) {}

  @Get('together')
  together(@Param('user') user: string) {
    return this.#as(user, () => this.observer.together(user));
  }

  @Get('alone')
  alone(@Param('user') user: string) {
    return this.#as(user, () => this.observer.alone(user));
  }

  @Get('lazy')
  lazy(@Param('user') user: string) {
    const { cls } = this;
    const seen = () => [als.getStore(), cls.isActive() ? cls.get<unknown>('user') : undefined];
    return this.#as(user, async () => {
      lazyBatch ??= asBatchedService(8, 0)((inputs: string[]) => inputs.map(() => seen()));
      lazySerial ??= asService()((input: string) => [input, ...seen()]);
      return [await lazyBatch(user), await lazySerial(user), seen()];
    });
  }

  #as<T>(user: string, run: () => Promise<T>): Promise<T> {
    this.cls.set('user', user);
    return als.run(user, run);
  }
}

const clsOptions = Object.assign(new ClsModuleOptions(), { global: true });
clsOptions.middleware = Object.assign(new ClsMiddlewareOptions(), { mount: true });

@Module({
  imports: [ClsModule.forRoot(clsOptions), BatchingModule.forRoot()],
  providers: [Observer],
  controllers: [UsersController],
})
class AppModule {}

let app: INestApplication;

afterEach(() => app.close());

describe.each([
  ['Express', () => new ExpressAdapter()],
  ['Fastify', () => new FastifyAdapter()],
])('with AsyncLocalStorage and nestjs-cls, on %s', (_name, adapter) => {
  async function get(paths: string[]): Promise<unknown[]> {
    lazyBatch = lazySerial = undefined;
    const module = await Test.createTestingModule({ imports: [AppModule] }).compile();
    app = module.createNestApplication(adapter() as ExpressAdapter);
    await app.listen(0, '127.0.0.1');
    const url = await app.getUrl();
    return Promise.all(
      paths.map(async (path) => (await fetch(url + path, { headers: { connection: 'close' } })).json()),
    );
  }

  it('a batch sees no request, also not the first that asked for it', async () => {
    const answers = await get(['/ada/together', '/bob/together', '/cyd/together']);
    expect(answers).toEqual([1, 2, 3].map(() => ({ seen: [null, null], size: expect.any(Number) })));
  });

  it('a serial call sees its own request', async () => {
    expect(await get(['/ada/alone', '/bob/alone', '/cyd/alone'])).toEqual(
      ['ada', 'bob', 'cyd'].map((user) => ({ input: user, seen: [user, user] })),
    );
  });

  it('a queue that a request builds shows that request to no other, and not to its own batch', async () => {
    const answers = await get(['/ada/lazy', '/bob/lazy']);
    expect(answers).toEqual(
      ['ada', 'bob'].map((user) => [
        [null, null],
        [user, user, user],
        [user, user],
      ]),
    );
  });
});
