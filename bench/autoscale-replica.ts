import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { BatchedService, BatchingModule, BatchingRegistry } from 'nest-batching';
import { BatchingMetricsModule } from 'nest-batching/prometheus';
import { Registry } from 'prom-client';
import {
  AIM,
  ALPHA,
  BATCH_SIZE,
  BETA,
  type FromReplica,
  MAX_QUEUED,
  type ToReplica,
} from './autoscale-load.js';

/** One replica of `npm run bench autoscale`: a queue in front of a device that sleeps, and its metrics. */

@Injectable()
class Device {
  @BatchedService(BATCH_SIZE, 5, { maxQueued: MAX_QUEUED })
  async run(inputs: readonly number[]): Promise<readonly number[]> {
    await sleep(ALPHA * inputs.length + BETA);
    return inputs;
  }
}

const registry = new Registry();
const window = Number(process.argv[2]);

@Module({
  imports: [BatchingModule.forRoot(), BatchingMetricsModule.forRoot({ registry, slo: { p99: AIM }, window })],
  providers: [Device],
})
class ReplicaModule {}

Logger.overrideLogger(['error', 'warn']);
const app = await NestFactory.createApplicationContext(ReplicaModule);
const queue = app.get(BatchingRegistry).get('Device.run');
let cpu = process.cpuUsage();
let readAt = performance.now();

process.on('message', (message: ToReplica) => {
  if ('input' in message) void answer(message.input);
  else if ('read' in message) void report();
  else void stop();
});
process.once('disconnect', () => process.exit());
send({ ready: true });

function send(message: FromReplica): void {
  if (process.connected) process.send?.(message);
}

async function answer(input: number): Promise<void> {
  try {
    await queue.submit(input);
    send({ input, ok: true });
  } catch {
    send({ input, ok: false });
  }
}

async function report(): Promise<void> {
  const needed = await registry.getSingleMetric('batching_replicas_needed')?.get();
  const used = process.cpuUsage(cpu);
  const elapsed = performance.now() - readAt;
  cpu = process.cpuUsage();
  readAt = performance.now();
  send({
    needed: needed?.values[0]?.value ?? 0,
    waiting: queue.stats().waiting,
    cpu: (used.user + used.system) / 1000 / elapsed,
  });
}

async function stop(): Promise<void> {
  await app.close();
  process.disconnect();
}
