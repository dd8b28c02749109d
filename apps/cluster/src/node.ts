import { type INestApplicationContext, Logger, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Transport } from 'nest-batching';
import { natsTransport } from 'nest-batching/nats';
import { redisTransport } from 'nest-batching/redis';
import type { Report } from './messages.js';

/** What both kinds of nodes do: they are processes with TRANSPORT, BROKER_URL and PREFIX as their environment. */

const { TRANSPORT, BROKER_URL, PREFIX } = process.env;

export function transport(): Transport {
  return (TRANSPORT === 'nats' ? natsTransport : redisTransport)({ url: BROKER_URL, prefix: PREFIX });
}

/** Starts the application, and tells the cluster so. */
export async function startNode(module: Type): Promise<INestApplicationContext> {
  // Ctrl+C in a terminal reaches every process; the cluster ends its nodes itself.
  process.on('SIGINT', () => undefined);
  // A node whose cluster has gone has nothing left to do.
  process.once('disconnect', () => process.exit());
  Logger.overrideLogger(['error']);
  const app = await NestFactory.createApplicationContext(module);
  app.enableShutdownHooks(['SIGTERM']);
  report('started');
  return app;
}

export function report(message: Report): void {
  process.send?.(message);
}
