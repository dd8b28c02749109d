import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { hostname } from 'node:os';
import {
  type OnModuleDestroy,
  Inject,
  Injectable,
  type OnApplicationBootstrap,
  Optional,
  ServiceUnavailableException,
} from '@nestjs/common';
import { type ApplicationQueues, REGISTRY, type TransportReport } from '../core/application.js';
import { DASHBOARD_OPTIONS, type DashboardOptions } from './dashboard-options.js';
import type { Frame, Knobs, TransportFrame } from './frame.js';
import { knobsOf, QueueRecorder } from './queue-recorder.js';

/** Milliseconds between two frames. */
const PERIOD = 200;
/** Frames of which one is sent when nothing happens. */
const IDLE = 5;
/** Frames in a row that a viewer may read nothing of, 30 s. Then its connection is closed. */
const PATIENCE = 150;
/** Milliseconds for which queues are still watched when the last viewer has left: long enough to load the page again. */
const LINGER = 10_000;

interface Viewer {
  readonly response: ServerResponse;
  /** Whether it has all frames up to the last one. */
  isUpToDate: boolean;
  /** Whether what was written is still to be read. Kept here, as the responses of HTTP/2 do not say so. */
  isFull: boolean;
  /** Frames that it has missed in a row, because it had not read those before. */
  missed: number;
}

/**
 * The queues of this process as they are, as server-sent events. Each frame is computed once for all viewers, as text. A viewer
 * that reads slower than frames come misses some, and then gets one with all that is still shown, so nothing is kept for it.
 *
 * The queues are watched only while there are viewers.
 */
@Injectable()
export class LiveFeed implements OnApplicationBootstrap, OnModuleDestroy {
  readonly #epoch = randomUUID();
  readonly #node = `${hostname()}:${process.pid}`;
  readonly #registry: ApplicationQueues;
  readonly #viewers = new Set<Viewer>();
  readonly #recorders = new Map<string, QueueRecorder>();
  /** Settings at the start of the process, or when a queue was first seen. */
  readonly #initial = new Map<string, Knobs | null>();
  #number = 0;
  #sentNumber = 0;
  #timer: NodeJS.Timeout | undefined;
  #linger: NodeJS.Timeout | undefined;
  #isEnding = false;

  constructor(
    @Inject(DASHBOARD_OPTIONS) private readonly options: DashboardOptions,
    @Optional() @Inject(REGISTRY) registry?: ApplicationQueues,
  ) {
    if (!registry)
      throw new Error('BatchingDashboardModule needs BatchingModule.forRoot() in the same application');
    this.#registry = registry;
  }

  onApplicationBootstrap(): void {
    for (const name of this.#registry.list()) this.initial(name);
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** The settings that a queue had at the start; `null` if it has no settings of batches. */
  initial(name: string): Knobs | null {
    let knobs = this.#initial.get(name);
    if (knobs === undefined) {
      const queue = this.#registry.get(name);
      knobs = queue.hasBatches ? knobsOf(queue.stats()) : null;
      this.#initial.set(name, knobs);
    }
    return knobs;
  }

  /**
   * Adds a viewer.
   *
   * @param open begins the answer and returns it
   * @throws ServiceUnavailableException if there are as many as may be, or the application is shutting down
   */
  add(open: () => ServerResponse): void {
    const { maxViewers } = this.options;
    if (this.#isEnding) throw new ServiceUnavailableException('the application is shutting down');
    if (this.#viewers.size >= maxViewers) {
      throw new ServiceUnavailableException(
        `the dashboard is open ${maxViewers} times, as often as it may be`,
      );
    }
    const response = open();
    // Its client may have gone while a guard was asked; then nothing more is heard of it.
    if (response.destroyed) return;
    const viewer: Viewer = { response, isUpToDate: false, isFull: false, missed: 0 };
    this.#viewers.add(viewer);
    response.on('drain', () => {
      viewer.isFull = false;
    });
    response.once('close', () => {
      this.#remove(viewer);
    });
    clearTimeout(this.#linger);
    if (this.#timer) return;
    this.#timer = setInterval(() => {
      this.#tick();
    }, PERIOD).unref();
    this.#tick();
  }

  /** The first hook of a shutdown: the server waits for answers that have not ended before it closes. */
  onModuleDestroy(): void {
    this.#isEnding = true;
    for (const { response } of this.#viewers) response.end();
    this.#stop();
  }

  /** When the last viewer has left, the queues are soon no longer watched. */
  #remove(viewer: Viewer): void {
    if (!this.#viewers.delete(viewer) || this.#viewers.size > 0 || this.#isEnding) return;
    clearTimeout(this.#linger);
    this.#linger = setTimeout(() => {
      this.#stop();
    }, LINGER).unref();
  }

  #stop(): void {
    clearTimeout(this.#linger);
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const recorder of this.#recorders.values()) recorder.close();
    this.#recorders.clear();
  }

  #tick(): void {
    const now = performance.now();
    let isNew = false;
    for (const recorder of this.#watchAll(now)) if (recorder.advance(now)) isNew = true;
    this.#number++;
    const isQuiet = !isNew && this.#number - this.#sentNumber < IDLE;
    let since: string | undefined;
    let whole: string | undefined;
    for (const viewer of this.#viewers) {
      const { response, isUpToDate, isFull } = viewer;
      if (isUpToDate && isQuiet) continue;
      if (isFull) {
        viewer.isUpToDate = false;
        if (++viewer.missed === PATIENCE) {
          response.destroy();
          this.#remove(viewer);
        }
        continue;
      }
      const event = isUpToDate ? (since ??= this.#event(now, false)) : (whole ??= this.#event(now, true));
      viewer.isFull = !response.write(event);
      viewer.isUpToDate = true;
      viewer.missed = 0;
    }
    if (!isQuiet) this.#sentNumber = this.#number;
  }

  /** A queue may be built while the application runs. */
  #watchAll(now: number): Iterable<QueueRecorder> {
    for (const name of this.#registry.list()) {
      if (this.#recorders.has(name)) continue;
      const queue = this.#registry.get(name);
      this.#recorders.set(name, new QueueRecorder(queue, this.#node, this.initial(name), now));
    }
    return this.#recorders.values();
  }

  #event(now: number, isWhole: boolean): string {
    const frame: Frame = {
      epoch: this.#epoch,
      number: this.#number,
      now,
      period: PERIOD,
      isWhole,
      tune: this.options.tune,
      queues: Array.from(this.#recorders.values(), (recorder) => recorder.frame(now, isWhole)),
      transport: transportFrame(this.#registry.transport()),
    };
    return `id: ${this.#number}\nretry: 1000\ndata: ${JSON.stringify(frame)}\n\n`;
  }
}

function transportFrame(report: TransportReport | undefined): TransportFrame | null {
  if (!report) return null;
  return {
    name: report.transport,
    isConnected: report.connected,
    isDraining: report.draining,
    services: report.services.map(({ service, waiting, calls, nodes }) => ({
      service,
      waiting,
      calls,
      nodes: nodes.map(({ node, host, pid, prefetch, inProgress, redelivered }) => ({
        node: `${host}:${pid}`,
        isOwn: node === report.node,
        prefetch,
        inProgress,
        redelivered,
      })),
    })),
  };
}
