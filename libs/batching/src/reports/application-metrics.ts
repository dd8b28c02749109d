import type { ApplicationQueues, ModelReport, TransportReport } from '../core/application.js';
import type { BatchQueue } from '../core/batch-queue.js';
import type { QueueStats } from '../core/stats.js';
import { checkMetricsOptions, type MetricsOptions } from './metrics-options.js';
import { type MetricName, METRICS, type Sample, type Samples } from './metrics.js';
import { type Backlog, QueueMeter } from './queue-meter.js';

/** Milliseconds for which a reading waits for a worker to report its memory; a batch may keep it busy for longer. */
const PATIENCE = 100;

type Memory = Awaited<ReturnType<ModelReport['memory']>>;

/** Reads all metrics of one application, for whatever exports them. */
export class ApplicationMetrics {
  readonly #meters = new Map<string, QueueMeter>();
  readonly #memory = new Map<string, Memory>();
  readonly #warned = new Set<string>();
  readonly #unsubscribe: () => void;

  /**
   * @param models returns the models that there are
   * @param warn called with a sentence about something that works, but not as intended; once for each queue
   * @throws TypeError or RangeError for an invalid option
   */
  constructor(
    private readonly queues: ApplicationQueues,
    private readonly models: () => readonly ModelReport[],
    private readonly options: MetricsOptions,
    private readonly warn: (sentence: string) => void,
  ) {
    checkMetricsOptions(options);
    for (const name of queues.list()) this.#meterOf(name);
    this.#unsubscribe = queues.onBatch((report) => {
      this.#meterOf(report.queue).record(report);
    });
  }

  /** Whether all queues have stopped, so that no count changes any more. */
  get isOver(): boolean {
    return this.queues.stats().every(({ state }) => state === 'stopped');
  }

  /** Listens to batches no more. What was counted can still be read. */
  close(): void {
    this.#unsubscribe();
  }

  /** Warns of aims for queues that do not exist. */
  checkNames(): void {
    const names = this.queues.list();
    for (const name of Object.keys(this.options.slo?.queues ?? {})) {
      if (names.includes(name)) continue;
      this.warn(`slo.queues: no queue is called '${name}'; there are: ${names.join(', ') || 'none'}`);
    }
  }

  /** All values of this moment: those of one queue agree with each other. */
  async read(): Promise<Samples> {
    const memories = await this.#readMemory();
    const samples = new Map<MetricName, Sample[]>();
    const add: Add = (name, labels, value, more = {}) => {
      const sample = { labels, value, ...more };
      const known = samples.get(name);
      if (known) known.push(sample);
      else samples.set(name, [sample]);
    };
    const now = performance.now();
    const transport = this.queues.transport();
    for (const stats of this.queues.stats())
      this.#readQueue(stats, backlogOf(stats.name, transport), now, add);
    if (transport) readTransport(transport, add);
    for (const model of this.models()) readModel(model, add);
    for (const [runtime, { restarts, memory }] of memories) {
      add('batching_model_restarts_total', { runtime }, restarts);
      if (!memory) continue;
      add('batching_model_tensors', { runtime }, memory.tensors);
      add('batching_model_bytes', { runtime }, memory.bytes);
    }
    return samples;
  }

  #meterOf(name: string): QueueMeter {
    let meter = this.#meters.get(name);
    if (!meter) {
      meter = new QueueMeter(this.options.window ?? 30_000, performance.now());
      this.#meters.set(name, meter);
    }
    return meter;
  }

  #readQueue(stats: QueueStats, backlog: Backlog | undefined, now: number, add: Add): void {
    const { name, dispatches, drops } = stats;
    const queue = this.queues.get(name);
    const labels = { queue: name };
    add('batching_submitted_total', labels, stats.submitted);
    add('batching_coalesced_total', labels, stats.coalesced);
    add('batching_items_total', { ...labels, outcome: 'result' }, stats.results);
    add('batching_items_total', { ...labels, outcome: 'error' }, stats.errors - queue.abortedWhileRunning);
    add('batching_items_total', { ...labels, outcome: 'aborted' }, queue.abortedWhileRunning);
    for (const [reason, count] of Object.entries(drops)) {
      add('batching_dropped_total', { ...labels, reason }, count);
    }
    for (const [reason, count] of Object.entries(dispatches)) {
      add('batching_batches_total', { ...labels, reason }, count);
    }
    addTotals(queue, add);
    add('batching_waiting_items', labels, stats.waiting);
    add('batching_blocked_items', labels, stats.blocked);
    add('batching_running_batches', labels, stats.runningBatches);
    const aim = this.#aimOf(name);
    const { utilization, replicas, leastAim } = this.#meterOf(name).read(queue, stats, backlog, aim, now);
    // Where a queue's inputs are sent to other nodes, it has no slots.
    if (utilization !== undefined && !('remote' in stats)) add('batching_utilization', labels, utilization);
    if (aim === undefined) return;
    add('batching_slo_seconds', labels, aim / 1000);
    if (replicas !== undefined) add('batching_replicas_needed', labels, replicas);
    if (leastAim !== undefined) this.#warnOfAim(name, aim, leastAim);
  }

  #aimOf(name: string): number | undefined {
    const { p99, queues } = this.options.slo ?? {};
    return queues?.[name] ?? p99;
  }

  #warnOfAim(name: string, aim: number, least: number): void {
    if (this.#warned.has(name)) return;
    this.#warned.add(name);
    this.warn(
      least === Infinity
        ? `${name}: no p99 is held by any number of replicas, as partial batches may wait for ever (dispatch 'fixed', ` +
            'maxDelay Infinity); batching_replicas_needed is computed for full batches'
        : `${name}: a p99 of ${aim} ms is hardly held by any number of replicas, as a batch of one takes so long; ` +
            `batching_replicas_needed is computed for ${Math.ceil(least)} ms`,
    );
  }

  /** Restarts and memory of each runtime; the memory as it was last known where it is not reported in time. */
  async #readMemory(): Promise<Map<string, { restarts: number; memory: Memory | undefined }>> {
    const byRuntime = new Map(this.models().map((model) => [model.runtime, model]));
    const reading = Array.from(byRuntime, async ([runtime, model]) => {
      this.#memory.set(runtime, await model.memory());
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, PATIENCE)));
    await Promise.race([Promise.allSettled(reading), late]);
    clearTimeout(timer);
    return new Map(
      Array.from(byRuntime, ([runtime, { restarts }]) => [
        runtime,
        { restarts, memory: this.#memory.get(runtime) },
      ]),
    );
  }
}

type Add = (
  name: MetricName,
  labels: Sample['labels'],
  value: number,
  more?: Pick<Sample, 'count' | 'counts'>,
) => void;

const HISTOGRAMS = [
  ['batching_batch_size', 'batchSizes', 1],
  ['batching_wait_seconds', 'waitTime', 1000],
  ['batching_run_seconds', 'runTime', 1000],
] as const;

function addTotals(queue: BatchQueue<unknown, unknown>, add: Add): void {
  for (const [name, measure, scale] of HISTOGRAMS) {
    const bounds = METRICS[name].buckets.map((bound) => bound * scale);
    const { sum, count, counts } = queue.totals(measure, bounds);
    add(name, { queue: queue.name }, sum / scale, { count, counts });
  }
}

/** What waits for a queue in the broker; `undefined` where this node does not serve it. */
function backlogOf(queue: string, transport: TransportReport | undefined): Backlog | undefined {
  const served = transport?.services.find(({ service }) => service === queue);
  const isServedHere = served?.nodes.some(({ node }) => node === transport?.node) ?? false;
  return served && isServedHere ? { waiting: served.waiting, nodes: served.nodes.length } : undefined;
}

function readTransport({ transport, node: self, connected, services }: TransportReport, add: Add): void {
  add('batching_transport_connected', { transport }, connected ? 1 : 0);
  for (const { service, nodes, waiting, calls } of services) {
    add('batching_transport_waiting_items', { service }, waiting);
    add('batching_transport_nodes', { service }, nodes.length);
    add('batching_transport_calls', { service }, calls);
    const own = nodes.find(({ node }) => node === self);
    if (own) add('batching_redelivered_total', { service }, own.redelivered);
  }
}

function readModel({ name, problem, batches, inputs, steps }: ModelReport, add: Add): void {
  const labels = { model: name };
  for (const [step, milliseconds] of Object.entries(steps)) {
    add('batching_model_seconds', { ...labels, step }, milliseconds / 1000, { count: batches });
  }
  add('batching_model_inputs_total', labels, inputs);
  add('batching_model_ready', labels, problem === undefined ? 1 : 0);
}
