import { AsyncResource } from 'node:async_hooks';
import { abortReason, onAbort } from './abort-listener.js';
import { checkCount, show, showThrown } from './checks.js';
import { SessionClosedError, SessionFullError, SessionInterruptedError } from './errors.js';
import { checkSubmitOptions, type InternalSubmitOptions, type SubmitOptions } from './options.js';

/** One input of a session's batch method: what was pushed, and the state that the step before left. */
export interface SessionStep<Input, State> {
  readonly input: Input;
  readonly state: State;
}

/** One result of a session's batch method: the output of the step, and the state for the next one. */
export interface SessionResult<Output, State> {
  readonly output: Output;
  readonly state: State;
}

/** What a session calls for each step: a method of a view (`Batched<C>`), or a service. */
export type StepService<Input, State, Output> = (
  step: SessionStep<Input, State>,
  options?: SubmitOptions,
) => Promise<SessionResult<Output, State>>;

export interface SessionOptions<State> {
  /**
   * The state of the first step, or a function that returns it. A batch method must not change a state: it
   * returns a new one, so that a step that failed can be repeated.
   */
  initialState: State | (() => State);
  /**
   * Closes the session when it aborts: all its pushes reject with `signal.reason`, and a step that still
   * waits gives up its place in the next batch.
   */
  signal?: AbortSignal | undefined;
  /** Key of a tenant, as in `SubmitOptions`, for each step. A session has one step in the queue at a time. */
  tenant?: unknown;
  /** Most pushes without an output yet, the running one included: an integer ≥ 1, or `Infinity`. Default 64. */
  maxPending?: number | undefined;
}

/** Options of one push. */
export interface PushOptions {
  /** Milliseconds, ≥ 0, from the moment at which the step is submitted to its queue. Default: no timeout. */
  timeout?: number | undefined;
  /** As in `SubmitOptions`. Default 0. */
  priority?: number | undefined;
}

/** A sequence of inputs with state: see `createSession`. */
export interface Session<Input, Output> extends AsyncDisposable {
  /**
   * Appends one input; its step runs when those of all earlier pushes have ended. Never throws.
   *
   * @returns a promise of the output. Outputs come in the order of the pushes, without a gap: if a step fails, its
   *   push rejects with the error of the step, the pushes behind it with a `SessionInterruptedError`, and the
   *   state stays that of the last good step, so the caller may push the same inputs again. It also
   *   rejects with a `SessionFullError`, a `SessionClosedError`, `signal.reason`, or a `TypeError` or
   *   `RangeError` for an invalid option
   */
  push(input: Input, options?: PushOptions): Promise<Output>;
  /** Pushes without an output yet, the running one included. */
  readonly pending: number;
  /**
   * Takes no more pushes.
   *
   * @returns a promise that resolves when the earlier ones have ended and the state has been disposed of
   */
  close(): Promise<void>;
}

/**
 * Starts a session: a caller whose steps depend on each other, as those of a text that grows or of a sound that is
 * heard. The batch method takes inputs with their state, and returns outputs with the next one:
 *
 * ```ts
 * @BatchedService(64, 2)
 * async step(steps: readonly SessionStep<number, Float32Array>[]): Promise<SessionResult<number, Float32Array>[]> { … }
 *
 * await using session = createSession(this.writers.step, { initialState: () => new Float32Array(128) });
 * for (;;) yield (token = await session.push(token));
 * ```
 *
 * Each step is one input of the queue, so the steps of many sessions share a batch, and sessions join and
 * leave between batches. A session holds no place while it is idle.
 *
 * A state that has a `Symbol.dispose` or `Symbol.asyncDispose` method is disposed of when a step has returned
 * another one, or when the session has ended. Where a caller gives up while its step runs, by its signal or its
 * timeout, or the queue by its `runTimeout`, the batch method goes on: the state that it returns for this step is disposed
 * of when it comes; and if it awaits something before it reads such states, it may find ones that have been disposed of.
 *
 * @throws TypeError or RangeError for an invalid option
 */
export function createSession<Input, State, Output>(
  service: StepService<Input, State, Output>,
  options: SessionOptions<State>,
): Session<Input, Output> {
  return new QueuedSession(service, options);
}

interface Push<Input, Output> {
  readonly input: Input;
  readonly options: PushOptions | undefined;
  /** The async context of the caller, where its step is submitted later, in that of another push. */
  readonly context: AsyncResource | undefined;
  readonly resolve: (output: Output) => void;
  readonly reject: (reason: unknown) => void;
}

class QueuedSession<Input, State, Output> implements Session<Input, Output> {
  readonly #service: StepService<Input, State, Output>;
  readonly #signal: AbortSignal | undefined;
  readonly #tenant: unknown;
  readonly #maxPending: number;
  #state: State;
  /** In the order of arrival; the first one runs. */
  readonly #pushes: Push<Input, Output>[] = [];
  /** Resolves when no step runs any more. */
  #running: Promise<void> | undefined;
  /** Set once no more pushes are taken: what a push rejects with. */
  #closed: { readonly reason: unknown } | undefined;
  #ended: Promise<void> | undefined;
  readonly #stopListening: (() => void) | undefined;

  constructor(service: StepService<Input, State, Output>, options: SessionOptions<State>) {
    if (typeof service !== 'function') {
      throw new TypeError(`createSession: expected a batched method or a service, got ${show(service)}`);
    }
    const { initialState, signal, tenant, maxPending = 64 } = options;
    checkSubmitOptions(signal, undefined, undefined);
    this.#service = service;
    this.#signal = signal;
    this.#tenant = tenant;
    this.#maxPending = checkCount('maxPending', maxPending, 1);
    this.#state = isFunction(initialState) ? initialState() : initialState;
    this.#stopListening = signal && onAbort(signal, this.#abort);
    if (signal?.aborted) this.#abort();
  }

  get pending(): number {
    return this.#pushes.length;
  }

  push(input: Input, options?: PushOptions): Promise<Output> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw this.#closed.reason;
      checkSubmitOptions(undefined, options?.timeout, options?.priority);
      if (this.#pushes.length >= this.#maxPending) throw new SessionFullError(this.#maxPending);
      const context = this.#running && new AsyncResource('Session');
      this.#pushes.push({ input, options, context, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  close(): Promise<void> {
    this.#closed ??= { reason: new SessionClosedError() };
    return this.#end();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Runs the pushes one after the other, the first one in this turn and context. */
  async #run(): Promise<void> {
    for (let push; (push = this.#pushes[0]);) {
      try {
        const { output, state } = await this.#step(push);
        if (this.#pushes[0] === push) {
          const before = this.#state;
          this.#state = state;
          this.#pushes.shift();
          push.resolve(output);
          // Not awaited: where the caller pushes the next input at once, no step runs then, and it starts in its context.
          if (before !== state) void dispose(before);
        } else {
          // It was given up while it ran.
          if (state !== this.#state) void dispose(state);
        }
      } catch (error) {
        if (this.#pushes[0] === push) {
          this.#pushes.shift();
          push.reject(error);
          this.#rejectAll(new SessionInterruptedError(error));
        }
      }
    }
    this.#running = undefined;
  }

  async #step({ input, options, context }: Push<Input, Output>): Promise<SessionResult<Output, State>> {
    const step = { input, state: this.#state };
    const onLate = (late: unknown): void => {
      if (isResult<Output, State>(late) && late.state !== step.state) void dispose(late.state);
    };
    const submitOptions: InternalSubmitOptions = {
      ...options,
      signal: this.#signal,
      tenant: this.#tenant,
      onLate,
    };
    const submit = () => this.#service(step, submitOptions);
    const result: unknown = await (context ? context.runInAsyncScope(submit) : submit());
    if (isResult<Output, State>(result)) return result;
    throw new TypeError(
      `createSession: expected a result { output, state } for each input of the batch method, got ${show(result)}`,
    );
  }

  readonly #abort = (): void => {
    const reason = this.#signal && abortReason(this.#signal);
    this.#closed = { reason };
    this.#rejectAll(reason);
    void this.#end();
  };

  #rejectAll(reason: unknown): void {
    for (const { reject } of this.#pushes.splice(0)) reject(reason);
  }

  #end(): Promise<void> {
    return (this.#ended ??= (async () => {
      await this.#running;
      this.#stopListening?.();
      await dispose(this.#state);
    })());
  }
}

function isFunction<T>(value: T | (() => T)): value is () => T {
  return typeof value === 'function';
}

function isResult<Output, State>(result: unknown): result is SessionResult<Output, State> {
  return typeof result === 'object' && result !== null && 'output' in result && 'state' in result;
}

/** Frees what a state holds. An error is reported with `process.emitWarning`: no caller waits for it. */
async function dispose(state: unknown): Promise<void> {
  if (typeof state !== 'object' || state === null) return;
  try {
    const { [Symbol.asyncDispose]: disposeLater, [Symbol.dispose]: disposeNow } = state as Partial<
      AsyncDisposable & Disposable
    >;
    if (disposeLater) await disposeLater.call(state);
    else disposeNow?.call(state);
  } catch (error) {
    process.emitWarning(`the state of a session could not be disposed of: ${showThrown(error)}`);
  }
}
