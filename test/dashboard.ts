import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type INestApplication,
  Injectable,
  Module,
  type ModuleMetadata,
  type NestApplicationOptions,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  type BatchingModuleOptions,
  type BatchingNodeOptions,
  BatchingRegistry,
  SerialService,
} from 'nest-batching';
import { BatchingDashboardModule, type BatchingDashboardOptions } from 'nest-batching/dashboard';

export type { BatchingDashboardOptions };

/** Batches that take their time, as a device does. An input below 0 fails alone. */
@Injectable()
export class Digits {
  /** Milliseconds that a batch takes beside those for each of its inputs. */
  static time = { batch: 6, input: 0.2 };
  /** Every batch runs until it resolves, if there is one. */
  static hold: Promise<void> | undefined;

  @BatchedService(32, 5, { concurrency: 2, maxQueued: 400 })
  async classify(images: readonly number[]): Promise<(number | Error)[]> {
    await (Digits.hold ?? sleep(Digits.time.batch + Digits.time.input * images.length));
    return images.map((image) => (image < 0 ? new Error('no digit') : image % 10));
  }
}

@Injectable()
export class Printer {
  @SerialService()
  async print(page: string): Promise<number> {
    await sleep(40);
    return page.length;
  }
}

export interface DashboardApp {
  app: INestApplication;
  url: string;
  digits: Batched<Digits>['classify'];
  printer: Batched<Printer>['print'];
  registry: BatchingRegistry;
}

/** Starts an application with two queues and a dashboard, on any free port unless one is given. */
export async function startApp(
  options: BatchingDashboardOptions = {},
  {
    adapter = 'express',
    port = 0,
    prepare = () => undefined,
    isEmpty = false,
    bodyParser = true,
    batching = {},
    ...metadata
  }: ModuleMetadata & {
    adapter?: 'express' | 'fastify' | 'http2';
    port?: number;
    prepare?: (app: INestApplication) => unknown;
    isEmpty?: boolean;
    bodyParser?: boolean;
    batching?: BatchingModuleOptions & BatchingNodeOptions;
  } = {},
): Promise<DashboardApp> {
  @Module({
    ...metadata,
    imports: [
      BatchingModule.forRoot(batching),
      BatchingDashboardModule.forRoot(options),
      ...(metadata.imports ?? []),
    ],
    providers: [...(isEmpty ? [] : [Digits, Printer]), ...(metadata.providers ?? [])],
  })
  class App {}
  const settings: Pick<NestApplicationOptions, 'logger' | 'abortOnError' | 'bodyParser'> = {
    logger: false,
    abortOnError: false,
    bodyParser,
  };
  const app =
    adapter === 'express'
      ? await NestFactory.create<NestExpressApplication>(App, settings)
      : await NestFactory.create<NestFastifyApplication>(
          App,
          adapter === 'http2' ? new FastifyAdapter({ http2: true }) : new FastifyAdapter(),
          settings,
        );
  await prepare(app);
  await app.listen(port, '127.0.0.1');
  const address = app.getHttpServer().address() as AddressInfo;
  const registry = app.get(BatchingRegistry);
  return {
    app,
    url: `http://127.0.0.1:${address.port}`,
    registry,
    ...(isEmpty
      ? { digits: undefined as never, printer: undefined as never }
      : { digits: registry.view(Digits).classify, printer: registry.view(Printer).print }),
  };
}

/** What is tested of a frame. */
export interface Frame {
  epoch: string;
  number: number;
  isWhole: boolean;
  tune: boolean;
  queues: { name: string; ended: number[][]; settings: object; initial: object | null; figures: object }[];
}
