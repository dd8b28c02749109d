import { Counter, Gauge, Histogram, type Registry, Summary } from 'prom-client';
import type { ApplicationMetrics } from '../reports/application-metrics.js';
import {
  isCumulative,
  METRIC_NAMES,
  type MetricDefinition,
  type MetricName,
  METRICS,
  type Sample,
  type Samples,
} from '../reports/metrics.js';

const FIRST: MetricName = 'batching_submitted_total';

/** Reads the values of a metric when the registry is asked for them. */
type Read = () => Promise<readonly Sample[]>;

/**
 * The metrics of one prefix in one registry of prom-client, which are registered once. They show what the
 * applications that have been added say together. Counts of those that have been closed since are in the sums, so
 * counters never decrease.
 */
export class RegisteredMetrics {
  readonly #applications = new Map<object, ApplicationMetrics>();
  /** Those that are closed, until all that they have accepted has ended. */
  readonly #closing = new Set<ApplicationMetrics>();
  /** Counts of those of which nothing else is kept. */
  #past: Samples = new Map();
  /** The first metric, once all are registered. */
  #registered: unknown;
  /** The reading for all metrics of one scrape. */
  #reading: Promise<Samples> | undefined;

  constructor(
    private readonly registry: Registry,
    private readonly prefix: string,
  ) {}

  /**
   * Adds an application, and registers the metrics where they are not.
   *
   * @param key what the application is recognised by
   * @throws Error if it has been added already, or if the registry has other metrics of these names
   */
  add(key: object, metrics: ApplicationMetrics): void {
    if (this.#applications.has(key)) {
      throw new Error(
        'BatchingMetricsModule is imported twice with the same registry and prefix: import it once, in the root module',
      );
    }
    // Another module of the application may have cleared the registry.
    if (!this.#first || this.#first !== this.#registered) this.#register();
    this.#applications.set(key, metrics);
  }

  /** The application has been closed: its gauges end, and its counts stay. */
  close(key: object): void {
    const metrics = this.#applications.get(key);
    if (!metrics) return;
    metrics.close();
    this.#applications.delete(key);
    this.#closing.add(metrics);
  }

  /** What the registry has under the first of the names; that may be a metric of the application. */
  get #first(): unknown {
    return this.registry.getSingleMetric(`${this.prefix}${FIRST}`);
  }

  #register(): void {
    for (const name of METRIC_NAMES) this.#registerMetric(name);
    this.#registered = this.#first;
  }

  #registerMetric(name: MetricName): void {
    const { type, help, labels: labelNames, together }: MetricDefinition = METRICS[name];
    const read: Read = async () => (await this.#read()).get(name) ?? [];
    const config = { name: this.prefix + name, help, labelNames, registers: [this.registry] };
    switch (type) {
      case 'counter':
        new Counter({
          ...config,
          async collect() {
            const samples = await read();
            this.reset();
            for (const { labels, value } of samples) this.inc(labels, value);
          },
        });
        break;
      case 'gauge':
        new Gauge({
          ...config,
          aggregator: together ?? 'sum',
          async collect() {
            const samples = await read();
            this.reset();
            for (const { labels, value } of samples) this.set(labels, value);
          },
        });
        break;
      case 'histogram':
        new ReadHistogram({ ...config, buckets: [...METRICS[name as 'batching_batch_size'].buckets] }, read);
        break;
      case 'summary':
        new ReadSummary({ ...config, percentiles: [] }, read);
    }
  }

  /** Reads all metrics of one scrape at once, so that they agree with each other. */
  #read(): Promise<Samples> {
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readAll(): Promise<Samples> {
    const closing = await Promise.all(
      Array.from(this.#closing, async (metrics) => {
        const isOver = metrics.isOver;
        return { metrics, isOver, samples: countsOf(await metrics.read()) };
      }),
    );
    const open = await Promise.all(Array.from(this.#applications.values(), (metrics) => metrics.read()));
    for (const { metrics, isOver, samples } of closing) {
      if (!isOver || !this.#closing.delete(metrics)) continue;
      this.#past = join([this.#past, samples]);
    }
    const unfinished = closing.filter(({ metrics }) => this.#closing.has(metrics));
    return join([this.#past, ...unfinished.map(({ samples }) => samples), ...open]);
  }
}

/** What does not end with its application. */
function countsOf(samples: Samples): Samples {
  return new Map([...samples].filter(([name]) => isCumulative(name)));
}

/** What all say together, for equal labels. */
function join(all: readonly Samples[]): Samples {
  const joined = new Map<MetricName, Map<string, Sample[]>>();
  for (const samples of all) {
    for (const [name, list] of samples) {
      const byLabels = joined.get(name) ?? new Map<string, Sample[]>();
      joined.set(name, byLabels);
      for (const sample of list) {
        const key = JSON.stringify(sample.labels);
        byLabels.set(key, [...(byLabels.get(key) ?? []), sample]);
      }
    }
  }
  return new Map(
    Array.from(joined, ([name, byLabels]) => [
      name,
      Array.from(byLabels.values(), (same) => one(name, same)),
    ]),
  );
}

function one(name: MetricName, samples: readonly Sample[]): Sample {
  const { together }: MetricDefinition = METRICS[name];
  const sum = samples.reduce(plus);
  if (together === undefined) return sum;
  if (together === 'average') return { ...sum, value: sum.value / samples.length };
  return { ...sum, value: Math[together](...samples.map(({ value }) => value)) };
}

function plus(one: Sample, other: Sample): Sample {
  const { labels, value, count, counts } = other;
  return {
    labels,
    value: one.value + value,
    ...(count === undefined ? {} : { count: (one.count ?? 0) + count }),
    ...(counts && { counts: counts.map((inBucket, place) => inBucket + (one.counts?.[place] ?? 0)) }),
  };
}

type Values = Awaited<ReturnType<Histogram['get']>>;

/** A histogram whose buckets are counted elsewhere: observing each input here would cost more than queueing it. */
class ReadHistogram extends Histogram {
  readonly #read: Read;
  readonly #config: ConstructorParameters<typeof Histogram>[0];

  constructor(config: ConstructorParameters<typeof Histogram>[0], read: Read) {
    super(config);
    this.#config = config;
    this.#read = read;
  }

  override async get(): Promise<Values> {
    const { name, buckets = [] } = this.#config;
    const metricName = `${name}_bucket`;
    const values = (await this.#read()).flatMap((sample) => [
      ...buckets.map((le, place) => ({
        metricName,
        labels: { le, ...sample.labels },
        value: sample.counts?.[place] ?? 0,
      })),
      { metricName, labels: { le: '+Inf', ...sample.labels }, value: sample.count ?? 0 },
      ...sumAndCount(name, sample),
    ]);
    return describe(this.#config, 'histogram', values);
  }

  /** What the registry calls instead of `get` to make text. */
  getForPromString(): Promise<Values> {
    return this.get();
  }
}

/** A summary without quantiles: sum and count, from which means are made. */
class ReadSummary extends Summary {
  readonly #read: Read;
  readonly #config: ConstructorParameters<typeof Summary>[0];

  constructor(config: ConstructorParameters<typeof Summary>[0], read: Read) {
    super(config);
    this.#config = config;
    this.#read = read;
  }

  override async get(): Promise<Values> {
    const { name } = this.#config;
    const values = (await this.#read()).flatMap((sample) => sumAndCount(name, sample));
    return describe(this.#config, 'summary', values);
  }
}

function sumAndCount(name: string, { labels, value, count = 0 }: Sample): Values['values'] {
  return [
    { metricName: `${name}_sum`, labels, value },
    { metricName: `${name}_count`, labels, value: count },
  ];
}

function describe(
  { name, help }: { name: string; help: string },
  type: 'histogram' | 'summary',
  values: Values['values'],
): Values {
  // The type declares `type` as the number of an enum, and it is a string.
  return { name, help, type, values, aggregator: 'sum', collect: () => undefined } as unknown as Values;
}
