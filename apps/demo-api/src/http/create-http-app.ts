import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  ApiError,
  AppValidationPipe,
  checkUrl,
  enableShutdown,
  ErrorFilter,
  limitBodies,
  limitServer,
  securityHeaders,
  serveDocument,
} from '@app/serving';
import {
  ConsoleLogger,
  type DynamicModule,
  type INestApplication,
  type NestApplicationOptions,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { OpenAPIObject } from '@nestjs/swagger';
import { BatchingExceptionFilter } from 'nest-batching';
import { createApiDocument } from '../api-document.js';
import type { Configuration } from '../configuration.js';
import { bodyLimits, BYTES_TYPE, PICTURE_TYPES } from './bodies.js';

/**
 * An HTTP server with what every application over digits needs: bounds, bodies, the reference of its API, errors, and the
 * shutdown. `listen` starts it.
 *
 * @param refuse adds middlewares that refuse requests before their bodies are read
 */
export async function createHttpApp(
  module: DynamicModule,
  configuration: Configuration,
  refuse?: (app: INestApplication) => void,
): Promise<INestApplication> {
  const { logLevels, logFormat } = configuration;
  const json = logFormat === 'json' || (logFormat === 'auto' && !process.stdout.isTTY);
  const use = (app: INestApplication) => {
    useMiddleware(app, configuration, refuse);
  };
  const app = await createOn(module, configuration, use, {
    bodyParser: false,
    abortOnError: false,
    logger: new ConsoleLogger({ logLevels, json }),
  });
  const document = await createApiDocument(app, configuration);
  serveDocument(app, document);
  const http = app.getHttpAdapter();
  app.useGlobalPipes(new AppValidationPipe());
  app.useGlobalFilters(new ErrorFilter(http, noSuchRoute(document.paths)), new BatchingExceptionFilter(http));
  enableShutdown(app);
  return app;
}

/** With what comes before the routes: the bounds of the server first, parsers of bodies last, which give their bytes. */
async function createOn(
  module: DynamicModule,
  configuration: Configuration,
  use: (app: INestApplication) => void,
  options: Pick<NestApplicationOptions, 'bodyParser' | 'abortOnError' | 'logger'>,
): Promise<INestApplication> {
  if (configuration.httpAdapter === 'express') {
    const app = await NestFactory.create<NestExpressApplication>(module, options);
    use(app);
    // The limits are those of `limitBodies`.
    app.useBodyParser('raw', { type: ({ method }) => method === 'POST', limit: Infinity });
    return app;
  }
  // Or it would answer a request that was under way before it closes with a 503.
  const adapter = new FastifyAdapter({ return503OnClosing: false });
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter, options);
  use(app);
  app.useBodyParser(
    ['application/json', BYTES_TYPE, ...PICTURE_TYPES],
    { bodyLimit: Number.MAX_SAFE_INTEGER },
    (_, bytes, done) => {
      done(null, bytes);
    },
  );
  return app;
}

function useMiddleware(
  app: INestApplication,
  configuration: Configuration,
  refuse: ((app: INestApplication) => void) | undefined,
): void {
  limitServer(app, {
    connections: configuration.maxConnections,
    requestsPerConnection: configuration.maxPipelined,
  });
  // Swagger UI draws its arrows with data: URLs; pictures that are enlarged are shown with blob: ones.
  app.use(securityHeaders({ imgSrc: ["'self'", 'data:', 'blob:'] }));
  app.use(checkUrl);
  refuse?.(app);
  limitBodies(app, {
    limitOf: bodyLimits(configuration),
    total: configuration.maxBodyBytes,
    time: configuration.bodyTimeout,
  });
}

type Operation = NonNullable<OpenAPIObject['paths'][string]['post']>;

/** Nest takes another method on a known path for an unknown path, and `bodyLimits` a body that its route does not take. */
function noSuchRoute(paths: OpenAPIObject['paths']) {
  return ({ method = '', url = '' }: IncomingMessage, response: ServerResponse): ApiError => {
    const [path = ''] = url.split('?', 1);
    const { post } = paths[path] ?? {};
    if (method === 'POST' && post && !post.requestBody) return noBodyTaken(path, post);
    const allowed = Object.keys(paths[path] ?? {}).map((name) => name.toUpperCase());
    if (allowed.length === 0) {
      return new ApiError(404, 'ERR_NO_SUCH_ROUTE', `There is no ${path} here; /docs lists what there is.`);
    }
    response.setHeader('Allow', allowed.join(', '));
    const message = `${path} takes ${allowed.join(' or ')}, not ${method}.`;
    return new ApiError(405, 'ERR_METHOD', message, { details: { allowed } });
  };
}

function noBodyTaken(path: string, { parameters = [] }: Operation): ApiError {
  const names = parameters.flatMap((parameter) =>
    'in' in parameter && parameter.in === 'query' ? [parameter.name] : [],
  );
  const places = names.map((name) => `${name} stands in the address, as in ${path}?${name}=…`);
  return new ApiError(400, 'ERR_INVALID', ['expected no body', ...places].join(': '));
}
