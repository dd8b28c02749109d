import {
  CONFIGURATION,
  configurationModule,
  listen,
  MetricsModule,
  ServingModule,
  shutdownStages,
  start,
} from '@app/serving';
import { type DynamicModule, type INestApplication, Logger } from '@nestjs/common';
import { BatchingModule, type BatchingNodeOptions, type Transport } from 'nest-batching';
import { natsTransport } from 'nest-batching/nats';
import { redisTransport } from 'nest-batching/redis';
import { BatchingHealthIndicator } from 'nest-batching/terminus';
import { createHttpApp } from '../../demo-api/src/http/create-http-app.js';
import { transportOf } from './broker-url.js';
import { type NodeConfiguration, readNodeConfiguration } from './configuration.js';
import type { Report } from './messages.js';

/** What both kinds of nodes are: HTTP servers, if only for health and metrics, that are set up by their environment. */

/** The name of the queue, and of the service between nodes. */
export const SERVICE = 'DigitClassifier.classify';

/** What every node imports. */
export function nodeModules(
  configuration: NodeConfiguration,
  nodes: BatchingNodeOptions,
): Required<Pick<DynamicModule, 'imports' | 'providers'>> {
  const { shutdownTimeout, shutdownDelay, maxQueued, batchSize, maxDelay, dispatch, sloP99 } = configuration;
  const isModelNode = nodes.serve !== undefined;
  return {
    imports: [
      configurationModule(configuration),
      ServingModule.forRoot({ timeout: shutdownTimeout, delay: shutdownDelay }),
      // The load is seen, and the aim held, where the network is.
      MetricsModule.forRoot(isModelNode ? { queues: { [SERVICE]: sloP99 } } : undefined),
      BatchingModule.forRoot({
        ...nodes,
        transport: transport(configuration),
        queues: { [SERVICE]: isModelNode ? { maxQueued, batchSize, maxDelay, dispatch } : { maxQueued } },
        shutdownTimeout: shutdownStages(shutdownTimeout).queues,
      }),
    ],
    providers: [BatchingHealthIndicator],
  };
}

function transport({ brokerUrl, prefix }: NodeConfiguration): Transport {
  const create = transportOf(brokerUrl) === 'nats' ? natsTransport : redisTransport;
  return create({ url: brokerUrl, prefix });
}

/** Starts a node from the environment, and tells the cluster so if that has started it. */
export async function startNode(
  module: (configuration: NodeConfiguration) => DynamicModule,
  then: (app: INestApplication) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  await start(async () => {
    const configuration = readNodeConfiguration(process.env);
    // A node whose cluster has gone has nothing left to do.
    process.once('disconnect', () => process.exit());
    const app = await createHttpApp(module(configuration), configuration);
    const url = await listen(app, app.get<NodeConfiguration>(CONFIGURATION));
    new Logger('Node').log(`listens at ${url}`);
    report('started');
    await then(app);
  });
}

export function report(message: Report): void {
  process.send?.(message);
}
