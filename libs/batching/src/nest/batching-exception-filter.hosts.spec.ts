import { once } from 'node:events';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  Controller,
  type INestApplication,
  Logger,
  type ModuleMetadata,
  type Provider,
  type Type,
  UseFilters,
} from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { ApolloDriver } from '@nestjs/apollo';
import { Args, GraphQLModule, Query, Resolver } from '@nestjs/graphql';
import { ClientProxyFactory, MessagePattern, Transport } from '@nestjs/microservices';
import { ExpressAdapter } from '@nestjs/platform-express';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import { Test } from '@nestjs/testing';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { firstValueFrom } from 'rxjs';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';
import { BatchingExceptionFilter, BatchResultError, BatchTimeoutError, QueueFullError } from '../index.js';

const errors = {
  full: () => new QueueFullError('Digits.classify', 100, 1200),
  timeout: () => new BatchTimeoutError('Digits.classify', 50, 'waiting'),
  result: () => new BatchResultError('Digits.classify', 3, 'a Map'),
};
type Kind = keyof typeof errors;

/** What a client gets: the short message and the code, and nothing of how to tune the queue. */
const answers: Record<Kind, { message: string; code: string }> = {
  full: { message: 'Digits.classify is full', code: 'ERR_BATCHING_FULL' },
  timeout: { message: 'Digits.classify gave no result in time', code: 'ERR_BATCHING_TIMEOUT' },
  result: { message: 'Internal server error', code: 'ERR_BATCHING_RESULT' },
};
const kinds = Object.keys(answers) as Kind[];

const warned = jest.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
const failed = jest.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
let app: INestApplication;

afterEach(async () => {
  await app.close();
  jest.clearAllMocks();
});

type Registration = 'useGlobalFilters(new …)' | 'APP_FILTER' | '@UseFilters(class)' | '@UseFilters(new …)';
const registrations: Registration[] = [
  'useGlobalFilters(new …)',
  'APP_FILTER',
  '@UseFilters(class)',
  '@UseFilters(new …)',
];

/** A class with the filter registered on it, as the registration says. */
function registered<T extends Type>(registration: Registration, type: T): T {
  if (registration === '@UseFilters(class)') UseFilters(BatchingExceptionFilter)(type);
  if (registration === '@UseFilters(new …)') UseFilters(new BatchingExceptionFilter())(type);
  return type;
}

async function build(registration: Registration, metadata: ModuleMetadata): Promise<INestApplication> {
  const filter: Provider = { provide: APP_FILTER, useClass: BatchingExceptionFilter };
  const module = await Test.createTestingModule({
    ...metadata,
    providers: [...(metadata.providers ?? []), ...(registration === 'APP_FILTER' ? [filter] : [])],
  }).compile();
  app = module.createNestApplication(new ExpressAdapter());
  if (registration === 'useGlobalFilters(new …)') app.useGlobalFilters(new BatchingExceptionFilter());
  return app;
}

/**
 * The advice is in the log, each kind once however often it comes, and a fault of the application as an
 * error.
 */
function expectAdviceInTheLog(): void {
  expect(warned.mock.calls.map(([line]) => line as string)).toEqual([
    expect.stringMatching(/^QueueFullError: Digits.classify is full: 100 inputs .*raise maxQueued/),
    expect.stringMatching(/^BatchTimeoutError: Digits.classify .*50 ms/),
  ]);
  expect(failed.mock.calls.map(([error]) => error as unknown)).toContainEqual(errors.result());
}

describe.each(registrations)('the filter registered by %s answers', (registration) => {
  it('the client of a microservice (TCP)', async () => {
    @Controller()
    class Digits {
      @MessagePattern('fail')
      fail(kind: Kind): never {
        throw errors[kind]();
      }
    }
    await build(registration, { controllers: [registered(registration, Digits)] });
    const options = { host: '127.0.0.1', port: 0 };
    const service = app.connectMicroservice(
      { transport: Transport.TCP, options },
      { inheritAppConfig: true },
    );
    await app.startAllMicroservices();
    const { port } = service.unwrap<{ address(): { port: number } }>().address();
    const client = ClientProxyFactory.create({
      transport: Transport.TCP,
      options: { host: '127.0.0.1', port },
    });
    for (const kind of [...kinds, ...kinds]) {
      const answer: unknown = await firstValueFrom(client.send('fail', kind)).catch(
        (error: unknown) => error,
      );
      expect(answer).toEqual({ status: 'error', ...answers[kind] });
    }
    await client.close();
    expectAdviceInTheLog();
  });

  it('the client of GraphQL by Apollo', async () => {
    @Resolver()
    class Digits {
      @Query('fail')
      fail(@Args('kind') kind: Kind): never {
        throw errors[kind]();
      }
    }
    const typeDefs = 'type Query { fail(kind: String!): Int }';
    const imports = [GraphQLModule.forRoot({ driver: ApolloDriver, typeDefs })];
    await build(registration, { imports, providers: [registered(registration, Digits)] });
    await app.listen(0, '127.0.0.1');
    for (const kind of [...kinds, ...kinds]) {
      const { message, code } = answers[kind];
      const response = await fetch(`${await app.getUrl()}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', connection: 'close' },
        body: JSON.stringify({ query: `{ fail(kind: "${kind}") }` }),
      });
      const text = await response.text();
      expect(JSON.parse(text)).toMatchObject({
        data: { fail: null },
        errors: [{ message, extensions: { code } }],
      });
      expect(text).not.toMatch(/maxQueued|inputs|a Map|50 ms/);
    }
    expectAdviceInTheLog();
  });
});

// Nest does not apply global filters to gateways.
describe.each(registrations.filter((registration) => registration.startsWith('@UseFilters')))(
  'the filter registered by %s on a gateway answers',
  (registration) => {
    it('the client on ws', async () => {
      const Gateway = gatewayOf(registration);
      await build(registration, { providers: [Gateway] });
      app.useWebSocketAdapter(new WsAdapter(app));
      await app.listen(0, '127.0.0.1');
      const client = new WebSocket((await app.getUrl()).replace('http', 'ws'));
      await once(client, 'open');
      for (const kind of [...kinds, ...kinds]) {
        client.send(JSON.stringify({ event: 'fail', data: kind }));
        const [text] = (await once(client, 'message')) as [Buffer];
        expect(JSON.parse(text.toString())).toEqual({
          event: 'exception',
          data: { status: 'error', ...answers[kind] },
        });
      }
      client.close();
      expectAdviceInTheLog();
    });

    it('the client on Socket.IO', async () => {
      const Gateway = gatewayOf(registration);
      await build(registration, { providers: [Gateway] });
      app.useWebSocketAdapter(new IoAdapter(app));
      await app.listen(0, '127.0.0.1');
      const client = io(await app.getUrl(), { transports: ['websocket'] });
      for (const kind of [...kinds, ...kinds]) {
        const answer = new Promise((resolve) => client.once('exception', resolve));
        client.emit('fail', kind);
        expect(await answer).toEqual({ status: 'error', ...answers[kind] });
      }
      client.close();
      expectAdviceInTheLog();
    });
  },
);

function gatewayOf(registration: Registration): Type {
  @WebSocketGateway()
  class Gateway {
    @SubscribeMessage('fail')
    fail(_client: unknown, kind: Kind): never {
      throw errors[kind]();
    }
  }
  return registered(registration, Gateway);
}
