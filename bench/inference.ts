import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { BackendFigures, ModelFigures } from './inference-backend.js';
import { median, printTable, ratio } from './table.js';

const backends = ['tensorflow', 'webgpu', 'wasm', 'cpu'];

/**
 * `npm run bench:inference [backend…]`: what a network gives on each backend that starts here, one input at a time, in an
 * offline loop of full batches (the limit), through an injected batched method, and through HTTP; what the event loop feels
 * of it; and where the time goes. Each backend has a process of its own, and there everything is measured in turns.
 */
export async function benchInference(wanted: readonly string[] = backends): Promise<void> {
  for (const backend of wanted) {
    const child = fork(new URL('inference-backend.ts', import.meta.url), [backend]);
    const exited = once(child, 'exit') as Promise<[number | null]>;
    const measured = once(child, 'message') as Promise<[BackendFigures | { problem: string }]>;
    const figures = await Promise.race([
      measured.then(([message]) => message),
      exited.then(([code]) => code),
    ]);
    await exited;
    if (typeof figures !== 'object' || figures === null) {
      throw new Error(`the process for ${backend} ended with ${String(figures)} and without figures`);
    }
    if ('problem' in figures) {
      console.log(`\n${backend}: left out. ${figures.problem}`);
    } else {
      print(backend, figures);
    }
  }
}

function print(backend: string, { device, models }: BackendFigures): void {
  console.log(`\n${backend} on ${device}; inputs/s, medians`);
  printTable([
    ['', 'single', 'offline', 'injected', 'HTTP', 'injected / offline', 'injected / single', 'mean batch'],
    ...models.map(({ name, batchSize, single, offline, injected, http, meanBatch }) => [
      `${name}, batches of ${batchSize}`,
      perSecond(single),
      perSecond(offline),
      perSecond(injected),
      http.length > 0 ? perSecond(http) : '',
      ratio(injected, offline),
      ratio(injected, single),
      meanBatch.toFixed(1),
    ]),
  ]);
  console.log(`\nEvent loop's delay p99 under that load, ms; and per batch, ms`);
  printTable([
    ['', 'worker', 'main thread', 'fill', 'wait', 'upload', 'run', 'read', 'answer', 'split'],
    ...models.map(({ name, loopDelay, loopDelayWithout, timings }) => [
      name,
      loopDelay.toFixed(1),
      loopDelayWithout?.toFixed(1) ?? '',
      ...steps.map((step) => (timings[step] / timings.batches).toFixed(3)),
    ]),
  ]);
}

const steps = [
  'fill',
  'wait',
  'upload',
  'run',
  'read',
  'answer',
  'split',
] as const satisfies (keyof ModelFigures['timings'])[];

function perSecond(rounds: readonly number[]): string {
  const value = median(rounds);
  return value.toLocaleString('en', { maximumFractionDigits: value < 100 ? 1 : 0 });
}
