import 'reflect-metadata';
import { once } from 'node:events';
import { Health } from '@app/serving';
import { Controller, type DynamicModule, Get, type INestApplication, Inject, Module } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { BatchingRegistry } from 'nest-batching';
import { BatchingHealthIndicator } from 'nest-batching/terminus';
import { DigitClassifier } from '../../demo-api/src/digits/digit-classifier.js';
import type { NodeConfiguration } from './configuration.js';
import { Crowd } from './crowd.js';
import { DigitsController } from './digits.controller.js';
import type { Order } from './messages.js';
import { nodeModules, report, SERVICE, startNode } from './node.js';

/** Milliseconds between two reports. */
const REPORT_EVERY = 100;

@ApiTags('health')
@Controller('health')
class HealthController {
  constructor(
    @Inject(BatchingRegistry) private readonly registry: BatchingRegistry,
    @Inject(BatchingHealthIndicator) private readonly batching: BatchingHealthIndicator,
    @Inject(Health) private readonly health: Health,
  ) {}

  @Get('live')
  live(): Promise<{ status: 'live' }> {
    return this.health.check('live', []);
  }

  /** The broker can be reached, a node serves the digits, and no signal to end has come. */
  @Get('ready')
  ready(): Promise<{ status: 'ready' }> {
    return this.health.check('ready', [
      this.health.server,
      () => this.batching.isHealthy(),
      this.health.indicator('nodes', () => this.#problem()),
    ]);
  }

  #problem(): string | undefined {
    const known = this.registry.transport()?.services.find(({ service }) => service === SERVICE);
    return known && known.nodes.length > 0 ? undefined : `no node serves ${SERVICE}`;
  }
}

/** Has the class, for its type and its marks, and not the network; answers requests as the demo does. */
@Module({ providers: [Crowd], controllers: [DigitsController, HealthController] })
class WebNode {
  static with(configuration: NodeConfiguration): DynamicModule {
    const { imports, providers } = nodeModules(configuration, { remote: [DigitClassifier] });
    return { module: WebNode, imports, providers };
  }
}

/** What the cluster has its web nodes do: a crowd of callers, as long as it says. */
async function sendCrowd(app: INestApplication): Promise<void> {
  const crowd = app.get(Crowd);
  const [{ callers }] = (await once(process, 'message')) as [Exclude<Order, 'end'>];
  process.on('message', () => {
    crowd.end();
  });
  process.once('SIGTERM', () => {
    crowd.end();
  });
  const reports = setInterval(() => {
    report(crowd.progress);
  }, REPORT_EVERY);
  await crowd.send(callers);
  clearInterval(reports);
  report(crowd.progress);
}

await startNode((configuration) => WebNode.with(configuration), process.connected ? sendCrowd : undefined);
