import { abortReason, onAbort } from '../core/abort-listener.js';
import { show } from '../core/checks.js';
import { LONGEST_TIMER } from '../core/clock.js';
import { BatchTimeoutError, ServiceStoppedError } from '../core/errors.js';
import { NumberTable } from '../core/number-table.js';
import { checkSubmitOptions } from '../core/options.js';
import type { Codec } from './codec.js';
import { inputRoom, readAnswer, READS, writeInput, writeTimeout } from './envelope.js';
import { PayloadError, PayloadSizeError } from './errors.js';
import { MessagePool } from './message-pool.js';
import type { CallOptions, TransportContext } from './transport.js';
import { putTogether } from './travelling-errors.js';

/** The sending half of a transport. Neither function may throw. */
export interface Sender<Sent> {
  /** Sends `call.write()`, now or together with the other calls of this turn. */
  send(call: PendingCall<Sent>): void;
  /** The caller has given up: takes the input back if it still waits in the broker, and tells its node; best effort. */
  cancel(call: PendingCall<Sent>): void;
}

/** What the calls of a transport have in common. */
export interface CallSettings {
  /** Name of this node, ASCII. */
  readonly node: string;
  readonly codec: Codec;
  readonly context: TransportContext;
  /** Most bytes of one message; may become known only with the connection. */
  readonly maxPayload: () => number;
}

/** A call that has not ended. It keeps its input, to send it again where the broker has lost it. */
export class PendingCall<Sent> {
  /** How the broker knows the input; set by the transport. `undefined` until the broker has confirmed it. */
  sent: Sent | undefined = undefined;
  /** When it was last handed to the broker, on the clock of `performance.now()`; `undefined` while it has to be. */
  sentAt: number | undefined = undefined;
  hasEnded = false;
  timer: NodeJS.Timeout | undefined = undefined;
  unlisten: (() => void) | undefined = undefined;

  constructor(
    readonly number: number,
    readonly service: string,
    readonly openedAt: number,
    private readonly timeout: number | undefined,
    readonly message: Buffer,
    readonly resolve: (result: unknown) => void,
    readonly reject: (error: unknown) => void,
  ) {}

  /** The message, with what is left of the timeout at this moment. The same bytes each time. */
  write(): Buffer {
    if (this.timeout !== undefined) {
      writeTimeout(this.message, Math.max(0, this.timeout - (performance.now() - this.openedAt)));
    }
    return this.message;
  }
}

/**
 * The calls of this node that have not ended. Each ends once: with the first answer, its timeout, its signal,
 * or an error of the transport.
 */
export class PendingCalls<Sent> {
  readonly #calls = new NumberTable<PendingCall<Sent>>();
  readonly #ofServices = new Map<string, { count: number; roundTrip: number }>();
  readonly #pool = new MessagePool();
  #lastNumber = 0;
  #isClosed = false;

  constructor(
    private readonly settings: CallSettings,
    private readonly sender: Sender<Sent>,
  ) {}

  get size(): number {
    return this.#calls.size;
  }

  /** Calls of a service that have not ended. */
  of(service: string): number {
    return this.#ofServices.get(service)?.count ?? 0;
  }

  /** The services that the application calls, or has ever called. */
  get services(): ReadonlySet<string> {
    return new Set([...(this.settings.context.calls ?? []), ...this.#ofServices.keys()]);
  }

  /** Those of this moment, in the order in which they were opened. */
  [Symbol.iterator](): IterableIterator<PendingCall<Sent>> {
    return this.#calls.values().values();
  }

  get(number: number): PendingCall<Sent> | undefined {
    return this.#calls.get(number);
  }

  /** Milliseconds that a call took of late, mean; when to try again where there is no room. At least 1. */
  roundTrip(service: string): number {
    return Math.max(1, this.#ofServices.get(service)?.roundTrip ?? 0);
  }

  /** Opens a call and sends it. @returns the promise for its caller */
  open(service: string, input: unknown, options: CallOptions = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      // What is thrown here rejects the promise. Each option is read once.
      const { signal, timeout, priority, tenant, trace } = options;
      checkSubmitOptions(signal, timeout, priority);
      // A thrown value need not be an Error.

      if (signal?.aborted) throw abortReason(signal);
      if (this.#isClosed) throw new ServiceStoppedError(service);
      const { node } = this.settings;
      const fields = {
        timeout: timeout === undefined || timeout > LONGEST_TIMER ? undefined : timeout,
        priority: priority === 0 ? undefined : priority,
        extras: this.#packExtras(tenant, trace),
      };
      const message = this.#pack(service, input, inputRoom(node, fields));
      const limit = this.settings.maxPayload();
      if (message.length > limit) throw new PayloadSizeError(service, 'input', message.length, limit);
      const number = this.#nextNumber();
      writeInput(message, { caller: node, call: number }, fields);
      const call = new PendingCall<Sent>(
        number,
        service,
        performance.now(),
        fields.timeout,
        message,
        resolve,
        reject,
      );
      this.#enter(call, signal, timeout);
      this.sender.send(call);
    });
  }

  /** An answer has arrived. Those of calls that have ended are ignored. */
  answer(bytes: Buffer): void {
    const { context, codec } = this.settings;
    let answer;
    try {
      answer = readAnswer(bytes);
    } catch (error) {
      context.warn('answer', `an answer arrived that cannot be read: ${String(error)}`);
      return;
    }
    const call = this.#calls.get(answer.call);
    if (!call) return;
    const { service } = call;
    if (answer.kind === undefined) {
      this.fail(
        call,
        new PayloadError(
          service,
          `a node answered in version ${bytes[0]} of the format, and this one reads ${READS.join(', ')}`,
        ),
      );
      return;
    }
    let body: unknown;
    try {
      body = codec.unpack(answer.body);
    } catch (cause) {
      this.fail(call, new PayloadError(service, 'the answer of its node cannot be read', { cause }));
      return;
    }
    this.#end(call);
    if (answer.kind === 'error') call.reject(putTogether(body, context.errors, service));
    else call.resolve(body);
  }

  /** Ends a call without an answer. */
  fail(call: PendingCall<Sent>, error: unknown): void {
    if (call.hasEnded) return;
    this.#end(call);
    call.reject(error);
  }

  /** Refuses later calls, and fails those that are left. */
  close(): void {
    this.#isClosed = true;
    for (const call of this) this.fail(call, new ServiceStoppedError(call.service, 'dropped this input'));
  }

  #enter(call: PendingCall<Sent>, signal: AbortSignal | undefined, timeout: number | undefined): void {
    const giveUp = (error: unknown): void => {
      this.fail(call, error);
      this.sender.cancel(call);
    };
    // It may throw, so before anything else.
    if (signal) {
      call.unlisten = onAbort(signal, () => {
        giveUp(abortReason(signal));
      });
    }
    if (timeout !== undefined && timeout <= LONGEST_TIMER) {
      call.timer = setTimeout(() => {
        giveUp(new BatchTimeoutError(call.service, timeout, 'sent'));
      }, timeout);
    }
    this.#calls.add(call.number, call);
    const known = this.#ofServices.get(call.service);
    if (known) known.count++;
    else this.#ofServices.set(call.service, { count: 1, roundTrip: 0 });
  }

  #end(call: PendingCall<Sent>): void {
    call.hasEnded = true;
    if (call.timer) clearTimeout(call.timer);
    call.unlisten?.();
    this.#calls.delete(call.number);
    // One that the broker has not confirmed may not have been written yet.
    if (call.sent !== undefined) this.#pool.give(call.message);
    const service = this.#ofServices.get(call.service);
    if (!service) return;
    service.count--;
    service.roundTrip += (performance.now() - call.openedAt - service.roundTrip) / 16;
  }

  /** A number that no pending call has; they fit into 32 bits. */
  #nextNumber(): number {
    do {
      this.#lastNumber = (this.#lastNumber + 1) >>> 0;
    } while (this.#calls.get(this.#lastNumber));
    return this.#lastNumber;
  }

  #pack(service: string, input: unknown, room: number): Buffer {
    try {
      return this.settings.codec.pack(input, room, this.#pool.take);
    } catch (cause) {
      throw new PayloadError(service, `this input cannot travel: ${String(cause)}`, { cause });
    }
  }

  #packExtras(tenant: unknown, trace: unknown): Uint8Array | undefined {
    if (tenant === undefined && trace === undefined) return undefined;
    if (
      tenant !== null &&
      (typeof tenant === 'object' || typeof tenant === 'function' || typeof tenant === 'symbol')
    ) {
      throw new TypeError(
        `tenant: between nodes expected a string, a number or the like, got ${show(tenant)}`,
      );
    }
    return this.settings.codec.pack({ tenant, trace }, 0);
  }
}
