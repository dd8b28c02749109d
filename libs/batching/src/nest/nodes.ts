import * as nest from '@nestjs/common';
import type { BatchQueue } from '../core/batch-queue.js';
import type { BatchOptions, InternalSubmitOptions, SubmitOptions } from '../core/options.js';
import {
  type Delivery,
  type ErrorClass,
  FROM_ALONE,
  type OnInput,
  type Transport,
} from '../transport/transport.js';
import {
  type BatchingModuleOptions,
  type BatchingNodeOptions,
  checkNodeOptions,
  type TracePropagation,
} from './module-options.js';
import { RemoteQueue } from './remote-queue.js';
import type { ViewKey } from './views.js';

type Queue = BatchQueue<unknown, unknown>;
type Taker = Pick<Queue, 'submit' | 'submitMany'>;

/** Most inputs that a node holds of a service whose batches have no bound. */
const LARGEST_PREFETCH = 1024;

/** What of an application is on other nodes, and what it does for them; nothing without a transport. */
export class Nodes {
  /** Sent to other nodes, and not run here. */
  readonly remoteOnly: ReadonlySet<ViewKey>;
  /** Run here, for other nodes too. */
  readonly served: ReadonlySet<ViewKey>;
  readonly #remote: ReadonlySet<ViewKey>;
  readonly #servedQueues = new Map<string, Queue>();
  /** The sending sides of those that also send inputs to other nodes. */
  readonly overflows: Queue[] = [];
  /** Names of the queues whose inputs are sent to other nodes. */
  readonly #calls = new Set<string>();
  /** How trace context is carried, if at all. */
  #trace: TracePropagation | undefined;
  #state: 'unopened' | 'open' | 'closed' = 'unopened';

  constructor(
    private readonly options: BatchingModuleOptions,
    private readonly nodeOptions: BatchingNodeOptions,
    private readonly warn: (kind: string, sentence: string) => void,
  ) {
    checkNodeOptions(nodeOptions);
    this.#trace = options.trace;
    const { remote = [], serve = [] } = options.transport ? nodeOptions : {};
    this.#remote = new Set(remote);
    this.served = new Set(serve);
    this.remoteOnly = new Set(remote.filter((key) => !this.served.has(key)));
  }

  /** Carries trace context so, unless the application's options say how. */
  propagate(trace: TracePropagation): void {
    this.#trace = this.options.trace ?? trace;
  }

  /** Whether inputs of what is run here also go to other nodes. */
  isShared(key: ViewKey): boolean {
    return this.#remote.has(key) && this.served.has(key);
  }

  /** For a message about a class that nobody provides: why listing it in `remote` did not help. */
  hintFor(key: ViewKey): string {
    const isListed = this.nodeOptions.remote?.includes(key) === true && !this.options.transport;
    return isListed ? '; it is listed in remote, which has no effect without a transport' : '';
  }

  /** Connects, if other nodes have to do with this application. Called when all queues are there, or one is used before. */
  open(): Transport | undefined {
    const { transport, errors = {} } = this.options;
    if (!transport || this.#state !== 'unopened' || this.#remote.size + this.served.size === 0)
      return transport;
    this.#state = 'open';
    transport.open({
      errors: new Map([...httpExceptions(), ...Object.entries(errors)]),
      calls: this.#calls,
      warn: this.warn,
    });
    return transport;
  }

  /** The transport, if it is open. */
  get transport(): Transport | undefined {
    return this.#state === 'open' ? this.options.transport : undefined;
  }

  /** The sending side of a queue that is on other nodes. */
  remoteQueue(options: BatchOptions): Queue {
    const queue = new RemoteQueue(options, this.#transport, () => this.#trace);
    this.#calls.add(queue.name);
    return queue;
  }

  /** Has a queue take inputs from other nodes as soon as the application has started. */
  add(queue: Queue): void {
    this.#servedQueues.set(queue.name, queue);
  }

  /** Takes inputs from other nodes from now on. */
  serve(): void {
    for (const [name, queue] of this.#servedQueues) {
      const options = {
        get prefetch() {
          return prefetchOf(queue);
        },
        get maxQueued() {
          return queue.maxQueued;
        },
      };
      this.#transport().serve(name, options, this.#runIn(queue));
    }
  }

  /** Takes inputs in for a queue while it has room, here; sends the others to other nodes. */
  overflow(queue: Queue): Taker {
    const sending = this.remoteQueue({ ...queue.stats().options, name: queue.name });
    this.overflows.push(sending);
    const submit = (input: unknown, options?: SubmitOptions): Promise<unknown> => {
      const hasRoom = queue.waiting < queue.batchSize || !this.#transport().isConnected;
      return (hasRoom ? queue : sending).submit(input, options);
    };
    // More than may ever wait here have room elsewhere, one by one.
    const submitMany = (inputs: Iterable<unknown>, options?: SubmitOptions): Promise<unknown>[] =>
      Array.from(inputs, (input) => submit(input, options));
    return { submit, submitMany };
  }

  /** Takes no more inputs from other nodes; gives back those that have not ended after `timeout` milliseconds. */
  async drain(timeout: number): Promise<void> {
    await this.transport?.drain({ timeout });
  }

  async close(): Promise<void> {
    await this.transport?.close();
    // What was known last can still be read.
    this.#state = 'closed';
  }

  readonly #transport = (): Transport => {
    const transport = this.open();
    if (!transport) throw new Error('there is no transport');
    return transport;
  };

  #runIn(queue: Queue): OnInput {
    return (input, delivery) => {
      const trace = this.#trace;
      const submit = (): Promise<unknown> => queue.submit(input, submitOptionsOf(delivery));
      return trace && delivery.trace ? trace.extract(delivery.trace, submit) : submit();
    };
  }
}

/** About two batches: those that run, and the next. No more than may wait: they may all come at once. */
function prefetchOf({ batchSize, concurrency, maxQueued }: Queue): number {
  return Math.min(LARGEST_PREFETCH, batchSize * (concurrency + 1), maxQueued);
}

/**
 * An input that a node had when it died may be what killed it. So it is run with others like it, which cannot take
 * new inputs down with them, and then by itself, which shows whether it is to blame.
 */
function submitOptionsOf(delivery: Delivery): InternalSubmitOptions {
  const { signal, timeout, priority, tenant, deliveries } = delivery;
  const apart = deliveries === 1 ? undefined : deliveries < FROM_ALONE ? 'together' : 'alone';
  return { signal, timeout, priority, tenant, apart };
}

/** Nest's own HTTP exceptions, which batch functions throw as well. */
function httpExceptions(): [string, ErrorClass][] {
  return Object.entries(nest as unknown as Record<string, unknown>).flatMap(([name, value]) => {
    const isOne =
      typeof value === 'function' &&
      (value === nest.HttpException || value.prototype instanceof nest.HttpException);
    return isOne ? [[name, value as ErrorClass]] : [];
  });
}
