import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type Batched, BatchedService, BatchingModule, InjectBatched } from 'nest-batching';
import { natsTransport } from 'nest-batching/nats';
import { redisTransport } from 'nest-batching/redis';

/** A process of `transports.ts`: ROLE, TRANSPORT, BROKER_URL, REDELIVER_AFTER and RUN_MS are its environment. */

/** `local` does everything itself. */
export type Role = 'web' | 'model' | 'local';

/** Callers who each send the next input of so many bytes when the answer is there, for so many milliseconds. */
export interface Load {
  callers: number;
  milliseconds: number;
  size: number;
}

export interface Seen {
  answers: number;
  wrong: number;
  /** Calls that ended with an error, by its code. */
  errors: Record<string, number>;
  perSecond: number;
  /** Milliseconds. */
  p50: number;
  longest: number;
}

const BATCH_SIZE = 32;

const { ROLE, TRANSPORT, BROKER_URL, REDELIVER_AFTER, RUN_MS } = process.env;

@Injectable()
class Sleeper {
  @BatchedService(BATCH_SIZE, 2, { name: 'bench.numbers' })
  async numbers(inputs: readonly Uint8Array[]): Promise<number[]> {
    await sleep(Number(RUN_MS));
    return inputs.map((input) => Buffer.from(input.buffer, input.byteOffset).readUInt32LE(0));
  }
}

@Injectable()
class Client {
  constructor(@InjectBatched(Sleeper) readonly sleeper: Batched<Sleeper>) {}
}

const settings = { url: BROKER_URL, redeliverAfter: Number(REDELIVER_AFTER), noNodeTimeout: 20_000 };
const nodes = {
  local: { imports: [BatchingModule.forRoot()], providers: [Sleeper, Client] },
  web: {
    imports: [BatchingModule.forRoot({ transport: transport(), remote: [Sleeper] })],
    providers: [Client],
  },
  model: {
    imports: [BatchingModule.forRoot({ transport: transport(), serve: [Sleeper] })],
    providers: [Sleeper],
  },
};

@Module(nodes[ROLE as Role])
class AppModule {}

function transport() {
  return TRANSPORT === 'nats' ? natsTransport(settings) : redisTransport(settings);
}

Logger.overrideLogger(['error']);
const app = await NestFactory.createApplicationContext(AppModule);
process.on('message', (load: Load) => {
  void send(load).then((seen) => process.send?.(seen));
});
process.once('disconnect', () => process.exit());
process.send?.('started');

async function send({ callers, milliseconds, size }: Load): Promise<Seen> {
  const { sleeper } = app.get(Client);
  const latencies: number[] = [];
  const seen: Seen = { answers: 0, wrong: 0, errors: {}, perSecond: 0, p50: 0, longest: 0 };
  let next = 0;
  const began = performance.now();
  const call = async (): Promise<void> => {
    while (performance.now() < began + milliseconds) {
      const number = next++;
      const input = Buffer.alloc(size, 7);
      input.writeUInt32LE(number);
      const sent = performance.now();
      try {
        if ((await sleeper.numbers(input)) === number) seen.answers++;
        else seen.wrong++;
      } catch (error) {
        const code = (error as { code?: string }).code ?? String(error);
        seen.errors[code] = (seen.errors[code] ?? 0) + 1;
      }
      latencies.push(performance.now() - sent);
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  const sorted = latencies.toSorted((a, b) => a - b);
  return {
    ...seen,
    perSecond: seen.answers / ((performance.now() - began) / 1000),
    p50: sorted[sorted.length >> 1] ?? NaN,
    longest: sorted.at(-1) ?? NaN,
  };
}
