import { type DynamicModule, type INestApplicationContext, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type Batched, BatchedService, BatchingModule, getBatchedToken } from 'nest-batching';
import { natsTransport } from 'nest-batching/nats';
import { redisTransport } from 'nest-batching/redis';
import {
  BATCH_SIZE,
  type Call,
  MAX_DELAY,
  REDELIVER_AFTER,
  type Run,
  type System,
} from './transports-load.js';

/** Set where the inputs are run. */
let runHere: Run | undefined;

@Injectable()
class Sleeper {
  @BatchedService(BATCH_SIZE, MAX_DELAY, { name: 'bench.numbers' })
  async numbers(inputs: readonly Uint8Array[]): Promise<number[]> {
    return runHere?.(inputs) ?? [];
  }
}

@Module({})
class AppModule {}

const settingsOf = (url: string) => ({ url, redeliverAfter: REDELIVER_AFTER, noNodeTimeout: 20_000 });

export const redis = over((url) => redisTransport(settingsOf(url)));
export const nats = over((url) => natsTransport(settingsOf(url)));

let app: INestApplicationContext | undefined;

/** Everything in one process. */
export const local: System = {
  model: async (_, run) => {
    runHere = run;
    app = await start({ imports: [BatchingModule.forRoot()], providers: [Sleeper] });
  },
  web: () => callOf(app),
};

function over(transportOf: (url: string) => ReturnType<typeof redisTransport>): System {
  return {
    web: async (url) =>
      callOf(
        await start({
          imports: [BatchingModule.forRoot({ transport: transportOf(url), remote: [Sleeper] })],
        }),
      ),
    model: async (url, run) => {
      runHere = run;
      await start({
        imports: [BatchingModule.forRoot({ transport: transportOf(url), serve: [Sleeper] })],
        providers: [Sleeper],
      });
    },
  };
}

async function start(imported: Omit<DynamicModule, 'module'>) {
  return NestFactory.createApplicationContext({ module: AppModule, ...imported });
}

function callOf(started: INestApplicationContext | undefined): Call {
  if (!started) throw new Error('nothing was started');
  const sleeper = started.get<Batched<Sleeper>>(getBatchedToken(Sleeper));
  return (input) => sleeper.numbers(input);
}
