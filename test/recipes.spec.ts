import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Injectable, type INestApplication, Logger, type ModuleMetadata } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { GraphQLModule } from '@nestjs/graphql';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import { ExpressAdapter } from '@nestjs/platform-express';
import { WsAdapter } from '@nestjs/platform-ws';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { BatchingExceptionFilter, BatchingModule, BatchingRegistry } from 'nest-batching';
import { ClsModule, ClsModuleOptions, ClsService } from 'nestjs-cls';
import { firstValueFrom } from 'rxjs';
import { WebSocket } from 'ws';
import { currentTenant, MyOrders, Orders, OrdersTable } from '../docs/examples/context.js';
import { PricesGateway } from '../docs/examples/gateway.js';
import { Authors, Database, PostsResolver } from '../docs/examples/graphql.js';
import { PricesHandler } from '../docs/examples/microservice.js';
import { PriceList, Prices } from '../docs/examples/prices.js';
import { PriceWatch } from '../docs/examples/schedule.js';

let app: INestApplication;
const running: INestApplication[] = [];

const failed = jest.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
const warned = jest.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);

afterEach(async () => {
  for (const each of running.splice(0)) await each.close();
  jest.clearAllMocks();
});

/** The application of these, with Express and not yet listening. */
async function build(metadata: ModuleMetadata): Promise<INestApplication> {
  const module = await Test.createTestingModule(metadata).compile();
  app = module.createNestApplication(new ExpressAdapter());
  running.push(app);
  return app;
}

/** A list whose prices are the lengths of the products' names. It answers when it is open. */
class Lengths extends PriceList {
  readonly batches: string[][] = [];
  open!: () => void;
  readonly #isOpen = new Promise<void>((resolve) => (this.open = resolve));

  async read(some: readonly string[]): Promise<number[]> {
    this.batches.push([...some]);
    await this.#isOpen;
    return some.map(({ length }) => length);
  }
}

const products = ['a', 'bb', 'ccc', 'dddd'];

function pricesOn(list: PriceList) {
  return {
    imports: [BatchingModule.forRoot()],
    providers: [{ provide: PriceList, useValue: list }, Prices],
  };
}

const queue = () => app.get(BatchingRegistry).get('Prices.of');

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await setImmediate();
}

/** Resolves when the queue has taken so many inputs: those that do not run yet will be one batch. */
function taken(count: number): Promise<void> {
  return until(() => queue().stats().submitted === count);
}

describe('ConfigService', () => {
  it('gives the settings of a queue as numbers, and what is not set stays', async () => {
    Object.assign(process.env, { PRICES_BATCH_SIZE: '16', MAX_QUEUED: '500' });
    // Nest reads the environment when the module is defined.
    const { SettingsModule } = await import('../docs/examples/config.js');
    for (const name of ['PRICES_BATCH_SIZE', 'MAX_QUEUED']) Reflect.deleteProperty(process.env, name);
    const { providers } = pricesOn(new Lengths());
    await (await build({ imports: [SettingsModule], providers })).init();
    expect(queue().stats().options).toMatchObject({ batchSize: 16, maxDelay: 5, maxQueued: 500 });
  });

  it('refuses what is not a number', async () => {
    const { validate } = await import('../docs/examples/config.js');
    expect(() => validate({ PRICES_BATCH_SIZE: 'many' })).toThrow(
      'PRICES_BATCH_SIZE must be an integer number',
    );
    expect(() => validate({ PRICES_MAX_DELAY: '-1' })).toThrow('PRICES_MAX_DELAY must not be less than 0');
    expect(validate({ PRICES_MAX_DELAY: '2.5' }).PRICES_MAX_DELAY).toBe(2.5);
  });
});

describe('GraphQL', () => {
  const authors = [1, 2, 3].map((id) => ({ id, name: `Author ${id}` }));

  class Tables extends Database {
    readonly asked: number[][] = [];

    posts() {
      const authorOf = [1, 2, 1, 3, 2, 1, 9];
      return Promise.resolve(authorOf.map((authorId, id) => ({ id, title: `Post ${id}`, authorId })));
    }

    authors(ids: readonly number[]) {
      this.asked.push([...ids]);
      return Promise.resolve(authors.filter(({ id }) => ids.includes(id)).toReversed());
    }
  }

  it('resolves a field in one batch, each author once', async () => {
    const tables = new Tables();
    await build({
      imports: [
        BatchingModule.forRoot(),
        GraphQLModule.forRoot<ApolloDriverConfig>({
          driver: ApolloDriver,
          autoSchemaFile: true,
          fieldResolverEnhancers: ['filters'],
        }),
      ],
      providers: [
        { provide: Database, useValue: tables },
        { provide: APP_FILTER, useClass: BatchingExceptionFilter },
        Authors,
        PostsResolver,
      ],
    });
    await app.listen(0, '127.0.0.1');
    const response = await fetch(`${await app.getUrl()}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify({ query: '{ posts { id author { name } } }' }),
    });
    expect(await response.json()).toMatchObject({
      data: {
        posts: [1, 2, 1, 3, 2, 1, undefined].map((author, id) => ({
          id,
          author: author === undefined ? null : { name: `Author ${author}` },
        })),
      },
      errors: [{ path: ['posts', 6, 'author'], extensions: { code: 'ERR_BATCHING_MISSING' } }],
    });
    expect(tables.asked).toEqual([[1, 2, 3, 9]]);
  });
});

describe('a microservice', () => {
  it('answers messages in batches', async () => {
    const list = new Lengths();
    await build({ ...pricesOn(list), controllers: [PricesHandler] });
    await app.init();
    const service = app.connectMicroservice({
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port: 0 },
    });
    await app.startAllMicroservices();
    const { port } = service.unwrap<{ address(): { port: number } }>().address();
    const client = ClientProxyFactory.create({
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port },
    });
    const prices = Promise.all(
      products.map((product) => firstValueFrom(client.send<number>('price', product))),
    );
    await taken(products.length);
    list.open();
    expect(await prices).toEqual([1, 2, 3, 4]);
    expect(list.batches.flat().toSorted()).toEqual(products);
    expect(list.batches.length).toBeLessThanOrEqual(2);
    await client.close();
  });
});

describe('a gateway', () => {
  async function connect(): Promise<WebSocket> {
    const client = new WebSocket((await app.getUrl()).replace('http', 'ws'));
    await once(client, 'open');
    return client;
  }
  const ask = (client: WebSocket, product: string) => {
    client.send(JSON.stringify({ event: 'price', data: product }));
  };

  async function start(list: PriceList): Promise<void> {
    const { imports, providers } = pricesOn(list);
    await build({ imports, providers: [...providers, PricesGateway] });
    app.useWebSocketAdapter(new WsAdapter(app));
    await app.listen(0, '127.0.0.1');
  }

  it('answers the messages of all connections in batches', async () => {
    const list = new Lengths();
    await start(list);
    const clients = await Promise.all(products.map(connect));
    const answers = clients.map((client) => once(client, 'message') as Promise<[Buffer]>);
    clients.forEach((client, index) => {
      ask(client, String(products[index]));
    });
    await taken(products.length);
    list.open();
    expect((await Promise.all(answers)).map(([text]) => JSON.parse(text.toString()) as unknown)).toEqual(
      [1, 2, 3, 4].map((data) => ({ event: 'price', data })),
    );
    expect(list.batches.length).toBeLessThanOrEqual(2);
    for (const client of clients) client.close();
  });

  it('does not run what a closed connection asked for', async () => {
    const list = new Lengths();
    await start(list);
    const [stays, leaves] = [await connect(), await connect()];
    ask(stays, 'stays');
    await until(() => list.batches.length === 1);
    ask(leaves, 'leaves');
    await taken(2);
    leaves.close();
    await until(() => queue().stats().dropped === 1);
    const answer = once(stays, 'message');
    list.open();
    await answer;
    expect(list.batches).toEqual([['stays']]);
    expect(failed).not.toHaveBeenCalled();
    stays.close();
  });
});

describe('@nestjs/schedule', () => {
  async function start(list: PriceList) {
    const { imports, providers } = pricesOn(list);
    await build({ imports: [...imports, ScheduleModule.forRoot()], providers: [...providers, PriceWatch] });
    await app.init();
    const watch = app.get(PriceWatch);
    watch.products = products;
    return { watch, job: app.get(SchedulerRegistry).getCronJob('prices') };
  }

  it('refreshes in batches, one refresh at a time', async () => {
    const list = new Lengths();
    const { watch, job } = await start(list);
    const first = job.fireOnTick();
    await taken(products.length);
    await job.fireOnTick();
    list.open();
    await first;
    expect(list.batches).toEqual([products]);
    expect([...watch.latest]).toEqual(products.map((product) => [product, product.length]));
  });

  it('keeps the price of a product that cannot be read', async () => {
    const list = new Lengths();
    list.open();
    const { watch, job } = await start(list);
    watch.latest.set('a', 7);
    jest.spyOn(list, 'read').mockRejectedValueOnce(new Error('no list today'));
    await job.fireOnTick();
    expect([...watch.latest]).toEqual([['a', 7]]);
    expect(warned).toHaveBeenCalledWith('a keeps its price: Error: no list today');
    await job.fireOnTick();
    expect(watch.latest.get('a')).toBe(1);
  });
});

describe('AsyncLocalStorage and nestjs-cls', () => {
  it('a batch has the inputs of one tenant, and sees that tenant and no request', async () => {
    const seen: unknown[] = [];

    @Injectable()
    class Table extends OrdersTable {
      constructor(private readonly cls: ClsService) {
        super();
      }

      find(ids: readonly number[]) {
        const tenant = currentTenant.getStore();
        seen.push({ tenant, ids, request: this.cls.isActive() });
        return Promise.resolve(ids.map((id) => `order ${id} of ${tenant}`));
      }
    }

    const clsOptions = Object.assign(new ClsModuleOptions(), { global: true });
    await build({
      imports: [BatchingModule.forRoot(), ClsModule.forRoot(clsOptions)],
      providers: [{ provide: OrdersTable, useClass: Table }, Orders, MyOrders],
    });
    await app.init();
    const cls = app.get(ClsService);
    const orders = app.get(MyOrders);
    const asked = ['ada', 'bob', 'ada', 'bob'].map((tenant, id) =>
      cls.run(() => {
        cls.set('tenant', tenant);
        return orders.find(id);
      }),
    );
    expect(await Promise.all(asked)).toEqual([
      'order 0 of ada',
      'order 1 of bob',
      'order 2 of ada',
      'order 3 of bob',
    ]);
    expect(seen).toEqual([
      { tenant: 'ada', ids: [0, 2], request: false },
      { tenant: 'bob', ids: [1, 3], request: false },
    ]);
  });
});
