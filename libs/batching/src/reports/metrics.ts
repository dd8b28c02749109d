/** What is said of a metric, whatever exports it. */
export interface MetricDefinition {
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram. */
  readonly buckets?: readonly number[];
  /** What several applications of one process, or the processes of a cluster, say together. Default: their sum. */
  readonly together?: 'average' | 'max' | 'min';
}

/** Seconds, from half a millisecond to half a minute. */
const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

const queue = ['queue'];
const runtime = ['runtime'];

/** Every metric, by its name without prefix. docs/metrics.md has them with their use. */
export const METRICS = {
  batching_submitted_total: {
    type: 'counter',
    help: 'Inputs submitted, refused ones included',
    labels: queue,
  },
  batching_coalesced_total: {
    type: 'counter',
    help: 'Inputs that joined another one with the same key',
    labels: queue,
  },
  batching_items_total: {
    type: 'counter',
    help: 'Inputs that ran, by outcome: result, error or, if the caller gave up meanwhile, aborted',
    labels: ['queue', 'outcome'],
  },
  batching_dropped_total: {
    type: 'counter',
    help: 'Inputs that left without running, by reason: aborted, timeout, full or stopped',
    labels: ['queue', 'reason'],
  },
  batching_batches_total: {
    type: 'counter',
    help: 'Batches that left, by reason: size, delay, idle or drain',
    labels: ['queue', 'reason'],
  },
  batching_batch_size: {
    type: 'histogram',
    help: 'Inputs per batch',
    labels: queue,
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096],
  },
  batching_wait_seconds: {
    type: 'histogram',
    help: 'Time from submission until the batch left, per input that ran',
    labels: queue,
    buckets: SECONDS,
  },
  batching_run_seconds: {
    type: 'histogram',
    help: 'Time that the batch function took, per batch',
    labels: queue,
    buckets: SECONDS,
  },
  batching_waiting_items: { type: 'gauge', help: 'Inputs that wait for a batch', labels: queue },
  batching_blocked_items: { type: 'gauge', help: 'Inputs that wait for room in a full queue', labels: queue },
  batching_running_batches: { type: 'gauge', help: 'Batches that run', labels: queue },
  batching_utilization: {
    type: 'gauge',
    help: 'Share of the time of all slots (concurrency) in which batches ran recently, 0 to 1',
    labels: queue,
    together: 'average',
  },
  batching_replicas_needed: {
    type: 'gauge',
    help: 'Replicas like this one that the load arriving here needs to hold the aim; sum it over all replicas',
    labels: queue,
  },
  batching_slo_seconds: {
    type: 'gauge',
    help: 'The aim for the p99 of the latency',
    labels: queue,
    together: 'max',
  },
  batching_model_seconds: {
    type: 'summary',
    help: 'Time that predictions took, by step; the count is of batches',
    labels: ['model', 'step'],
  },
  batching_model_inputs_total: {
    type: 'counter',
    help: 'Inputs of predictions, without padding',
    labels: ['model'],
  },
  batching_model_ready: {
    type: 'gauge',
    help: '1 while the model is loaded, warmed up, tested and answers, else 0',
    labels: ['model'],
    together: 'min',
  },
  batching_model_restarts_total: {
    type: 'counter',
    help: 'Times that an inference worker was started again',
    labels: runtime,
  },
  batching_model_tensors: { type: 'gauge', help: 'Tensors of all models', labels: runtime },
  batching_model_bytes: { type: 'gauge', help: 'Bytes of the tensors of all models', labels: runtime },
  batching_transport_connected: {
    type: 'gauge',
    help: '1 while the broker can be reached, else 0',
    labels: ['transport'],
    together: 'min',
  },
  batching_transport_waiting_items: {
    type: 'gauge',
    help: 'Inputs that wait in the broker; every node says the same, so take the maximum',
    labels: ['service'],
    together: 'max',
  },
  batching_transport_nodes: {
    type: 'gauge',
    help: 'Nodes that serve the service, as this one knows; take the maximum',
    labels: ['service'],
    together: 'max',
  },
  batching_transport_calls: {
    type: 'gauge',
    help: 'Calls of this node that have not ended',
    labels: ['service'],
  },
  batching_redelivered_total: {
    type: 'counter',
    help: 'Inputs that this node was given after another node had them',
    labels: ['service'],
  },
} as const satisfies Record<string, MetricDefinition>;

export type MetricName = keyof typeof METRICS;

export const METRIC_NAMES = Object.keys(METRICS) as MetricName[];

/** One value of a metric. Of a histogram or a summary it is the sum. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** Of a histogram or a summary: how many values there were. */
  readonly count?: number;
  /** Of a histogram: for each of its buckets, how many values there were up to its bound. */
  readonly counts?: readonly number[];
}

/** All values of one moment. */
export type Samples = ReadonlyMap<MetricName, readonly Sample[]>;

/** Whether it counts from the start of the process, so that its values never decrease. */
export function isCumulative(name: MetricName): boolean {
  return METRICS[name].type !== 'gauge';
}
