import { checkUrl, enableShutdown, limitServer } from '@app/serving';
import { ConsoleLogger, type INestApplication, type NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { SwaggerModule } from '@nestjs/swagger';
import helmet from 'helmet';
import { BatchingExceptionFilter } from 'nest-batching';
import { createApiDocument } from './api-document.js';
import { AppModule } from './app.module.js';
import type { Configuration } from './configuration.js';
import { ErrorFilter } from './http/error-filter.js';

/** The application as it runs, and as the tests run it; `listen` starts it. */
export async function createApp(configuration: Configuration): Promise<INestApplication> {
  const { logLevels, logFormat } = configuration;
  const json = logFormat === 'json' || (logFormat === 'auto' && !process.stdout.isTTY);
  const options: Pick<NestApplicationOptions, 'bodyParser' | 'abortOnError' | 'logger'> = {
    // Bodies are read by `RequestBodies`, whose limits differ from route to route.
    bodyParser: false,
    abortOnError: false,
    logger: new ConsoleLogger({ logLevels, json }),
  };
  const adapter = configuration.httpAdapter === 'fastify' ? fastifyAdapter() : new ExpressAdapter();
  const app = await NestFactory.create(AppModule.with(configuration), adapter, options);
  limitServer(app, {
    connections: configuration.maxConnections,
    requestsPerConnection: configuration.maxPipelined,
  });
  app.use(securityHeaders());
  app.use(checkUrl);
  const document = createApiDocument(app, configuration);
  SwaggerModule.setup('docs', app, document, {
    ui: false,
    raw: ['json'],
    jsonDocumentUrl: 'docs/openapi.json',
  });
  const http = app.getHttpAdapter();
  app.useGlobalFilters(new ErrorFilter(http, document.paths), new BatchingExceptionFilter(http));
  enableShutdown(app);
  return app;
}

/** Fastify would read bodies, and refuse some, before the routes could. So it is told that no method has any. */
function fastifyAdapter(): FastifyAdapter {
  // While it closes it would answer a request that was under way before with a 503.
  const adapter = new FastifyAdapter({ return503OnClosing: false });
  const fastify = adapter.getInstance();
  for (const method of fastify.supportedMethods) {
    fastify.addHttpMethod(method, { hasBody: false, overrideExisting: true });
  }
  return adapter;
}

function securityHeaders() {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'self'"],
        // Swagger UI draws its arrows with data: URLs; pictures that are enlarged are shown with blob: ones.
        imgSrc: ["'self'", 'data:', 'blob:'],
        objectSrc: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
      },
    },
    // Whether there is HTTPS at all is known to whoever terminates it in front of this server.
    strictTransportSecurity: false,
  });
}
