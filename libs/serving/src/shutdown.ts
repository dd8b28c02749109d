import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BeforeApplicationShutdown,
  ConfigurableModuleBuilder,
  Inject,
  Injectable,
  type INestApplication,
  Logger,
  type OnApplicationShutdown,
  type OnModuleDestroy,
} from '@nestjs/common';
import { Connections } from './connections.js';

export interface ShutdownOptions {
  /** Longest that a shutdown may take, from the signal on, in milliseconds. Then the process ends by the signal. */
  timeout: number;
  /**
   * How long the port stays open after a SIGTERM, in milliseconds, at most half of `timeout`: what sends requests here
   * needs that long to see that this server is not ready. After other signals, and on `app.close()`, 0.
   */
  delay: number;
}

export const { ConfigurableModuleClass: ShutdownModuleBase, MODULE_OPTIONS_TOKEN } =
  new ConfigurableModuleBuilder<ShutdownOptions>().setClassMethodName('forRoot').build();

/**
 * What ends the process. Named, because without names Nest also listens to SIGSEGV, SIGBUS, SIGILL and SIGFPE: after a
 * crash of a native addon on the main thread the listener waits for the event loop, the faulting instruction runs again,
 * and so on for ever.
 */
const signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGHUP'];

/**
 * When each part has to be done, in milliseconds from the signal on, so that the next has time: callers of inputs that are
 * rejected still get their 503, and hooks that close something run after the last connection.
 */
export function shutdownStages(timeout: number): { queues: number; connections: number; process: number } {
  return { queues: 0.9 * timeout, connections: 0.95 * timeout, process: timeout };
}

/** In place of `app.enableShutdownHooks()`. The first signal counts; those after it change nothing. */
export function enableShutdown(app: INestApplication): void {
  app.get(Shutdown).listen();
  // After ours: the time begins before the first hook. Nest ignores signals that come while it closes.
  app.enableShutdownHooks([...signals]);
}

/**
 * A shutdown that loses no request and takes no longer than it may: first `begun`, for whatever answers whether this
 * server is ready; then the port closes; then connections end with their answers; then Nest's last hooks run.
 */
@Injectable()
export class Shutdown implements OnModuleDestroy, BeforeApplicationShutdown, OnApplicationShutdown {
  /** When it has begun, on the clock of `performance.now()`. */
  #begun: number | undefined;
  #cutOff: NodeJS.Timeout | undefined;

  constructor(
    @Inject(MODULE_OPTIONS_TOKEN) private readonly options: ShutdownOptions,
    private readonly connections: Connections,
  ) {}

  get begun(): boolean {
    return this.#begun !== undefined;
  }

  listen(): void {
    for (const signal of signals) process.on(signal, this.#onSignal);
  }

  /** The first hook; on a signal, it has begun before. */
  onModuleDestroy(): void {
    this.#begin();
  }

  async beforeApplicationShutdown(signal?: string): Promise<void> {
    const begun = this.#begin();
    const half = begun + this.options.timeout / 2;
    const open = signal === 'SIGTERM' ? Math.min(begun + this.options.delay, half) - performance.now() : 0;
    if (open > 0) await sleep(open);
    await this.connections.closePort(half);
  }

  onApplicationShutdown(): void {
    this.#ignoreSignals();
    clearTimeout(this.#cutOff);
  }

  #begin(): number {
    if (this.#begun === undefined) {
      this.#begun = performance.now();
      this.connections.leave();
      const { connections } = shutdownStages(this.options.timeout);
      this.#cutOff = setTimeout(() => {
        this.connections.cutOff();
      }, connections).unref();
    }
    return this.#begun;
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    // Nest ends the process by the signal, which a listener would prevent.
    this.#ignoreSignals();
    this.#begin();
    const end = () => {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    };
    // When a hook throws, Nest exits, and Node would then wait for a worker that is stuck in native code.
    process.once('exit', end);
    setTimeout(() => {
      new Logger('Shutdown').error(`not done within ${this.options.timeout} ms: ended by ${signal}`);
      end();
      // As process 1 of a container, which a signal without a listener does not end.
      process.exit(128 + constants.signals[signal]);
    }, shutdownStages(this.options.timeout).process).unref();
  };

  #ignoreSignals(): void {
    for (const signal of signals) process.removeListener(signal, this.#onSignal);
  }
}
