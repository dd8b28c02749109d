import type { Msg } from '@nats-io/transport-node';
import { QueueFullError } from '../core/errors.js';
import { NumberTable } from '../core/number-table.js';
import { splitAnswers } from '../transport/answer-frames.js';
import { NoNodeError, PayloadSizeError, TransportError } from '../transport/errors.js';
import {
  type CallSettings,
  type PendingCall,
  PendingCalls,
  type Sender,
} from '../transport/pending-calls.js';
import type { ResolvedSettings } from '../transport/settings.js';
import { bufferOf, readJson } from './frames.js';
import type { Names } from './names.js';
import { isRefusal, type LinkSubscription, messageOf, type NatsLink } from './nats-link.js';
import type { NatsNodes } from './nats-nodes.js';

/** Where an input is. */
interface Sent {
  /** Its number in the stream. */
  readonly sequence: number;
  /** When to look whether it is still there, on the clock of `performance.now()`. */
  lookAt: number;
  /** Since when it is not. */
  missingSince: number | undefined;
}

type Call = PendingCall<Sent>;

/** Milliseconds after which a call that is not answered is looked for, and one that is not confirmed is sent again. */
const LOOK_AFTER = 5_000;
/** Milliseconds that an input may be missing without an answer before it is sent again. */
const GRACE = 500;
/** Inputs looked for at once. */
const MOST_LOOKS = 200;
/** Calls in one message that says that they have been given up. */
const MOST_CANCELS = 1_000;
/** `JSStreamStoreFailedErrF` of nats-server: the stream has as many messages as it takes. */
const STREAM_FULL = 10_077;

/** A service that is called. */
class Service {
  unsent: Call[] = [];
  given: Call[] = [];
  /** When its stream was made; `undefined` until that is known on this connection. */
  created: string | undefined;
  /** The same on an earlier connection. */
  createdBefore: string | undefined;
  isOpening = false;
  /** Since when its stream cannot be opened, and why. */
  problem: { readonly since: number; readonly error: unknown } | undefined;

  constructor(
    readonly name: string,
    readonly subject: string,
    readonly stream: string,
  ) {}
}

/**
 * The calling half: adds inputs to the streams of their services, and gets the answers on a subject of its own. JetStream
 * confirms each input with its number in the stream. Where that is gone and no answer came, one of them was lost, and the
 * input is sent again.
 */
export class NatsCaller implements Sender<Sent> {
  readonly calls: PendingCalls<Sent>;
  readonly #node: string;
  readonly #services = new Map<string, Service>();
  /** Calls sent again: JetStream may have them twice, so that it is full is no reason to end them. */
  readonly #repeated = new WeakSet<Call>();
  /** Calls that JetStream has not confirmed yet, by their numbers. */
  readonly #unconfirmed = new NumberTable<Call>();
  readonly #confirms: string;
  #subscriptions: LinkSubscription[] = [];
  #isScheduled = false;
  #isLooking = false;
  /** Since when no node serves a service, on the clock of `performance.now()`. */
  readonly #without = new Map<string, number>();
  /** Since when NATS is away. */
  #awaySince: number | undefined = performance.now();

  constructor(
    private readonly link: NatsLink,
    private readonly names: Names,
    private readonly nodes: NatsNodes,
    private readonly settings: ResolvedSettings,
    private readonly callSettings: CallSettings,
  ) {
    this.#node = callSettings.node;
    this.#confirms = names.confirms(this.#node);
    this.calls = new PendingCalls(callSettings, this);
  }

  send(call: Call): void {
    this.#service(call.service).unsent.push(call);
    if (this.#subscriptions.length === 0) this.#subscribe();
    this.#schedule();
  }

  cancel(call: Call): void {
    this.#service(call.service).given.push(call);
    this.#schedule();
  }

  /** NATS can be reached, for the first time or again: what was not confirmed may have been lost on the way. */
  connected(): void {
    this.#awaySince = undefined;
    this.#without.clear();
    for (const service of this.#services.values()) service.created = undefined;
    this.#sendAgain(this.#unconfirmed.values());
    // Answers may have been lost.
    for (const { sent } of this.calls) if (sent) sent.lookAt = 0;
    this.#schedule();
  }

  disconnected(): void {
    this.#awaySince ??= performance.now();
  }

  /** Called several times a second, whether NATS can be reached or not. */
  tick(): void {
    if (this.link.isReady) {
      this.#endUnserved();
      this.#repeatUnconfirmed();
      void this.#look();
      this.#schedule();
    }
    this.#endUnreachable();
  }

  async close(): Promise<void> {
    const given = [...this.calls].filter(({ sent }) => sent !== undefined);
    this.calls.close();
    for (const service of this.#services.values()) service.unsent = [];
    for (const call of given) this.#service(call.service).given.push(call);
    if (this.link.isReady) {
      await Promise.all(Array.from(this.#services.values(), (service) => this.#takeBack(service)));
    }
    for (const subscription of this.#subscriptions) this.link.unsubscribe(subscription);
  }

  #service(name: string): Service {
    let service = this.#services.get(name);
    if (!service) {
      service = new Service(name, this.names.inputs(name), this.names.stream(name));
      this.#services.set(name, service);
    }
    return service;
  }

  #subscribe(): void {
    const { link, names } = this;
    this.#subscriptions = [
      link.subscribe(names.answers(this.#node), ({ data }) => {
        for (const answer of splitAnswers(bufferOf(data))) this.calls.answer(answer);
      }),
      link.subscribe(names.moves(this.#node), ({ data }) => {
        this.#move(readJson(data));
      }),
      link.subscribe(`${this.#confirms}.*`, (message) => {
        this.#confirm(message);
      }),
    ];
  }

  /** Once a turn, after the poll phase: inputs of all requests that were read together are written together. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (!this.link.isReady) return;
      for (const service of this.#services.values()) {
        if (service.given.length > 0) void this.#takeBack(service);
        const isLooked = service.created === undefined && this.calls.of(service.name) > 0;
        if (isLooked) void this.#open(service);
        else this.#sendAll(service);
      }
    });
  }

  /** Makes the stream of a service unless it is there. Where it is another one than before, inputs of the old one are lost. */
  async #open(service: Service): Promise<void> {
    if (service.isOpening) return;
    service.isOpening = true;
    try {
      const subjects = [service.subject, this.names.alone(service.name)];
      const { created } = await this.link.openStream(service.stream, subjects, Infinity);
      if (service.createdBefore !== undefined && service.createdBefore !== created) {
        this.#sendAgain([...this.calls].filter((call) => call.service === service.name && call.sent));
      }
      service.created = service.createdBefore = created;
      service.problem = undefined;
      this.#schedule();
    } catch (error) {
      service.problem ??= { since: performance.now(), error };
      if (isRefusal(error)) this.#refused(service.unsent.splice(0), error);
      // Else the next tick tries again.
    } finally {
      service.isOpening = false;
    }
  }

  #sendAll(service: Service): void {
    const calls = service.unsent;
    if (calls.length === 0) return;
    service.unsent = [];
    const now = performance.now();
    for (const call of calls) {
      if (call.hasEnded) continue;
      const message = call.write();
      // What the broker takes may have become known only now.
      const limit = this.callSettings.maxPayload();
      if (message.length > limit) {
        this.calls.fail(call, new PayloadSizeError(service.name, 'input', message.length, limit));
        continue;
      }
      call.sentAt = now;
      this.#unconfirmed.add(call.number, call);
      this.link.publish(service.subject, message, { reply: `${this.#confirms}.${call.number}` });
    }
  }

  #confirm(message: Msg): void {
    const number = Number(message.subject.slice(this.#confirms.length + 1));
    const call = this.#unconfirmed.get(number);
    if (!call) return;
    this.#unconfirmed.delete(number);
    const service = this.#service(call.service);
    if (message.headers) {
      // Nobody takes it: the stream is gone. Its other inputs are gone with it, which its time of creation will show.
      service.created = undefined;
      this.#sendAgain([call]);
      return;
    }
    const { seq, error } = readConfirmation(message.data);
    if (error) {
      if (error.err_code !== STREAM_FULL) this.#refused([call], new Error(error.description));
      else if (!this.#repeated.has(call)) this.#refuse(service, call);
      // The next tick sends it.
      else service.unsent.push(call);
      return;
    }
    const sequence = Number(seq);
    call.sent = { sequence, lookAt: performance.now() + LOOK_AFTER, missingSince: undefined };
    // It has been given up meanwhile.
    if (call.hasEnded) this.cancel(call);
  }

  #refuse({ name }: Service, call: Call): void {
    const { maxQueued } = this.nodes.bound(name);
    this.calls.fail(call, new QueueFullError(name, maxQueued, this.calls.roundTrip(name)));
  }

  #refused(calls: readonly Call[], cause: Error): void {
    for (const call of calls) {
      const retryAfter = Math.max(1_000, this.calls.roundTrip(call.service));
      const problem = `NATS refused the input: ${messageOf(cause)}`;
      this.calls.fail(call, new TransportError(call.service, problem, retryAfter, { cause }));
    }
  }

  #sendAgain(calls: readonly Call[]): void {
    for (const call of calls) {
      this.#unconfirmed.delete(call.number);
      if (call.hasEnded) continue;
      call.sent = call.sentAt = undefined;
      this.#repeated.add(call);
      this.#service(call.service).unsent.push(call);
    }
    if (calls.length > 0) this.#schedule();
  }

  /** JetStream says nothing where it drops an input, as when it has no room for it in its buffer or its stream has no leader. */
  #repeatUnconfirmed(): void {
    const before = performance.now() - LOOK_AFTER;
    this.#sendAgain(this.#unconfirmed.values().filter(({ sentAt = Infinity }) => sentAt < before));
  }

  /** Removes an abandoned input from the stream if no node has it; else sends an abort to the node that has it. */
  async #takeBack(service: Service): Promise<void> {
    const given = service.given.filter(({ sent }) => sent !== undefined);
    service.given = [];
    // First the nodes, which need to know that it was not lost.
    for (let at = 0; at < given.length; at += MOST_CANCELS) {
      const part = given.slice(at, at + MOST_CANCELS).map(({ number }) => number);
      this.link.publish(this.names.cancels(service.name), JSON.stringify([this.#node, part]));
    }
    await Promise.all(given.map(({ sent }) => this.#remove(service.stream, sent?.sequence)));
  }

  async #remove(stream: string, sequence: number | undefined): Promise<void> {
    if (sequence === undefined) return;
    try {
      await this.link.manager.streams.deleteMessage(stream, sequence, false);
    } catch {
      // It has ended, or it is looked at by its node, which finds that its time is up.
    }
  }

  /** A node has given an input back: it has another number now. */
  #move(moved: unknown): void {
    if (!Array.isArray(moved)) return;
    const [name, number, sequence] = moved as unknown[];
    if (typeof name !== 'string' || typeof number !== 'number' || typeof sequence !== 'number') return;
    const call = this.calls.get(number);
    if (call?.service === name) {
      call.sent = { sequence, lookAt: performance.now() + LOOK_AFTER, missingSince: undefined };
    } else if (this.#services.has(name) && this.link.isReady) {
      void this.#remove(this.names.stream(name), sequence);
    }
  }

  #endUnserved(): void {
    const now = performance.now();
    const { noNodeTimeout } = this.settings;
    for (const service of this.calls.services) {
      if (this.calls.of(service) === 0 || this.nodes.hasAny(service)) this.#without.delete(service);
      else if (!this.#without.has(service)) this.#without.set(service, now);
    }
    // Nodes may not have had the time to say what they serve.
    if (this.#without.size === 0 || this.nodes.listenedFor < this.settings.redeliverAfter / 2) return;
    for (const call of this.calls) {
      const since = this.#without.get(call.service);
      if (since === undefined || now - Math.max(since, call.openedAt) < noNodeTimeout) continue;
      this.calls.fail(call, new NoNodeError(call.service, noNodeTimeout));
      this.cancel(call);
    }
  }

  /** Ends calls that cannot be sent, or answered, for too long. */
  #endUnreachable(): void {
    const { awayTimeout } = this.settings;
    const now = performance.now();
    const away = this.link.isReady ? undefined : this.#awaySince;
    for (const call of this.calls) {
      const { problem } = this.#service(call.service);
      const since = away ?? (call.sent ? undefined : problem?.since);
      if (since === undefined || now - Math.max(since, call.openedAt) < awayTimeout) continue;
      const time = `${Math.round(now - since)} ms`;
      const sentence =
        away === undefined
          ? `JetStream has not been available for ${time}: ${messageOf(problem?.error)}`
          : `NATS has been away for ${time}`;
      this.calls.fail(call, new TransportError(call.service, sentence, 1_000, { cause: problem?.error }));
    }
    for (const service of this.#services.values()) {
      if (service.unsent.length > 0) service.unsent = service.unsent.filter((call) => !call.hasEnded);
    }
  }

  /** Looks for inputs of calls that take long, and sends again what has been missing for a while. */
  async #look(): Promise<void> {
    if (this.#isLooking) return;
    const now = performance.now();
    const due = new Map<Service, Call[]>();
    let count = 0;
    for (const call of this.calls) {
      if (!call.sent || call.sent.lookAt > now) continue;
      const service = this.#service(call.service);
      // The next tick looks, when it is known whether the stream is the same.
      if (service.created === undefined) continue;
      const others = due.get(service);
      if (others) others.push(call);
      else due.set(service, [call]);
      if (++count === MOST_LOOKS) break;
    }
    if (count === 0) return;
    this.#isLooking = true;
    try {
      await Promise.all(Array.from(due, ([service, calls]) => this.#lookFor(service, calls)));
    } finally {
      this.#isLooking = false;
    }
  }

  async #lookFor(service: Service, calls: readonly Call[]): Promise<void> {
    const { streams } = this.link.manager;
    try {
      const { state, created } = await streams.info(service.stream);
      if (created !== service.created) {
        service.created = undefined;
        return;
      }
      const isThere = async (sequence: number): Promise<boolean> =>
        sequence >= state.first_seq &&
        sequence <= state.last_seq &&
        (await streams.getMessage(service.stream, { seq: sequence })) !== null;
      await Promise.all(
        calls.map(async (call) => {
          const { sent } = call;
          if (!sent) return;
          const found = await isThere(sent.sequence);
          if (!call.hasEnded && call.sent === sent) this.#looked(call, sent, found);
        }),
      );
    } catch {
      // The connection was lost, or the stream is gone; the next tick looks again.
      service.created = undefined;
    }
  }

  #looked(call: Call, sent: Sent, found: boolean): void {
    const now = performance.now();
    if (found) {
      sent.missingSince = undefined;
      sent.lookAt = now + LOOK_AFTER;
    } else if (sent.missingSince === undefined) {
      // Its answer may be on the way.
      sent.missingSince = now;
      sent.lookAt = now + GRACE;
    } else this.#sendAgain([call]);
  }
}

/** JetStream writes `{"stream":"NAME", "seq":5}` for each input; all else is parsed. */
const CONFIRMED = /^\{"stream":"[^"]*", ?"seq":(\d+)\}$/;

function readConfirmation(data: Uint8Array): { seq?: unknown; error?: ApiProblem } {
  const [, sequence] = CONFIRMED.exec(bufferOf(data).toString('latin1')) ?? [];
  return sequence === undefined ? (readJson(data) ?? {}) : { seq: sequence };
}

interface ApiProblem {
  readonly err_code?: number;
  readonly description?: string;
}
