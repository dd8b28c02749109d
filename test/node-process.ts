import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type Batched, BatchedService, BatchingModule, BatchingRegistry, InjectBatched } from 'nest-batching';
import { natsTransport } from 'nest-batching/nats';
import { redisTransport } from 'nest-batching/redis';

/**
 * A web node or a model node as a process of its own, for nodes.e2e.spec.ts: ROLE, BROKER_URL and REDELIVER_AFTER are its
 * environment. A web node sends a crowd when its parent says so, and says what came of it.
 */

/** What a web node is asked for: `count` inputs from `from` on, `inFlight` of them at once. */
export interface Crowd {
  from: number;
  count: number;
  inFlight: number;
}

/** What came of it. */
export interface Outcome {
  right: number;
  wrong: number;
  /** Codes of errors, by input. */
  errors: Record<number, string>;
  /** Milliseconds of the answer that took longest. */
  longest: number;
  /** Inputs delivered again, as the nodes that live say. */
  redelivered: number;
}

/** The input that ends the process that runs it. */
export const POISON = -1;

@Injectable()
export class Doubler {
  @BatchedService(32, 2)
  async double(inputs: number[]): Promise<number[]> {
    if (inputs.includes(POISON)) process.kill(process.pid, 'SIGKILL');
    await sleep(5);
    return inputs.map((each) => each * 2);
  }
}

@Injectable()
class Client {
  constructor(@InjectBatched(Doubler) readonly doubler: Batched<Doubler>) {}
}

const { ROLE, BROKER_URL: url, REDELIVER_AFTER } = process.env;
const settings = { url, redeliverAfter: Number(REDELIVER_AFTER), noNodeTimeout: 20_000 };
const transport = url?.startsWith('nats:') ? natsTransport(settings) : redisTransport(settings);

@Module(
  ROLE === 'web'
    ? { imports: [BatchingModule.forRoot({ transport, remote: [Doubler] })], providers: [Client] }
    : { imports: [BatchingModule.forRoot({ transport, serve: [Doubler] })], providers: [Doubler] },
)
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule);
app.useLogger(['error']);
app.enableShutdownHooks(['SIGTERM']);

async function send({ from, count, inFlight }: Crowd): Promise<Outcome> {
  const { doubler } = app.get(Client);
  const outcome: Outcome = { right: 0, wrong: 0, errors: {}, longest: 0, redelivered: 0 };
  let next = from;
  const caller = async (): Promise<void> => {
    while (next < from + count) {
      const input = next++;
      const began = performance.now();
      try {
        const result = await doubler.double(input);
        if (result === input * 2) outcome.right++;
        else outcome.wrong++;
      } catch (error) {
        outcome.errors[input] = (error as { code?: string }).code ?? String(error);
      }
      outcome.longest = Math.max(outcome.longest, performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  await sleep(300);
  const services = app.get(BatchingRegistry).transport()?.services ?? [];
  outcome.redelivered = services.reduce((sum, { redelivered }) => sum + redelivered, 0);
  return outcome;
}

process.on('message', (crowd: Crowd) => {
  void send(crowd).then((outcome) => process.send?.(outcome));
});
// A node whose parent has gone has nothing left to do.
process.on('disconnect', () => {
  process.exit();
});
process.send?.('started');
