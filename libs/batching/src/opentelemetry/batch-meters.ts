import type { BatchObservableCallback, Histogram, Meter, Observable } from '@opentelemetry/api';
import type { BatchEvent } from '../core/events.js';
import type { ApplicationMetrics } from '../reports/application-metrics.js';
import { METRIC_NAMES, type MetricName, METRICS } from '../reports/metrics.js';
import type { EventListeners } from './batch-events.js';

/**
 * Makes the instruments of all metrics: observable ones, which are read when they are collected, and
 * histograms, into which each batch is recorded, as there are no observable ones.
 */
export class BatchMeters implements EventListeners {
  readonly #sizes: Histogram;
  readonly #waits: Histogram;
  readonly #runs: Histogram;
  #isClosed = false;

  constructor(
    private readonly meter: Meter,
    private readonly metrics: ApplicationMetrics,
  ) {
    this.#sizes = this.#histogram('batching_batch_size');
    this.#waits = this.#histogram('batching_wait_seconds');
    this.#runs = this.#histogram('batching_run_seconds');
    this.#observe();
  }

  readonly 'batch:start' = ({ queue, size, waits }: BatchEvent): void => {
    const labels = { queue: queue.name };
    this.#sizes.record(size, labels);
    for (const wait of waits) this.#waits.record(wait / 1000, labels);
  };

  readonly 'batch:end' = ({ queue, report }: BatchEvent): void => {
    if (report) this.#runs.record(report.ran / 1000, { queue: queue.name });
  };

  /** What was counted is still observed until everything has ended, and then once more: at the end SDKs are flushed last. */
  close(): void {
    this.metrics.close();
    this.#isClosed = true;
  }

  #histogram(name: 'batching_batch_size' | 'batching_wait_seconds' | 'batching_run_seconds'): Histogram {
    const { help, buckets } = METRICS[name];
    return this.meter.createHistogram(name, {
      description: help,
      ...unitOf(name),
      advice: { explicitBucketBoundaries: [...buckets] },
    });
  }

  #observe(): void {
    const instruments = new Map<string, Observable>();
    for (const name of METRIC_NAMES) {
      const { type, help } = METRICS[name];
      const options = { description: help, ...unitOf(name) };
      if (type === 'gauge') {
        instruments.set(name, this.meter.createObservableGauge(name, options));
      } else if (type === 'counter') {
        instruments.set(name, this.meter.createObservableCounter(name, options));
      } else if (type === 'summary') {
        instruments.set(`${name}_sum`, this.meter.createObservableCounter(`${name}_sum`, options));
        const count = { description: `${help}; their number` };
        instruments.set(`${name}_count`, this.meter.createObservableCounter(`${name}_count`, count));
      }
    }
    const observables = [...instruments.values()];
    const callback: BatchObservableCallback = async (result) => {
      const isLast = this.#isClosed && this.metrics.isOver;
      for (const [name, samples] of await this.metrics.read()) {
        for (const { labels, value, count } of samples) {
          const instrument = instruments.get(name);
          if (instrument) result.observe(instrument, value, labels);
          const [sum, number] = [instruments.get(`${name}_sum`), instruments.get(`${name}_count`)];
          if (sum) result.observe(sum, value, labels);
          if (number && count !== undefined) result.observe(number, count, labels);
        }
      }
      if (isLast) this.meter.removeBatchObservableCallback(callback, observables);
    };
    this.meter.addBatchObservableCallback(callback, observables);
  }
}

function unitOf(name: MetricName): { unit?: string } {
  if (name.includes('_seconds')) return { unit: 's' };
  return name.endsWith('_bytes') ? { unit: 'By' } : {};
}
