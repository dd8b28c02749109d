import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { INestApplication } from '@nestjs/common';
import { type Batched, getBatchedToken } from 'nest-batching';
import { loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import type * as ConfigurationFile from '../apps/demo-api/src/configuration.js';
import type * as CreateAppFile from '../apps/demo-api/src/create-app.js';
import type { DigitClassifier } from '../apps/demo-api/src/digits/digit-classifier.js';
import type * as DigitClassifierFile from '../apps/demo-api/src/digits/digit-classifier.js';
import type * as DigitsNetworkFile from '../apps/demo-api/src/digits/digits-network.js';
import { CpuProfile } from './cpu-profile.js';

/** What is served: the demo on one of Nest's adapters, or `bare`: the same answers from Node's HTTP server, nothing read in them. */
export type Served = 'express' | 'fastify' | 'bare';

/** What the bench asks of this process, one at a time. Each has one answer. */
export type Request =
  { begin: { profile: boolean } } | { end: true } | { injected: { callers: number; ms: number } };

/** The answer to `end`: what happened since `begin`. */
export interface Spent {
  /** Share of the time in which the event loop was busy. */
  busy: number;
  ms: number;
  batches: number;
  inputs: number;
  /** Milliseconds in inference workers, together. */
  model: number;
  /** Milliseconds of the main thread by group, if a profile was asked for. */
  profile?: Record<string, number>;
}

// The built ones: what runs the bench cannot compile decorators with their types.
const built = '../dist/demo-api/apps/demo-api/src';

const served = process.argv[2] as Served;
const app = served === 'bare' ? undefined : await startDemo(served);
const server = app ? (app.getHttpServer() as Server) : await startBare();
const model = app && (await networkOf(app));
const profile = new CpuProfile();
let before = { ...counters(), loop: performance.eventLoopUtilization(), at: performance.now() };
let isProfiled = false;

process.on('message', (request: Request) => {
  void answer(request).then((reply) => process.send?.(reply));
});
process.once('disconnect', () => process.exit());
process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);

async function answer(request: Request): Promise<Spent | number | true> {
  if ('injected' in request) return injectedRate(request.injected);
  if ('begin' in request) {
    isProfiled = request.begin.profile;
    if (isProfiled) await profile.start();
    before = { ...counters(), loop: performance.eventLoopUtilization(), at: performance.now() };
    return true;
  }
  const now = counters();
  const spent = {
    busy: performance.eventLoopUtilization(before.loop).utilization,
    ms: performance.now() - before.at,
    batches: now.batches - before.batches,
    inputs: now.inputs - before.inputs,
    model: now.model - before.model,
  };
  return isProfiled ? { ...spent, profile: await profile.stop() } : spent;
}

function counters(): Pick<Spent, 'batches' | 'inputs' | 'model'> {
  if (!model) return { batches: 0, inputs: 0, model: 0 };
  const { batches, inputs, upload, run, read } = model.timings;
  return { batches, inputs, model: upload + run + read };
}

/** Callers in this process that each ask again when they have their answer; digits per second. */
async function injectedRate({ callers, ms }: { callers: number; ms: number }): Promise<number> {
  const { DigitClassifier } = (await import(
    `${built}/digits/digit-classifier.js`
  )) as typeof DigitClassifierFile;
  const queue = app?.get<Batched<DigitClassifier>>(getBatchedToken(DigitClassifier), { strict: false });
  if (!queue) throw new Error('the bare server has no network');
  const digits = (await loadTestDigits()).slice(0, 64);
  const start = performance.now();
  let answers = 0;
  const caller = async (_: unknown, first: number) => {
    for (let i = first; performance.now() - start < ms; i++) {
      const { pixels, label } = digits[i % digits.length] ?? { pixels: new Uint8Array(), label: NaN };
      const { digit } = await queue.classify(pixels);
      if (digit !== label) throw new Error(`a ${label} was read as a ${digit}`);
      answers++;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return (answers * 1000) / (performance.now() - start);
}

async function startDemo(adapter: 'express' | 'fastify'): Promise<INestApplication> {
  const { readConfiguration } = (await import(`${built}/configuration.js`)) as typeof ConfigurationFile;
  const { createApp } = (await import(`${built}/create-app.js`)) as typeof CreateAppFile;
  const environment = { ...process.env, HTTP_ADAPTER: adapter, LOG_LEVEL: 'error' };
  const demo = await createApp(readConfiguration(environment));
  await demo.listen(0, '127.0.0.1');
  return demo;
}

async function networkOf(demo: INestApplication): Promise<DigitsNetworkFile.DigitsNetwork> {
  const { DIGITS_NETWORK } = (await import(`${built}/digits/digits-network.js`)) as typeof DigitsNetworkFile;
  return demo.get<DigitsNetworkFile.DigitsNetwork>(DIGITS_NETWORK, { strict: false });
}

async function startBare(): Promise<Server> {
  // As long as the demo's.
  const scores = Array.from({ length: 10 }, (_, i) => Math.fround(1e-7 * (i + 1.1)));
  const one = { digit: 0, confidence: 0.9999998807907104, scores };
  const answers = {
    one: JSON.stringify(one),
    many: JSON.stringify(Array.from({ length: 64 }, () => one)),
  };
  const bare = createServer((request, response) => {
    request.resume().once('end', () => {
      response.setHeader('Content-Type', 'application/json; charset=utf-8');
      response.end(request.url === '/digits/many' ? answers.many : answers.one);
    });
  });
  await new Promise<void>((resolve) => bare.listen(0, '127.0.0.1', resolve));
  return bare;
}
