import { type ChildOptions, runChild } from './child.js';
import { type DeviceLimits, limitRows } from './device-limits.js';
import type { BackendMessage, ModelFigures } from './inference-backend.js';
import { median, printTable, ratio } from './table.js';

export const inferenceBackends: readonly string[] = [
  'onnx-cuda',
  'onnx-webgpu',
  'onnx-cpu',
  'tensorflow',
  'webgpu',
  'wasm',
  'cpu',
];

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
  /** Leaves out HTTP, and numbers of workers between one and `auto`. */
  quick?: boolean;
}

/**
 * `npm run bench:inference [quick] [backend…]`: what a network gives on each backend that starts here, with one inference worker,
 * with `workers: 'auto'` and with what lies between, for one batch at a time and for several: one input at a time, in an offline loop
 * of full batches in each worker's thread (the limit), through an injected batched method, and through HTTP; how long one full batch
 * takes; what the event loop feels of it; where the time goes; and what the device can do at most. Each backend has a process of its
 * own, and there everything is measured in turns. `quick` takes under 90 seconds for `onnx-cpu` and `wasm`, which are then the default.
 */
export async function benchInference(backends: readonly string[], quick = false): Promise<void> {
  const effort = quick ? { rounds: 3, roundMs: 200, quick } : { rounds: 3, roundMs: 1500 };
  for (const backend of backends) {
    const figures = await measureBackend(backend, effort);
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
  { rounds, roundMs, quick }: Effort,
  options: Pick<ChildOptions<never>, 'env' | 'timeLimit' | 'signal'> = {},
): Promise<BackendFigures> {
  const figures: BackendFigures = { backend, models: [] };
  figures.failed = await runChild<BackendMessage>('inference-backend', {
    args: [backend, String(rounds), String(roundMs), quick ? 'quick' : ''],
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
            'at a time',
            'single',
            'offline',
            'injected',
            'HTTP',
            'injected / offline',
            'injected / single',
            'injected / one worker',
            'mean batch',
            'one batch, ms',
            '/ one worker',
          ],
          ...models.map((figures) => {
            const { workers, concurrency, single, offline, injected, http, meanBatch, latency } = figures;
            const alone = ofOneWorker(models, figures);
            return [
              networkOf(figures),
              String(workers),
              String(concurrency),
              perSecond(single),
              perSecond(offline),
              perSecond(injected),
              http.length > 0 ? perSecond(http) : '',
              ratio(injected, offline),
              ratio(injected, single),
              alone ? ratio(injected, alone.injected) : '',
              meanBatch.toFixed(1),
              median(latency).toFixed(2),
              alone ? ratio(latency, alone.latency) : '',
            ];
          }),
        ],
      },
      {
        title: `${backend}: event loop's delay p99 under that load, ms; and per part of a batch, ms`,
        rows: [
          ['network', 'workers', 'at a time', 'with workers', 'main thread', ...steps],
          ...models.map((figures) => [
            networkOf(figures),
            String(figures.workers),
            String(figures.concurrency),
            figures.loopDelay.toFixed(1),
            figures.loopDelayWithout?.toFixed(1) ?? '',
            ...steps.map((step) => (figures.timings[step] / figures.timings.batches).toFixed(3)),
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

function networkOf({ name, batchSize }: ModelFigures): string {
  return `${name}, batches of ${batchSize}`;
}

/** The row of one worker to compare with: with two batches at a time unless it has one. */
function ofOneWorker(
  models: readonly ModelFigures[],
  { name, batchSize, workers, concurrency }: ModelFigures,
): ModelFigures | undefined {
  if (workers === 1) return undefined;
  return models.find(
    (one) =>
      one.name === name &&
      one.batchSize === batchSize &&
      one.workers === 1 &&
      one.concurrency === Math.min(concurrency, 2),
  );
}

function perSecond(rounds: readonly number[]): string {
  const value = median(rounds);
  return value.toLocaleString('en', { maximumFractionDigits: value < 100 ? 1 : 0 });
}
