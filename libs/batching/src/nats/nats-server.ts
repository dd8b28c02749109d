import { headers, type Msg } from '@nats-io/transport-node';
import { joinAnswers, LENGTH } from '../transport/answer-frames.js';
import { readRoute } from '../transport/envelope.js';
import { type Answerer, ServedInputs, type ServeSettings } from '../transport/served-inputs.js';
import type { Served } from '../transport/served-services.js';
import { FROM_ALONE, type OnInput, type ServeOptions } from '../transport/transport.js';
import { BrokerClock } from './broker-clock.js';
import { Credit } from './credit.js';
import { bufferOf, readDelivered, readJson } from './frames.js';
import { ALONE, CONSUMER, type Names } from './names.js';
import {
  ignore,
  isMissing,
  type LinkSubscription,
  messageOf,
  nanoseconds,
  type NatsLink,
} from './nats-link.js';
import type { NatsNodes } from './nats-nodes.js';

/** An input as the broker has delivered it. */
interface Handle {
  /** Where it is acknowledged. */
  readonly reply: string;
  readonly bytes: Buffer;
  readonly deliveries: number;
  /** Time of the broker when its caller sent it. */
  readonly sentAt: number;
}

interface Ended {
  readonly handle: Handle;
  readonly caller: string;
  readonly answer: Buffer | undefined;
}

/**
 * Header of an input that was given back and is a message anew: how often it was delivered before, and how many milliseconds
 * it was in the broker.
 */
const BEFORE = 'Nest-Batching-Before';
const ACK = '+ACK';
const NOT_ACK = '-NAK';
const IN_PROGRESS = '+WPI';

/** A consumer of a stream, and what this node has asked it for. */
class Line {
  readonly credit = new Credit();
  /** Where its inputs arrive. */
  inbox: LinkSubscription | undefined;

  constructor(
    readonly consumer: string,
    readonly subject: string,
  ) {}
}

/** A service that is served. */
class Service {
  readonly lines: readonly Line[];
  /** Answers to be sent at the end of this turn. */
  ended: Ended[] = [];
  /** Whether its stream and consumer are there, as far as is known. */
  isOpen = false;
  isOpening = false;
  isAsking = false;
  /** Most inputs that its stream takes. */
  maxMessages = Infinity;
  /** Inputs that no node has taken. */
  waiting = 0;

  constructor(
    readonly name: string,
    readonly stream: string,
    readonly inputs: Line,
    /** Of inputs that run alone. Their deliveries count from the line on: in the other one, many come to a node at once. */
    readonly alone: Line,
    readonly cancels: LinkSubscription,
  ) {
    this.lines = [inputs, alone];
  }
}

/**
 * The serving half: asks the consumer of each service for as many inputs as there is credit for; says that they are in progress
 * while they run; sends the answers of a turn together, and acknowledges. JetStream delivers again what was neither
 * acknowledged nor said to be in progress for `redeliverAfter`.
 */
export class NatsServer implements Answerer<Handle> {
  readonly served: ServedInputs<Handle>;
  readonly #services = new Map<string, Service>();
  readonly #clock = new BrokerClock();
  #inboxes = 0;
  #isScheduled = false;
  #isDraining = false;
  /** Inputs being given back. */
  readonly #givenBack = new Set<Promise<void>>();

  constructor(
    private readonly node: string,
    private readonly link: NatsLink,
    private readonly names: Names,
    private readonly nodes: NatsNodes,
    private readonly settings: { readonly redeliverAfter: number; readonly keep: number },
    private readonly serveSettings: ServeSettings,
    /** Says now what this node serves. */
    private readonly beat: () => void,
  ) {
    this.served = new ServedInputs(serveSettings, this);
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  get serviceNames(): string[] {
    return [...this.#services.keys()];
  }

  /** What this node serves now; empty while it does not take inputs. */
  get description(): Map<string, Served> {
    const open = this.#isDraining ? [] : [...this.#services.values()].filter(({ isOpen }) => isOpen);
    return new Map(open.map(({ name, waiting }) => [name, { ...this.served.describe(name), waiting }]));
  }

  add(name: string, options: ServeOptions, onInput: OnInput): void {
    this.served.add(name, options, onInput);
    const cancels = this.link.subscribe(this.names.cancels(name), ({ data }) => {
      this.#cancel(name, readJson(data));
    });
    const { names } = this;
    const inputs = new Line(CONSUMER, names.inputs(name));
    const alone = new Line(ALONE, names.alone(name));
    const service = new Service(name, names.stream(name), inputs, alone, cancels);
    this.#services.set(name, service);
    if (this.link.isReady) void this.#open(service);
  }

  end(name: string, handle: Handle, caller: string, answer: Buffer | undefined): void {
    const service = this.#services.get(name);
    if (!service) return;
    service.ended.push({ handle, caller, answer });
    this.#schedule();
  }

  /** NATS can be reached, for the first time or again. */
  connected(): void {
    this.#clock.reset();
    for (const service of this.#services.values()) {
      service.isOpen = false;
      void this.#open(service);
    }
    this.#schedule();
  }

  /** Called several times a second while NATS can be reached. */
  tick(): void {
    for (const service of this.#services.values()) {
      for (const { reply } of this.served.handles(service.name)) this.link.publish(reply, IN_PROGRESS);
      if (this.#isDraining) continue;
      if (!service.isOpen) void this.#open(service);
      else {
        this.#pull(service);
        void this.#ask(service);
      }
    }
  }

  async drain(timeout: number): Promise<void> {
    this.#isDraining = true;
    const services = [...this.#services.values()];
    if (services.length === 0) return;
    this.beat();
    // What the broker has sent meanwhile arrives, and is given back.
    const inboxes = services.flatMap(({ lines }) => lines.map(({ inbox }) => inbox));
    await Promise.all(inboxes.map(async (inbox) => inbox && this.link.drain(inbox).catch(ignore)));
    await this.served.idle(timeout);
    const left = services.map(({ name }) => ({ name, handles: [...this.served.handles(name)] }));
    this.served.abandon();
    this.#sendAnswers();
    for (const { name, handles } of left) for (const handle of handles) this.#giveBack(name, handle);
    await Promise.all(this.#givenBack);
    await this.link.flush(this.settings.redeliverAfter);
  }

  close(): void {
    for (const { cancels, lines } of this.#services.values()) {
      this.link.unsubscribe(cancels);
      for (const { inbox } of lines) if (inbox) this.link.unsubscribe(inbox);
    }
  }

  /** Makes the stream and the consumers of a service unless they are there, and asks for inputs. */
  async #open(service: Service): Promise<void> {
    if (service.isOpening || this.#isDraining) return;
    service.isOpening = true;
    const { name, lines, stream } = service;
    const { redeliverAfter, keep } = this.settings;
    try {
      const own = this.served.prefetch(name) + this.served.maxQueued(name);
      const subjects = lines.map(({ subject }) => subject);
      const now = await this.link.openStream(stream, subjects, own);
      service.maxMessages = now.maxMessages;
      // Without a limit no node has served it. One that is too large is set right when all nodes are known.
      if (now.maxMessages === Infinity || now.maxMessages < own) await this.#limit(service, own);
      for (const { consumer, subject } of lines) {
        await this.link.openConsumer(stream, consumer, subject, redeliverAfter, keep);
      }
      if (this.isDraining) return;
      for (const line of lines) {
        // Requests for inputs of before have nobody any more to deliver to.
        if (line.inbox) this.link.unsubscribe(line.inbox);
        line.credit.reset();
        line.inbox = this.link.subscribe(this.names.deliveries(this.node, ++this.#inboxes), (message) => {
          this.#take(service, line, message);
        });
      }
      service.isOpen = true;
      this.#pull(service);
      this.beat();
    } catch (error) {
      // The next tick tries again.
      if (this.link.isReady) this.#warn(name, error);
    } finally {
      service.isOpening = false;
    }
  }

  /**
   * Bounds the stream to what its nodes have and let wait. Never below what it has now: servers of before 2.10 would drop what is
   * too much.
   */
  async #limit(service: Service, bound: number): Promise<void> {
    if (bound === service.maxMessages) return;
    const { streams } = this.link.manager;
    const { state } = await streams.info(service.stream);
    if (state.messages > bound) return;
    await streams.update(service.stream, { max_msgs: Number.isFinite(bound) ? bound : -1 });
    service.maxMessages = bound;
  }

  /** Asks how many inputs wait, whether the consumer is there, and what time it is; keeps the bound of the stream right. */
  async #ask(service: Service): Promise<void> {
    if (service.isAsking) return;
    service.isAsking = true;
    const { name, stream } = service;
    const askedAt = performance.now();
    try {
      const info = await this.link.manager.consumers.info(stream, CONSUMER);
      // Not in the types; there from 2.10.
      const time = Date.parse(String((info as { ts?: unknown }).ts));
      if (!Number.isNaN(time)) this.#clock.read(time, askedAt, performance.now());
      service.waiting = info.num_pending;
      const isFirst = this.nodes.of(name).every(({ node }) => node >= this.node);
      const { messages: bound } = this.nodes.bound(name);
      // One node is enough; what it finds when it becomes the first one may be of any age.
      if (!isFirst) service.maxMessages = NaN;
      else if (this.nodes.listenedFor > this.settings.redeliverAfter && Number.isFinite(bound)) {
        await this.#limit(service, bound);
      }
    } catch (error) {
      // It is gone, or was never there for the broker that has taken over.
      if (isMissing(error)) service.isOpen = false;
    } finally {
      service.isAsking = false;
    }
  }

  #pull(service: Service): void {
    const { name, inputs, alone } = service;
    this.#pullFrom(service, inputs, this.served.prefetch(name), this.served.credit(name));
    this.#pullFrom(service, alone, 1, this.served.hasAlone(name) ? 0 : 1);
  }

  #pullFrom(
    { isOpen, stream }: Service,
    { consumer, inbox, credit }: Line,
    most: number,
    room: number,
  ): void {
    if (!isOpen || !inbox || this.#isDraining || !this.link.isReady) return;
    // Not longer than what is delivered to a node that is silent waits for another delivery, which must not go there again.
    const expires = this.settings.redeliverAfter;
    const batch = credit.take(most, room, expires);
    if (batch === 0) return;
    this.link.publish(
      `${this.link.api}.CONSUMER.MSG.NEXT.${stream}.${consumer}`,
      JSON.stringify({ batch, expires: nanoseconds(expires) }),
      { reply: inbox.subject },
    );
  }

  #take(service: Service, line: Line, message: Msg): void {
    const { reply, data } = message;
    const delivered = reply === undefined ? undefined : readDelivered(reply);
    if (reply === undefined || !delivered) {
      this.#requestEnded(service, line, message);
      return;
    }
    line.credit.came();
    const isInLine = line === service.inputs;
    if (isInLine) service.waiting = delivered.waiting;
    const [before, elapsed] = readBefore(message);
    // From the third on those of the other line count.
    const most = isInLine ? FROM_ALONE : Infinity;
    const deliveries = Math.min(most, before + delivered.deliveries);
    const sentAt = delivered.storedAt - elapsed;
    const handle = { reply, bytes: bufferOf(data), deliveries, sentAt };
    if (this.#isDraining || (isInLine && this.served.runsAlone(deliveries)))
      this.#giveBack(service.name, handle);
    else this.served.take(service.name, handle.bytes, deliveries, this.#clock.ageOf(sentAt), handle);
  }

  /** A request for inputs has ended, at its time or because of something that happened to the consumer. */
  #requestEnded(service: Service, line: Line, { headers: status }: Msg): void {
    const left = status?.get('Nats-Pending-Messages');
    if (left) {
      line.credit.ended(Number(left));
      this.#pull(service);
    } else if (status && status.code !== 100) service.isOpen = false;
  }

  #cancel(name: string, given: unknown): void {
    if (!Array.isArray(given)) return;
    const [caller, numbers] = given as unknown[];
    if (typeof caller !== 'string' || !Array.isArray(numbers)) return;
    for (const number of numbers) if (typeof number === 'number') this.served.cancel(name, caller, number);
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#sendAnswers();
      for (const service of this.#services.values()) this.#pull(service);
    });
  }

  /** An answer goes out before its input is acknowledged, on the same connection: what is acknowledged was answered. */
  #sendAnswers(): void {
    if (!this.link.isReady) return;
    const most = this.link.maxPayload();
    for (const service of this.#services.values()) {
      const { ended } = service;
      if (ended.length === 0) continue;
      service.ended = [];
      const ofCallers = new Map<string, { answers: Buffer[]; size: number }>();
      for (const { caller, answer } of ended) {
        if (!answer) continue;
        let others = ofCallers.get(caller);
        if (others && others.size + answer.length + LENGTH > most) {
          this.#send(caller, others.answers);
          others = undefined;
        }
        if (!others) ofCallers.set(caller, (others = { answers: [], size: 0 }));
        others.answers.push(answer);
        others.size += answer.length + LENGTH;
      }
      for (const [caller, { answers }] of ofCallers) this.#send(caller, answers);
      for (const { handle } of ended) this.link.publish(handle.reply, ACK);
    }
  }

  #send(caller: string, answers: readonly Buffer[]): void {
    try {
      this.link.publish(this.names.answers(caller), joinAnswers(answers));
    } catch (error) {
      // The name of a caller came from the network.
      this.serveSettings.context.warn(
        'nats answers',
        `answers to ${caller} were not sent: ${messageOf(error)}`,
      );
    }
  }

  /**
   * Gives an input back to be delivered to another node. JetStream would count that as a delivery, so it becomes a new message that
   * says how often the old one was delivered before.
   */
  #giveBack(name: string, handle: Handle): void {
    const given = this.#moveToEnd(name, handle).catch(() => {
      // There is no room, or no connection. It is delivered again at once, or after `redeliverAfter`, and that counts.
      this.link.publish(handle.reply, NOT_ACK);
    });
    this.#givenBack.add(given);
    void given.finally(() => this.#givenBack.delete(given));
  }

  async #moveToEnd(name: string, { reply, bytes, deliveries, sentAt }: Handle): Promise<void> {
    if (!this.link.isReady) return;
    const subject = this.served.runsAlone(deliveries) ? this.names.alone(name) : this.names.inputs(name);
    const before = headers();
    before.set(BEFORE, `${deliveries - 1} ${Math.round(this.#clock.ageOf(sentAt))}`);
    const stored = await this.link.request(subject, bytes, { headers: before });
    const { seq, error } = (readJson(stored.data) ?? {}) as { seq?: unknown; error?: unknown };
    if (error !== undefined || typeof seq !== 'number') throw new Error('the stream has not taken it');
    const { caller, call } = readRoute(bytes);
    this.link.publish(this.names.moves(caller), JSON.stringify([name, call, seq]));
    this.link.publish(reply, ACK);
  }

  #warn(name: string, error: unknown): void {
    this.serveSettings.context.warn(
      `nats ${name}`,
      `${name}: its stream cannot be opened: ${messageOf(error)}; trying again`,
    );
  }
}

/** Deliveries and milliseconds before the input was given back. */
function readBefore(message: Msg): [deliveries: number, elapsed: number] {
  if (!message.headers) return NEVER;
  const [deliveries = NaN, elapsed = NaN] = message.headers.get(BEFORE).split(' ').map(Number);
  return deliveries >= 0 && elapsed >= 0 ? [deliveries, elapsed] : NEVER;
}

const NEVER: [deliveries: number, elapsed: number] = [0, 0];
