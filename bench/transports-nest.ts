import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  type ClientOptions,
  ClientProxyFactory,
  Ctx,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  RmqContext,
  Transport,
} from '@nestjs/microservices';
import { BatchQueue } from 'nest-batching/core';
import { firstValueFrom, timeout } from 'rxjs';
import { BATCH_SIZE, LOST_AFTER, MAX_DELAY, PREFETCH, type Run, type System } from './transports-load.js';

/**
 * Nest's own transports, with a queue of this library in the handler. They write JSON, so inputs travel as base64: a Buffer would be a list
 * of numbers.
 */
export const nestNats = over((url) => ({
  transport: Transport.NATS,
  // Of the processes that listen, one gets each message.
  options: { servers: [url], queue: 'nodes' },
}));

/** Publishes each message to every process that listens: with two, everything is run twice. */
export const nestRedis = over((url) => {
  const { hostname, port } = new URL(url);
  return { transport: Transport.REDIS, options: { host: hostname, port: Number(port) } };
});

/** Acknowledged when it has ended, so that what a process had when it died is delivered again. */
export const nestRmq = over((url, role) => ({
  transport: Transport.RMQ,
  options: {
    urls: [url],
    queue: 'numbers',
    queueOptions: { durable: false },
    noAck: role === 'web',
    prefetchCount: PREFETCH,
    // Else a round trip is 50 ms.
    socketOptions: { connectionOptions: { noDelay: true } },
  },
}));

const PATTERN = 'number';
let batches: BatchQueue<Uint8Array, number> | undefined;

@Controller()
class Numbers {
  @MessagePattern(PATTERN)
  async number(@Payload() text: string, @Ctx() context: unknown): Promise<number | undefined> {
    try {
      return await batches?.submit(Buffer.from(text, 'base64'));
    } finally {
      if (context instanceof RmqContext) {
        const channel = context.getChannelRef() as { ack(message: unknown): void };
        channel.ack(context.getMessage());
      }
    }
  }
}

@Module({ controllers: [Numbers] })
class NumbersModule {}

function over(optionsOf: (url: string, role: 'web' | 'model') => MicroserviceOptions): System {
  return {
    web: async (url) => {
      const client = ClientProxyFactory.create(optionsOf(url, 'web') as ClientOptions);
      await client.connect();
      return (input) =>
        firstValueFrom(
          client.send<number, string>(PATTERN, input.toString('base64')).pipe(timeout(LOST_AFTER)),
        );
    },
    model: async (url, run: Run) => {
      batches = new BatchQueue(run, { batchSize: BATCH_SIZE, maxDelay: MAX_DELAY });
      // They are plain objects: the rule takes a class of Nest's types for one to be constructed.
      // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
      const app = await NestFactory.createMicroservice<object>(NumbersModule, optionsOf(url, 'model'));
      await app.listen();
    },
  };
}
