import { type ChildOptions, runChild } from './child.js';
import { type DeviceLimits, limitRows } from './device-limits.js';
import type { BackendMessage, ModelFigures } from './inference-backend.js';
import { median, printTable, ratio } from './table.js';

export const inferenceBackends: readonly string[] = ['tensorflow', 'webgpu', 'wasm', 'cpu'];

export interface BackendFigures {
  backend: string;
  /** What does the arithmetic, in words. */
  device?: string;
  models: ModelFigures[];
  limits?: DeviceLimits;
  /** Why the backend cannot start here. */
  leftOut?: string;
  /** Why the figures are not complete. */
  failed?: string;
}

/** How much to measure. */
export interface Effort {
  rounds: number;
  roundMs: number;
}

/**
 * `npm run bench:inference [backend…]`: what a network gives on each backend that starts here, with one inference worker and
 * with `workers: 'auto'`, one input at a time, in an offline loop of full batches in each worker's thread (the limit), through an injected batched method, and through HTTP; what the event loop feels
 * of it; where the time goes; and what the device can do at most. Each backend has a process of its own, and there
 * everything is measured in turns.
 */
export async function benchInference(backends: readonly string[]): Promise<void> {
  for (const backend of backends) {
    const figures = await measureBackend(backend, { rounds: 3, roundMs: 1500 });
    if (figures.failed) throw new Error(`${backend}: ${figures.failed}`);
    if (figures.leftOut) console.log(`\n${backend}: left out. ${figures.leftOut}`);
    for (const { title, rows } of tablesOf(figures)) {
      console.log(`\n${title}`);
      printTable(rows);
    }
  }
}

/** Measures one backend, in a process of its own. What was measured until it failed is kept. Never rejects. */
export async function measureBackend(
  backend: string,
  { rounds, roundMs }: Effort,
  options: Pick<ChildOptions<never>, 'env' | 'timeLimit' | 'signal'> = {},
): Promise<BackendFigures> {
  const figures: BackendFigures = { backend, models: [] };
  figures.failed = await runChild<BackendMessage>('inference-backend', {
    args: [backend, String(rounds), String(roundMs)],
    onMessage: (message) => {
      if ('model' in message) {
        figures.device = message.device;
        figures.models.push(message.model);
      } else {
        Object.assign(figures, message);
      }
    },
    ...options,
  });
  return figures;
}

/** The tables of a backend that started, the first row of each being its head. */
export function tablesOf({ backend, device, models, limits }: BackendFigures): {
  title: string;
  rows: string[][];
}[] {
  const tables: { title: string; rows: string[][] }[] = [];
  if (models.length > 0) {
    tables.push(
      {
        title: `${backend} on ${device ?? ''}; inputs/s, medians`,
        rows: [
          [
            'network',
            'workers',
            'single',
            'offline',
            'injected',
            'HTTP',
            'injected / offline',
            'injected / single',
            'mean batch',
          ],
          ...models.map(({ name, batchSize, workers, single, offline, injected, http, meanBatch }) => [
            `${name}, batches of ${batchSize}`,
            String(workers),
            perSecond(single),
            perSecond(offline),
            perSecond(injected),
            http.length > 0 ? perSecond(http) : '',
            ratio(injected, offline),
            ratio(injected, single),
            meanBatch.toFixed(1),
          ]),
        ],
      },
      {
        title: `${backend}: event loop's delay p99 under that load, ms; and per batch, ms`,
        rows: [
          ['network', 'workers', 'with workers', 'main thread', ...steps],
          ...models.map(({ name, batchSize, workers, loopDelay, loopDelayWithout, timings }) => [
            `${name}, batches of ${batchSize}`,
            String(workers),
            loopDelay.toFixed(1),
            loopDelayWithout?.toFixed(1) ?? '',
            ...steps.map((step) => (timings[step] / timings.batches).toFixed(3)),
          ]),
        ],
      },
    );
  }
  if (limits) {
    const { bandwidth, products } = limitRows(limits);
    tables.push(
      { title: `${backend}: the device's limits through TensorFlow.js, GB/s`, rows: bandwidth },
      { title: `${backend}: the device's limits through TensorFlow.js, GFLOP/s`, rows: products },
    );
  }
  return tables;
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
