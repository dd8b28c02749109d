import { afterEach, describe, expect, it, jest } from '@jest/globals';
import {
  type ArgumentsHost,
  Controller,
  Get,
  type INestApplication,
  Logger,
  type MiddlewareConsumer,
  Module,
  type ModuleMetadata,
  type NestModule,
  Param,
  Res,
  UseFilters,
} from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { firstValueFrom, type Observable } from 'rxjs';
import {
  BatchingError,
  BatchingExceptionFilter,
  BatchResultError,
  BatchTimeoutError,
  MissingResultError,
  QueueFullError,
  ServiceStoppedError,
  TooManyInputsError,
} from '../index.js';
import { InferenceWorkerError, ModelInputError, ModelNotReadyError } from '../inference/errors.js';

class OtherError extends BatchingError {
  readonly code = 'ERR_BATCHING_OTHER';
}

/** An error class of a package that the filter does not know. */
class RemoteError extends BatchingError {
  readonly code = 'ERR_BATCHING_REMOTE';
  override readonly kind = 'unavailable';
}

/** An error with a kind that only a later version of the library knows. */
class LaterError extends BatchingError {
  readonly code = 'ERR_BATCHING_LATER';
  override readonly kind = 'constructor' as 'failure';
}

const errors: Record<string, Error> = {
  tooMany: new TooManyInputsError('Digits.classify', 300, 256),
  full: new QueueFullError('Digits.classify', 100, 1200),
  nearlyFull: new QueueFullError('Digits.classify', 100, 0),
  stopped: new ServiceStoppedError('Digits.classify'),
  timeout: new BatchTimeoutError('Digits.classify', 50, 'waiting'),
  result: new BatchResultError('Digits.classify', 3, 'a Map'),
  missing: new MissingResultError('Users.byId', 'secret'),
  input: new ModelInputError('digits', 0, undefined, 'must have 784 numbers; it has 5'),
  worker: new InferenceWorkerError('secret'),
  notReady: new ModelNotReadyError('digits', 'secret'),
  remote: new RemoteError('secret'),
  later: new LaterError('secret'),
  other: new OtherError('secret'),
  unknown: new Error('secret'),
};

const unavailable = { statusCode: 503, error: 'Service Unavailable' };
const internal = { statusCode: 500, error: 'Internal Server Error', message: 'Internal server error' };

const answers: [string, string | null, Record<string, unknown> & { statusCode: number }][] = [
  ['full', '2', { ...unavailable, message: 'Digits.classify is full', code: 'ERR_BATCHING_FULL' }],
  ['nearlyFull', '1', { ...unavailable, message: 'Digits.classify is full', code: 'ERR_BATCHING_FULL' }],
  [
    'tooMany',
    null,
    {
      statusCode: 413,
      error: 'Payload Too Large',
      message: 'Digits.classify takes at most 256 inputs at once, not 300',
      code: 'ERR_BATCHING_TOO_MANY',
    },
  ],
  ['stopped', '1', { ...unavailable, message: 'Digits.classify was stopped', code: 'ERR_BATCHING_STOPPED' }],
  [
    'timeout',
    null,
    {
      statusCode: 504,
      error: 'Gateway Timeout',
      message: 'Digits.classify gave no result in time',
      code: 'ERR_BATCHING_TIMEOUT',
    },
  ],
  ['result', null, { ...internal, code: 'ERR_BATCHING_RESULT' }],
  [
    'missing',
    null,
    {
      statusCode: 404,
      error: 'Not Found',
      message: 'Users.byId has no result for this input',
      code: 'ERR_BATCHING_MISSING',
    },
  ],
  [
    'input',
    null,
    {
      statusCode: 400,
      error: 'Bad Request',
      message: "input 0 of model 'digits' must have 784 numbers; it has 5",
      code: 'ERR_BATCHING_INPUT',
    },
  ],
  [
    'notReady',
    '1',
    { ...unavailable, message: "model 'digits' is not ready", code: 'ERR_BATCHING_MODEL_NOT_READY' },
  ],
  [
    'worker',
    '1',
    {
      ...unavailable,
      message: 'the inference worker is being started again',
      code: 'ERR_BATCHING_WORKER',
    },
  ],
  ['remote', '1', { ...unavailable, message: 'Service unavailable', code: 'ERR_BATCHING_REMOTE' }],
  ['later', null, { ...internal, code: 'ERR_BATCHING_LATER' }],
  ['other', null, { ...internal, code: 'ERR_BATCHING_OTHER' }],
  ['unknown', null, { statusCode: 500, message: 'Internal server error' }],
];

@Controller()
class ErrorsController {
  @Get('errors/:name')
  fail(@Param('name') name: string): never {
    throw errors[name] ?? new Error(name);
  }

  @Get('late')
  failLate(@Res() response: { end: (text: string) => void; raw?: { end: (text: string) => void } }): never {
    (response.raw ?? response).end('an answer');
    throw new QueueFullError('Digits.classify', 100, 0);
  }
}

@Controller()
@UseFilters(BatchingExceptionFilter)
class FilteredController extends ErrorsController {}

@Module({})
class MiddlewareModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer
      .apply(() => {
        throw errors.full ?? new Error('no error');
      })
      .forRoutes('*path');
  }
}

jest.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
const logged = jest.spyOn(Logger.prototype, 'error').mockReturnValue(undefined);
let app: INestApplication;

async function start(
  adapter: ExpressAdapter | FastifyAdapter,
  metadata: ModuleMetadata,
  configure?: () => void,
): Promise<string> {
  const module = await Test.createTestingModule(metadata).compile();
  app = module.createNestApplication(adapter as ExpressAdapter);
  configure?.();
  await app.listen(0, '127.0.0.1');
  return app.getUrl();
}

async function get(url: string) {
  const response = await fetch(url, { headers: { connection: 'close' } });
  const body: unknown = response.headers.get('content-type')?.includes('json')
    ? await response.json()
    : await response.text();
  return { status: response.status, retryAfter: response.headers.get('retry-after'), body };
}

afterEach(async () => {
  await app.close();
  logged.mockClear();
});

describe.each([
  ['Express', () => new ExpressAdapter()],
  ['Fastify', () => new FastifyAdapter()],
])('on %s, the filter', (_name, adapter) => {
  it('answers each error of a queue with its status, and no other errors', async () => {
    const provider = { provide: APP_FILTER, useClass: BatchingExceptionFilter };
    const url = await start(adapter(), { providers: [provider], controllers: [ErrorsController] });
    for (const [name, retryAfter, body] of answers) {
      const { statusCode: status } = body;
      expect(await get(`${url}/errors/${name}`)).toEqual({ status, retryAfter, body });
    }
  });

  it('logs errors that are the fault of the application, and no others', async () => {
    const provider = { provide: APP_FILTER, useClass: BatchingExceptionFilter };
    const url = await start(adapter(), { providers: [provider], controllers: [ErrorsController] });
    for (const name of ['full', 'stopped', 'timeout']) await get(`${url}/errors/${name}`);
    expect(logged).not.toHaveBeenCalled();
    await get(`${url}/errors/result`);
    expect(logged).toHaveBeenCalledWith(errors.result);
  });

  it('works on one controller', async () => {
    const url = await start(adapter(), { controllers: [FilteredController] });
    expect(await get(`${url}/errors/full`)).toMatchObject({ status: 503, retryAfter: '2' });
  });

  it.each(['one controller', 'the application'])('works when it is made by hand, for %s', async (place) => {
    @Controller()
    @UseFilters(new BatchingExceptionFilter())
    class ByHandController extends ErrorsController {}
    const controller = place === 'one controller' ? ByHandController : ErrorsController;
    const url = await start(adapter(), { controllers: [controller] }, () => {
      if (place === 'the application') app.useGlobalFilters(new BatchingExceptionFilter());
    });
    for (const [name, retryAfter, body] of answers) {
      if (name === 'unknown') continue;
      const { statusCode: status } = body;
      expect(await get(`${url}/errors/${name}`)).toEqual({ status, retryAfter, body });
    }
    expect(await get(`${url}/late`)).toEqual({ status: 200, retryAfter: null, body: 'an answer' });
  });

  it('answers errors of a middleware', async () => {
    const url = await start(adapter(), { imports: [MiddlewareModule] }, () => {
      app.useGlobalFilters(new BatchingExceptionFilter());
    });
    expect(await get(`${url}/anything`)).toMatchObject({
      status: 503,
      retryAfter: '2',
      body: { code: 'ERR_BATCHING_FULL' },
    });
  });

  it('works when it is constructed by hand', async () => {
    const url = await start(adapter(), { controllers: [ErrorsController] }, () => {
      app.useGlobalFilters(new BatchingExceptionFilter(app.getHttpAdapter()));
    });
    expect(await get(`${url}/errors/full`)).toMatchObject({ status: 503, retryAfter: '2' });
  });

  it('does not change an answer that has been sent', async () => {
    const url = await start(adapter(), { controllers: [FilteredController] });
    expect(await get(`${url}/late`)).toEqual({ status: 200, retryAfter: null, body: 'an answer' });
    expect(logged).not.toHaveBeenCalled();
  });
});

describe('elsewhere the filter', () => {
  const filter = new BatchingExceptionFilter();
  const full = new QueueFullError('Digits.classify', 100, 1200);
  const payload = { status: 'error', message: 'Digits.classify is full', code: 'ERR_BATCHING_FULL' };
  const host = (type: string, client?: object) =>
    ({ getType: () => type, switchToWs: () => ({ getClient: () => client }) }) as unknown as ArgumentsHost;

  it('returns an observable that fails to a microservice', async () => {
    const answer = filter.catch(full, host('rpc')) as Observable<unknown>;
    await expect(firstValueFrom(answer)).rejects.toEqual(payload);
  });

  it('emits an exception to the client of a gateway', () => {
    const client = { emit: jest.fn() };
    filter.catch(full, host('ws', client));
    expect(client.emit.mock.calls).toEqual([['exception', payload]]);
  });

  it('gives GraphQL, and others that format what is thrown, the short message and the code', () => {
    expect(() => filter.catch(full, host('graphql'))).toThrow(
      expect.objectContaining({
        message: 'Digits.classify is full',
        code: 'ERR_BATCHING_FULL',
        extensions: { code: 'ERR_BATCHING_FULL' },
      }),
    );
  });
});
