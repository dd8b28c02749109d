import { types } from 'node:util';
import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleDestroy,
  type OnModuleInit,
} from '@nestjs/common';
import { ModulesContainer, SerializedGraph } from '@nestjs/core';
import type { BatchQueue } from '../core/batch-queue.js';
import { show, showThrown } from '../core/checks.js';
import { LONGEST_TIMER } from '../core/clock.js';
import type { StopOptions } from '../core/options.js';
import type { BatchReport, QueueStats } from '../core/stats.js';
import { ApplicationViews, hintFor } from './application-views.js';
import type { Batched } from './batched-view.js';
import type { TransportState } from '../transport/transport.js';
import {
  type BatchingModuleOptions,
  type BatchingNodeOptions,
  checkModuleOptions,
  FOR_ROOT,
  NODE_OPTIONS,
  OPTIONS,
  type TracePropagation,
} from './module-options.js';
import { NestModules } from './nest-modules.js';
import { Nodes } from './nodes.js';
import { RateLimitedLog } from './rate-limited-log.js';
import { RemoteQueue } from './remote-queue.js';
import { type Class, setType, type ViewKey, views, type ViewSource } from './views.js';

type Queue = BatchQueue<unknown, unknown>;
type Listener = (report: BatchReport) => void;

/**
 * The queues of one application: one per marked method of a provider, named after both,
 * `DigitClassifier.classify`.
 *
 * They are built when the application initialises, or when a view is first used, if that is earlier. Problems
 * of marked and injected classes are errors at that moment, with the names of the classes.
 */
@Injectable()
export class BatchingRegistry
  implements
    ViewSource,
    OnModuleInit,
    OnApplicationBootstrap,
    OnModuleDestroy,
    BeforeApplicationShutdown,
    OnApplicationShutdown
{
  readonly #options: BatchingModuleOptions;
  readonly #shutdownTimeout: number;
  readonly #nodes: Nodes;
  readonly #views: ApplicationViews;
  readonly #queues = new Map<string, Queue>();
  readonly #subscriptions = new Map<Listener, (() => void)[]>();
  // In the CommonJS build the name of the class has a number at its end.
  readonly #logger = new Logger('BatchingRegistry');
  readonly #failures = new RateLimitedLog(this.#logger);
  #isStopped = false;
  /** Resolves when no input of another node is left here. */
  #drained: Promise<void> | undefined;
  /** When a closing application stops waiting, on the clock of `performance.now()`. */
  #deadline: number | undefined;
  #deadlineTimer: NodeJS.Timeout | undefined;

  constructor(
    @Inject(OPTIONS) options: BatchingModuleOptions,
    @Inject(ModulesContainer) container: ModulesContainer,
    @Inject(SerializedGraph) graph: SerializedGraph,
    @Inject(NODE_OPTIONS) nodeOptions: BatchingNodeOptions,
  ) {
    const modules = new NestModules(container);
    this.#options = options;
    this.#shutdownTimeout = checkModuleOptions(options);
    this.#nodes = new Nodes(options, nodeOptions, (kind, sentence) => {
      this.#failures.warn(kind, sentence);
    });
    const queues = {
      has: (name: string) => this.#queues.has(name),
      add: (queue: Queue, settings: string) => {
        this.#addQueue(queue);
        this.#logger.log(settings);
      },
    };
    this.#views = new ApplicationViews(options, modules, graph, queues, this.#nodes);
    modules.beforeHooks(() => {
      this.#views.watchHooks();
    });
    views.sources.add(new WeakRef(this));
    for (const [key, token] of views.byKey) this.provideView(key, token);
  }

  /** The names of the queues. */
  list(): string[] {
    return [...this.#queues.keys()];
  }

  /**
   * @param name class and method, `DigitClassifier.classify`
   * @throws Error if no queue has this name; the message lists the names
   */
  get(name: string): BatchQueue<unknown, unknown> {
    const queue = this.#queues.get(name);
    if (!queue) throw new Error(`no queue is called ${show(name)}; there are: ${this.#names()}`);
    return queue;
  }

  /** The statistics of every queue. */
  stats(): QueueStats[] {
    return Array.from(this.#queues.values(), (queue) => queue.stats());
  }

  /**
   * The transport to other nodes: whether it is connected, which nodes serve what, what waits in the broker.
   * `undefined` in an application that has nothing to do with other nodes.
   */
  transport(): TransportState | undefined {
    return this.#nodes.transport?.state();
  }

  /**
   * Lets the inputs that wait in any queue leave without further delay; later ones may fill up their batches.
   *
   * @returns a promise that resolves when every input submitted before this call has ended
   */
  async drain(): Promise<void> {
    await Promise.all(this.#all.map((queue) => queue.drain()));
  }

  /**
   * Stops all queues, as the application does when it shuts down. May be called again.
   *
   * A provider that the batch functions use should await this before it closes a resource in a shutdown hook.
   *
   * @param options `timeout` in milliseconds; default: the application's `shutdownTimeout`, or what is left
   *   of it while the application closes
   * @returns a promise that resolves when every input has ended
   */
  async stop({ timeout = this.shutdownTimeLeft, hard }: StopOptions = {}): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#all.map((queue) => queue.stop({ timeout, hard })));
  }

  /** @internal Milliseconds left of `shutdownTimeout`: all of them until the application begins to close. */
  get shutdownTimeLeft(): number {
    if (this.#deadline === undefined) return this.#shutdownTimeout;
    return Math.max(0, this.#deadline - performance.now());
  }

  /**
   * Calls `listener` after every batch of every queue, also of queues that are built later.
   *
   * @returns a function that removes the listener
   */
  onBatch(listener: Listener): () => void {
    // A new function, so that a listener that is added twice is called twice.
    const subscriber: Listener = (report) => {
      listener(report);
    };
    const queues = [...this.#queues.values()];
    this.#subscriptions.set(
      subscriber,
      queues.map((queue) => queue.onBatch(subscriber)),
    );
    return () => {
      for (const unsubscribe of this.#subscriptions.get(subscriber) ?? []) unsubscribe();
      this.#subscriptions.delete(subscriber);
    };
  }

  /** The view of a class; the same object that `@InjectBatched()` injects. */
  view<C extends object>(type: Class<C>): Batched<C>;
  /** The view of what is provided under a token; `type` is its class. */
  view<C extends object>(token: string | symbol, type: Class<C>): Batched<C>;
  view<C extends object>(key: Class<C> | string | symbol, type?: Class<C>): Batched<C> {
    if (typeof key !== 'function' && type) setType(key, type);
    return this.#views.view(key);
  }

  /** @internal Carries trace context between nodes so, unless the options say how. */
  propagate(trace: TracePropagation): void {
    this.#nodes.propagate(trace);
  }

  /**
   * @internal Adds the provider of a view that is first injected after Nest has scanned the modules (lazy
   *   loading).
   */
  provideView(key: ViewKey, token: string): void {
    this.#views.provide(key, token);
  }

  onModuleInit(): void {
    for (const sentence of this.#views.build()) this.#logger.warn(sentence);
    this.#nodes.open();
    const unknown = Object.keys(this.#options.queues ?? {}).filter((name) => !this.#queues.has(name));
    if (unknown.length > 0) {
      const names = `there are: ${this.#names()}${hintFor(this.list())}`;
      this.#logger.warn(`${FOR_ROOT}: queues: no queue is called ${unknown.join(', ')}; ${names}`);
    }
  }

  /** All hooks of the kind before have been called, of those modules that were there when Nest began with them. */
  onApplicationBootstrap(): void {
    this.#views.endHooks();
    this.#nodes.serve();
  }

  /**
   * The first shutdown hook: starts the `shutdownTimeout` that queues, HTTP server and inference workers
   * share.
   */
  onModuleDestroy(): void {
    if (this.#deadline !== undefined) return;
    this.#deadline = performance.now() + this.#shutdownTimeout;
    if (this.#shutdownTimeout > LONGEST_TIMER) return;
    // The next hook is called when all requests have been answered; a batch that hangs would prevent that.
    this.#deadlineTimer = setTimeout(() => void this.stop({ timeout: 0 }), this.#shutdownTimeout).unref();
  }

  /**
   * The HTTP server still accepts requests, and waits for those in flight before the next hook. So inputs are
   * still accepted, but leave at once instead of waiting for others. Inputs of other nodes are not.
   */
  beforeApplicationShutdown(): void {
    // The last fifth of the time is for giving back what has not ended, before queues reject what they still have.
    this.#drained = this.#nodes.drain(0.8 * this.shutdownTimeLeft);
    // Awaited by the next hook.
    this.#drained.catch(() => undefined);
    for (const queue of this.#queues.values()) {
      if (queue instanceof RemoteQueue) continue;
      if (queue.stats().state === 'created') queue.start();
      queue.maxDelay = 0;
    }
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#drained;
    await this.stop();
    await this.#nodes.close();
    clearTimeout(this.#deadlineTimer);
    this.#failures.flush();
  }

  /** The queues, and what sends inputs of theirs to other nodes. */
  get #all(): Queue[] {
    return [...this.#queues.values(), ...this.#nodes.overflows];
  }

  #addQueue(queue: Queue): void {
    this.#queues.set(queue.name, queue);
    queue.onBatch((report) => {
      if ('error' in report) this.#failures.warn(queue.name, describeFailure(report));
    });
    this.#subscriptions.forEach((unsubscribes, subscriber) => unsubscribes.push(queue.onBatch(subscriber)));
    if (this.#isStopped) void queue.stop();
  }

  #names(): string {
    return this.list().join(', ') || 'none';
  }
}

/** One line, which says nothing of inputs and results beyond what the error itself says. */
function describeFailure({ queue, size, error }: BatchReport): string {
  const text = types.isNativeError(error) || error instanceof Error ? showThrown(error) : show(error);
  // eslint-disable-next-line no-control-regex -- a line break in a message would forge lines of the log
  const line = text.replaceAll(/[\x00-\x1f\x7f\u2028\u2029]+/g, ' ');
  return `${queue}: a batch of ${size} failed: ${line.length > 300 ? `${line.slice(0, 300)}…` : line}`;
}
