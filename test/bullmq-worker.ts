import 'reflect-metadata';
import { setTimeout } from 'node:timers/promises';
import { Global, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Redis } from 'ioredis';
import { type Article, SearchEngine, WorkerModule } from '../docs/examples/bullmq.js';

/**
 * The worker of docs/examples/bullmq.ts as a process. Its search engine is in the same Redis: the list `batches` says what
 * each request holds when it begins, and the hash `written` counts how often each article has been written.
 */
const redis = new Redis(String(process.env.REDIS_URL));

class Engine extends SearchEngine {
  async bulk(articles: readonly Article[]) {
    await redis.rpush('batches', JSON.stringify(articles.map(({ id }) => id)));
    await setTimeout(50);
    return Promise.all(articles.map(async ({ id, text }) => ({ id, status: await statusOf(id, text) })));
  }
}

async function statusOf(id: string, text: string): Promise<number> {
  if (text === '') return 400;
  if (text === 'too busy at first' && (await redis.hsetnx('refused', id, 1)) === 1) return 503;
  await redis.hincrby('written', id, 1);
  return 200;
}

@Global()
@Module({ providers: [{ provide: SearchEngine, useClass: Engine }], exports: [SearchEngine] })
class EngineModule {}

@Module({ imports: [EngineModule, WorkerModule] })
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule);
app.enableShutdownHooks(['SIGTERM']);
