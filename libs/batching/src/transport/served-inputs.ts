import { LISTEN } from '../core/abort-listener.js';
import { show } from '../core/checks.js';
import { ServiceStoppedError } from '../core/errors.js';
import { NumberTable } from '../core/number-table.js';
import type { Codec } from './codec.js';
import {
  ANSWER_ROOM,
  type AnswerKind,
  readInput,
  readRoute,
  READS,
  type Route,
  writeAnswer,
} from './envelope.js';
import { PayloadError, PayloadSizeError, RedeliveryError } from './errors.js';
import type { Served } from './served-services.js';
import {
  FROM_ALONE,
  type OnInput,
  type ServeOptions,
  type TraceCarrier,
  type TransportContext,
} from './transport.js';
import { takeApart } from './travelling-errors.js';

/** The answering half of a transport. `Handle` is what the broker knows a delivered input by. It may not throw. */
export interface Answerer<Handle> {
  /**
   * The input has ended: sends the answer, if its caller still waits for one, and acknowledges it; now or
   * together with the other answers of this turn.
   */
  end(service: string, handle: Handle, caller: string, answer: Buffer | undefined): void;
}

/** What the inputs served by a node have in common. */
export interface ServeSettings {
  readonly codec: Codec;
  readonly context: TransportContext;
  /** Most deliveries of one input: an integer ≥ 1. */
  readonly maxDeliver: number;
  readonly maxPayload: () => number;
}

/** An input that a node has and that has not ended. */
class ServedInput<Handle> {
  readonly signal = new InputSignal();
  hasEnded = false;

  constructor(
    readonly service: Service<Handle>,
    readonly route: Route,
    /** More than one if its caller has sent it again while it runs. */
    readonly handles: Handle[],
    /** From its third delivery on. */
    readonly runsAlone: boolean,
  ) {}
}

interface Service<Handle> {
  readonly name: string;
  readonly options: ServeOptions;
  readonly onInput: OnInput;
  /** By the number of the call and its caller. */
  readonly inputs: NumberTable<ServedInput<Handle>>;
  /** Those that run alone. */
  alone: number;
  redelivered: number;
  readonly givenUp: GivenUp;
}

/** Milliseconds for which a call that was given up is remembered at least, and so many of them at most. */
const REMEMBERED = 5_000;
const MOST_REMEMBERED = 10_000;

/** Calls that were given up before their inputs came to this node: those may be on the way. */
class GivenUp {
  #young = new NumberTable<true>();
  #old = new NumberTable<true>();
  #since = 0;

  add(caller: string, call: number): void {
    const now = performance.now();
    if (now - this.#since > REMEMBERED || this.#young.size >= MOST_REMEMBERED / 2) {
      this.#old = now - this.#since > 2 * REMEMBERED ? new NumberTable() : this.#young;
      this.#young = new NumberTable();
      this.#since = now;
    }
    if (!this.#young.get(call, caller)) this.#young.add(call, true, caller);
  }

  has(caller: string, call: number): boolean {
    return this.#young.get(call, caller) ?? this.#old.get(call, caller) ?? false;
  }
}

/**
 * The inputs that this node has taken and that have not ended: reads them, runs them, and answers. Counts them for
 * the transport's credit.
 */
export class ServedInputs<Handle> {
  readonly #services = new Map<string, Service<Handle>>();
  #whenEmpty: (() => void) | undefined;

  constructor(
    private readonly settings: ServeSettings,
    private readonly answerer: Answerer<Handle>,
  ) {}

  add(name: string, options: ServeOptions, onInput: OnInput): void {
    this.#services.set(name, {
      name,
      options,
      onInput,
      inputs: new NumberTable(),
      alone: 0,
      redelivered: 0,
      givenUp: new GivenUp(),
    });
  }

  get names(): string[] {
    return [...this.#services.keys()];
  }

  /** Inputs that have not ended. */
  inProgress(service: string): number {
    return this.#services.get(service)?.inputs.size ?? 0;
  }

  /** Inputs that may be here at once. */
  prefetch(service: string): number {
    const { prefetch = 1 } = this.#services.get(service)?.options ?? {};
    return Math.max(1, Math.floor(prefetch));
  }

  maxQueued(service: string): number {
    return this.#services.get(service)?.options.maxQueued ?? Infinity;
  }

  /** What this node says of a service. */
  describe(service: string): Served {
    return {
      prefetch: this.prefetch(service),
      inProgress: this.inProgress(service),
      redelivered: this.#services.get(service)?.redelivered ?? 0,
      maxQueued: this.maxQueued(service),
    };
  }

  /** Inputs that may be taken now. */
  credit(service: string): number {
    return Math.max(0, this.prefetch(service) - this.inProgress(service));
  }

  /** Whether an input runs alone in this delivery. */
  runsAlone(deliveries: number): boolean {
    return deliveries >= FROM_ALONE && deliveries <= this.settings.maxDeliver;
  }

  /** Whether there is an input that runs alone. */
  hasAlone(service: string): boolean {
    return (this.#services.get(service)?.alone ?? 0) > 0;
  }

  /** The handles of the inputs that have not ended. */
  *handles(service: string): Generator<Handle> {
    for (const { handles } of this.#services.get(service)?.inputs.values() ?? []) yield* handles;
  }

  /**
   * The broker has delivered an input.
   *
   * @param deliveries how often it has been delivered, this time included
   * @param age milliseconds since it was sent, by the clock of the broker
   */
  take(service: string, bytes: Buffer, deliveries: number, age: number, handle: Handle): void {
    const served = this.#services.get(service);
    if (!served) return;
    let route: Route;
    try {
      route = readRoute(bytes);
    } catch (error) {
      // Nobody can be answered, and nobody could the next time.
      this.settings.context.warn(
        `input ${service}`,
        `${service}: an input was discarded that cannot be read: ${String(error)}`,
      );
      this.answerer.end(service, handle, '', undefined);
      return;
    }
    const known = served.inputs.get(route.call, route.caller);
    if (known) {
      // Its caller has sent it again, or the broker delivers it again, while it runs here.
      known.handles.push(handle);
      return;
    }
    if (served.givenUp.has(route.caller, route.call)) {
      this.answerer.end(service, handle, route.caller, undefined);
      return;
    }
    const runsAlone = this.runsAlone(deliveries);
    if (deliveries > 1) served.redelivered++;
    const input = new ServedInput(served, route, [handle], runsAlone);
    served.inputs.add(route.call, input, route.caller);
    if (runsAlone) served.alone++;
    this.#run(input, bytes, deliveries, age);
  }

  /** The caller has given up. Its input may come later: messages overtake each other. */
  cancel(service: string, caller: string, call: number): void {
    const served = this.#services.get(service);
    const input = served?.inputs.get(call, caller);
    if (input) input.signal.abort();
    else served?.givenUp.add(caller, call);
  }

  /** @returns a promise that resolves when no input is left, or after `timeout` milliseconds */
  async idle(timeout: number): Promise<void> {
    if (this.#isEmpty) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#whenEmpty = resolve;
      if (timeout < 2 ** 31) timer = setTimeout(resolve, timeout);
    });
    this.#whenEmpty = undefined;
    clearTimeout(timer);
  }

  /** Lets go of all inputs that have not ended: they are another node's to run. */
  abandon(): void {
    for (const service of this.#services.values()) {
      const inputs = service.inputs.values();
      for (const { route } of inputs) service.inputs.delete(route.call, route.caller);
      service.alone = 0;
      for (const input of inputs) {
        input.hasEnded = true;
        input.signal.abort();
      }
    }
  }

  get #isEmpty(): boolean {
    for (const { inputs } of this.#services.values()) if (inputs.size > 0) return false;
    return true;
  }

  #run(input: ServedInput<Handle>, bytes: Buffer, deliveries: number, age: number): void {
    const { service, route } = input;
    let running: Promise<unknown>;
    try {
      if (deliveries > this.settings.maxDeliver) throw new RedeliveryError(service.name, deliveries - 1);
      if (!READS.includes(route.version)) {
        throw new PayloadError(
          service.name,
          `a node wrote version ${route.version} of the format, and its node reads ${READS.join(', ')}`,
        );
      }
      const read = this.#read(service.name, bytes);
      const timeout = read.timeout === undefined ? undefined : read.timeout - Math.max(0, age);
      if (timeout !== undefined && timeout <= 0) {
        // Its caller has been rejected already.
        this.#end(input, undefined);
        return;
      }
      const { value, priority, tenant, trace } = read;
      const signal = input.signal as unknown as AbortSignal;
      running = service.onInput(value, { deliveries, signal, timeout, priority, tenant, trace });
    } catch (error) {
      this.#answerError(input, error);
      return;
    }
    running.then(
      (result) => {
        this.#answerResult(input, result);
      },
      (error: unknown) => {
        if (input.signal.aborted) this.#end(input, undefined);
        else this.#answerError(input, error);
      },
    );
  }

  #read(service: string, bytes: Buffer) {
    const { codec } = this.settings;
    try {
      const { timeout, priority, extras, body } = readInput(bytes);
      const { tenant, trace } = extras ? readExtras(codec.unpack(extras)) : NO_EXTRAS;
      return { timeout, priority, tenant, trace, value: codec.unpack(body) };
    } catch (cause) {
      throw new PayloadError(service, `its node cannot read this input: ${String(cause)}`, { cause });
    }
  }

  #answerResult(input: ServedInput<Handle>, result: unknown): void {
    if (input.hasEnded) return;
    const { name } = input.service;
    let answer: Buffer;
    try {
      answer = this.settings.codec.pack(result, ANSWER_ROOM);
    } catch (cause) {
      this.#answerError(
        input,
        new PayloadError(name, `this result cannot travel: ${String(cause)}`, { cause }),
      );
      return;
    }
    const limit = this.settings.maxPayload();
    if (answer.length > limit) {
      this.#answerError(input, new PayloadSizeError(name, 'result', answer.length, limit));
      return;
    }
    this.#answer(input, 'result', answer);
  }

  #answerError(input: ServedInput<Handle>, error: unknown): void {
    if (input.hasEnded) return;
    const { codec, context } = this.settings;
    const { name } = input.service;
    let answer: Buffer;
    try {
      answer = codec.pack(takeApart(error, context.errors), ANSWER_ROOM);
      if (answer.length > this.settings.maxPayload()) throw new RangeError(`it has ${answer.length} bytes`);
    } catch (cause) {
      const problem = `the error of its node cannot travel: ${String(cause)}`;
      answer = codec.pack(takeApart(new PayloadError(name, problem), context.errors), ANSWER_ROOM);
    }
    this.#answer(input, 'error', answer);
  }

  #answer(input: ServedInput<Handle>, kind: AnswerKind, answer: Buffer): void {
    writeAnswer(answer, input.route.call, kind);
    this.#end(input, answer);
  }

  #end(input: ServedInput<Handle>, answer: Buffer | undefined): void {
    if (input.hasEnded) return;
    input.hasEnded = true;
    const { service, route, handles } = input;
    service.inputs.delete(route.call, route.caller);
    if (input.runsAlone) service.alone--;
    handles.forEach((handle, index) => {
      // One answer is enough; each of its deliveries is acknowledged.
      this.answerer.end(service.name, handle, route.caller, index === 0 ? answer : undefined);
    });
    if (this.#whenEmpty && this.#isEmpty) this.#whenEmpty();
  }
}

const NO_EXTRAS = { tenant: undefined, trace: undefined };

/** Checks what came. Tenants that are no plain values would be a tenant each. */
function readExtras(extras: unknown): { tenant: unknown; trace: TraceCarrier | undefined } {
  if (typeof extras !== 'object' || extras === null) throw new TypeError(`extras: got ${show(extras)}`);
  const { tenant, trace } = extras as { tenant?: unknown; trace?: unknown };
  if (tenant !== null && typeof tenant === 'object') throw new TypeError(`tenant: got ${show(tenant)}`);
  if (trace === undefined) return { tenant, trace };
  const isCarrier =
    typeof trace === 'object' &&
    trace !== null &&
    Object.values(trace).every((each) => typeof each === 'string');
  if (!isCarrier) throw new TypeError(`trace: expected texts by name, got ${show(trace)}`);
  return { tenant, trace: trace as TraceCarrier };
}

/**
 * The parts of an `AbortSignal` that a queue uses, for one input: an `AbortController` would cost more than
 * all else that is done for it.
 */
class InputSignal {
  aborted = false;
  reason: unknown = undefined;
  #listeners: (() => void)[] | undefined;

  addEventListener(_: 'abort', listener: () => void): void {
    (this.#listeners ??= []).push(listener);
  }

  removeEventListener(_: 'abort', listener: () => void): void {
    const index = this.#listeners?.indexOf(listener) ?? -1;
    if (index >= 0) this.#listeners?.splice(index, 1);
  }

  [LISTEN](callback: () => void): () => void {
    this.addEventListener('abort', callback);
    return () => {
      this.removeEventListener('abort', callback);
    };
  }

  abort(): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = GIVEN_UP;
    for (const listener of [...(this.#listeners ?? [])]) listener();
  }
}

/** Not an error of anybody: what it rejects is not answered. */
const GIVEN_UP = new ServiceStoppedError('an input of another node', 'dropped this input');
