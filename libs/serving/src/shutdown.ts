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

/** The options of `ServingModule.forRoot()`. */
export interface ShutdownOptions {
  /**
   * Longest time of a shutdown, in milliseconds from the signal on. After that the process is ended by the
   * signal.
   */
  timeout: number;
  /**
   * Milliseconds for which the port stays open after a SIGTERM, at most half of `timeout`: the time that a
   * load balancer needs to notice that this server is not ready. After other signals, and on `app.close()`,
   * the port closes at once.
   */
  delay: number;
}

export const { ConfigurableModuleClass: ShutdownModuleBase, MODULE_OPTIONS_TOKEN } =
  new ConfigurableModuleBuilder<ShutdownOptions>().setClassMethodName('forRoot').build();

/**
 * The signals that shut the application down. Without such a list Nest also listens to SIGSEGV, SIGBUS,
 * SIGILL and SIGFPE: after a crash of a native addon on the main thread, the faulting instruction would then
 * run again and again for ever, because the listener waits for the event loop.
 */
const SIGNALS: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGHUP'];

/**
 * When each stage of a shutdown has to be over, in milliseconds from the signal on, so that the next has
 * time: clients whose inputs are rejected still get a 503, and hooks that close resources run after the last
 * connection.
 */
export function shutdownStages(timeout: number): { queues: number; connections: number; process: number } {
  return { queues: 0.9 * timeout, connections: 0.95 * timeout, process: timeout };
}

/** Replaces `app.enableShutdownHooks()`. Signals after the first have no effect. */
export function enableShutdown(app: INestApplication): void {
  app.get(Shutdown).listen();
  // Nest's listener comes after ours, so that the time starts before the first hook. Nest ignores signals
  // while it closes.
  app.enableShutdownHooks([...SIGNALS]);
}

/**
 * A shutdown that loses no request and has a time limit. First `begun` becomes true, for the readiness check;
 * then the port closes; then each connection ends with its last answer; then Nest's last hooks run.
 */
@Injectable()
export class Shutdown implements OnModuleDestroy, BeforeApplicationShutdown, OnApplicationShutdown {
  /** When the shutdown began, on the clock of `performance.now()`. */
  #begun: number | undefined;
  #cutOff: NodeJS.Timeout | undefined;

  constructor(
    @Inject(MODULE_OPTIONS_TOKEN) private readonly options: ShutdownOptions,
    private readonly connections: Connections,
  ) {}

  /** Whether a shutdown has begun, so that the server is not ready any more. */
  get begun(): boolean {
    return this.#begun !== undefined;
  }

  /** Adds listeners for the signals. */
  listen(): void {
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  /** The first hook; after a signal, the shutdown has begun already. */
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
      this.connections.announceClose();
      const { connections } = shutdownStages(this.options.timeout);
      this.#cutOff = setTimeout(() => {
        this.connections.cutOff();
      }, connections).unref();
    }
    return this.#begun;
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    // At the end Nest sends the signal to this process, which a listener would intercept.
    this.#ignoreSignals();
    this.#begin();
    const end = () => {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    };
    // If a hook throws, Nest exits the process, and Node would wait for a worker that is stuck in native
    // code.
    process.once('exit', end);
    setTimeout(() => {
      new Logger('Shutdown').error(`not done within ${this.options.timeout} ms: ended by ${signal}`);
      end();
      // Process 1 of a container is not ended by a signal without a listener.
      process.exit(128 + constants.signals[signal]);
    }, shutdownStages(this.options.timeout).process).unref();
  };

  #ignoreSignals(): void {
    for (const signal of SIGNALS) process.removeListener(signal, this.#onSignal);
  }
}
