import { Inject, Injectable, type OnModuleDestroy, Optional } from '@nestjs/common';
import { DiscoveryService, ModulesContainer } from '@nestjs/core';
import { type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { type ApplicationQueues, REGISTRY } from '../core/application.js';
import { show } from '../core/checks.js';
import type { QueueStats } from '../core/stats.js';
import { reportedModels } from '../reports/reported-models.js';

/** From which share of `maxQueued` on a queue is overloaded, and down to which it then stays so. */
export interface OverloadLimits {
  /**
   * Share of `maxQueued` that waits, or, of a queue whose inputs are sent to other nodes, is sent and not answered;
   * above 0 and at most 1. Default 1: the queue is full.
   */
  from?: number;
  /** Share of `maxQueued`, at least 0 and below `from`. Default: half of `from`. */
  until?: number;
}

/** Options of `BatchingHealthIndicator.isHealthy()`. */
export interface BatchingHealthOptions {
  /**
   * Whether an overloaded queue is unhealthy. By default it is not: it answers with 503 what it cannot take,
   * and a load balancer that takes the replica away gives its load to the others, which are then overloaded as
   * well. Default `false`.
   */
  overloaded?: boolean | OverloadLimits;
}

/**
 * Whether an application can answer batched calls: every model is loaded, warmed up, self-tested and answers,
 * every queue takes inputs, the broker can be reached where there is one, and the application is not shutting
 * down. For readiness; a process that cannot help itself is `model.unresponsive`, for liveness.
 *
 * Needs `TerminusModule` among the imports of the module that provides it.
 */
@Injectable()
export class BatchingHealthIndicator implements OnModuleDestroy {
  /** Queues that were overloaded when they were last looked at, by the key of the check and their name. */
  readonly #overloaded = new Set<string>();
  readonly #discovery: DiscoveryService;
  #isShuttingDown = false;

  constructor(
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
    @Inject(ModulesContainer) modules: ModulesContainer,
    @Optional() @Inject(REGISTRY) private readonly queues?: ApplicationQueues,
  ) {
    this.#discovery = new DiscoveryService(modules);
  }

  /**
   * @param key name of the check in the answer
   * @returns up, or down with all reasons as `message`, and as a list, `problems`
   * @throws TypeError or RangeError for invalid options
   */
  isHealthy<Key extends string = 'batching'>(
    key = 'batching' as Key,
    options: BatchingHealthOptions = {},
  ): HealthIndicatorResult<Key> {
    const limits = checkLimits(options.overloaded);
    const indicator = this.indicators.check(key);
    const problems = [...new Set(this.#problems(key, limits))];
    return problems.length === 0
      ? indicator.up()
      : indicator.down({ message: problems.join('; '), problems });
  }

  /** The first shutdown hook; the server still takes requests. */
  onModuleDestroy(): void {
    this.#isShuttingDown = true;
  }

  *#problems(key: string, limits: Required<OverloadLimits> | undefined): Generator<string> {
    if (this.#isShuttingDown) yield 'it is shutting down';
    for (const stats of this.queues?.stats() ?? []) {
      const { name, state } = stats;
      if (state === 'created') yield `${name} has not been started`;
      else if (state !== 'started') yield `${name} is ${state}`;
      else if (limits && this.#isOverloaded(key, stats, limits)) yield overload(stats);
    }
    for (const { problem } of reportedModels(this.#discovery)) if (problem !== undefined) yield problem;
    const transport = this.queues?.transport();
    if (transport && !transport.connected) yield `the broker (${transport.transport}) cannot be reached`;
    if (transport?.draining) yield 'this node takes no more inputs of other nodes';
  }

  #isOverloaded(key: string, stats: QueueStats, { from, until }: Required<OverloadLimits>): boolean {
    const { name, options } = stats;
    const place = `${key} ${name}`;
    const bounded = boundedIn(stats);
    const limit = (this.#overloaded.has(place) ? until : from) * options.maxQueued;
    const isOverloaded = this.#overloaded.has(place) ? bounded > limit : bounded >= limit;
    if (isOverloaded) this.#overloaded.add(place);
    else this.#overloaded.delete(place);
    return isOverloaded;
  }
}

/** Whether a queue's inputs are sent to other nodes. */
function isRemote(stats: QueueStats): boolean {
  return 'remote' in stats;
}

/** The inputs that `maxQueued` bounds. */
function boundedIn(stats: QueueStats): number {
  return isRemote(stats) ? stats.running : stats.waiting;
}

function overload(stats: QueueStats): string {
  const are = isRemote(stats) ? 'are sent and not answered' : 'wait';
  const { name, options } = stats;
  return `${name} is overloaded: ${boundedIn(stats)} inputs ${are}, and ${options.maxQueued} may`;
}

function checkLimits(overloaded: BatchingHealthOptions['overloaded']): Required<OverloadLimits> | undefined {
  if (overloaded === undefined || overloaded === false) return undefined;
  if (overloaded !== true && (typeof overloaded !== 'object' || (overloaded as unknown) === null)) {
    throw new TypeError(`overloaded: expected a boolean or { from, until }, got ${show(overloaded)}`);
  }
  const { from = 1, until = from / 2 } = overloaded === true ? {} : overloaded;
  if (!(from > 0 && from <= 1)) {
    throw new RangeError(`overloaded.from: expected a share above 0 and at most 1, got ${show(from)}`);
  }
  if (!(until >= 0 && until < from)) {
    throw new RangeError(
      `overloaded.until: expected a share of at least 0 and below from, got ${show(until)}`,
    );
  }
  return { from, until };
}
