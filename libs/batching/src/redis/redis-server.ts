import type { Redis } from 'ioredis';
import { joinAnswers } from '../transport/answer-frames.js';
import { type Answerer, ServedInputs, type ServeSettings } from '../transport/served-inputs.js';
import { FROM_ALONE, type OnInput, type ServeOptions } from '../transport/transport.js';
import type { Keys } from './keys.js';
import { ignore, isRefusal, pause, turnEnd } from './redis-caller.js';
import { BLOCK, messageOf, type RedisLink } from './redis-link.js';
import { type RedisNodes, writeNode } from './redis-nodes.js';
import { GROUP, MOST_PER_SCRIPT } from './scripts.js';

/** An answer that Redis has not confirmed yet. */
interface Answer {
  readonly id: string;
  readonly caller: string;
  readonly bytes: Buffer | undefined;
}

type Entry = [id: Buffer, fields: Buffer[] | null];

/** Milliseconds after which an answer that Redis had no memory for is sent again. */
const RETRY = 250;
/** Most bytes of answers in one script. */
const MOST_BYTES = 4 * 2 ** 20;
/** Ticks after which orphans are looked for: inputs of nodes that Redis does not know of any more. */
const TICKS = 20;

/** A service that is read. */
class Service {
  /** Answers to be sent at the end of this turn. */
  answers: Answer[] = [];
  /** Those that are sent and not confirmed. */
  readonly sent = new Set<readonly Answer[]>();
  /** Called when there may be room again. Set while nothing is read. */
  wake: (() => void) | undefined;
  /** Resolves when inputs were taken that were asked for together with answers. */
  taking: Promise<void> | undefined;
  /** Whether Redis may have given inputs to this node in a reply that was lost. */
  mayMiss = false;
  /** Whether a dead node has inputs that run alone, which are taken over one after another. */
  hasLeftSome = false;
  isClaiming = false;
  reader: Redis | undefined;
  /** What Redis calls that connection. */
  clientId: number | undefined;
  /** Resolves when nothing more is read. */
  ended: Promise<void> = Promise.resolve();

  constructor(
    readonly name: string,
    readonly inputs: string,
  ) {}

  /** Ids of inputs that have ended, as far as Redis has not confirmed it. */
  *unconfirmed(): Generator<string> {
    for (const part of [this.answers, ...this.sent]) for (const { id } of part) yield id;
  }
}

/**
 * The serving half: reads inputs of each service as a consumer of its group, as many as there is credit for, on a connection
 * of its own; sends the answers of a turn together; takes over what nodes had that are silent.
 */
export class RedisServer implements Answerer<string> {
  readonly served: ServedInputs<string>;
  readonly #services = new Map<string, Service>();
  #isScheduled = false;
  #isDraining = false;
  /** It has nothing left to do with inputs. */
  #hasLeft = false;
  #subscriber: Redis | undefined;
  #claimTimer: NodeJS.Timeout | undefined;
  #ticks = 0;

  constructor(
    private readonly node: string,
    private readonly link: RedisLink,
    private readonly keys: Keys,
    private readonly nodes: RedisNodes,
    private readonly settings: { readonly redeliverAfter: number; readonly keep: number },
    private readonly serveSettings: ServeSettings,
    /** Gives a sign of life now. */
    private readonly beat: () => Promise<void>,
  ) {
    this.served = new ServedInputs(serveSettings, this);
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** What this node says of itself; empty if it has nothing to do with inputs. */
  get description(): string {
    if (this.#services.size === 0 || this.#hasLeft) return '';
    const services = this.#isDraining ? [] : [...this.#services.keys()];
    return writeNode(new Map(services.map((name) => [name, this.served.describe(name)])));
  }

  get serviceNames(): string[] {
    return [...this.#services.keys()];
  }

  add(name: string, options: ServeOptions, onInput: OnInput): void {
    this.served.add(name, options, onInput);
    const service = new Service(name, this.keys.inputs(name));
    this.#services.set(name, service);
    this.#subscriber ??= this.#subscribe();
    service.ended = this.#read(service);
  }

  end(name: string, id: string, caller: string, bytes: Buffer | undefined): void {
    const service = this.#services.get(name);
    if (!service) return;
    service.answers.push({ id, caller, bytes });
    this.#schedule();
  }

  /** Redis can be reached again. */
  connected(): void {
    this.#schedule();
  }

  /** Called several times a second while Redis can be reached. */
  async tick(): Promise<void> {
    if (this.#services.size === 0 || this.#isDraining) return;
    const { redeliverAfter } = this.settings;
    const silent = this.nodes.untilSilent(this.node);
    clearTimeout(this.#claimTimer);
    if (silent === 0 || this.#ticks++ % TICKS === 0) await this.#claimAll();
    // Before the next tick, if a node falls silent before it.
    else if (silent < redeliverAfter / 4 + 1) {
      this.#claimTimer = setTimeout(() => void this.#claimAll(), silent + 2);
    }
  }

  async drain(timeout: number): Promise<void> {
    this.#isDraining = true;
    clearTimeout(this.#claimTimer);
    const services = [...this.#services.values()];
    if (services.length === 0) return;
    await this.beat().catch(ignore);
    await Promise.all(services.map((service) => this.#endReading(service)));
    // What Redis has given to the connection that is gone.
    await this.#giveBack(services);
    await this.served.idle(timeout);
    const left = services.filter(({ name }) => this.served.inProgress(name) > 0);
    this.served.abandon();
    await this.#sendAnswers();
    if (left.length > 0) await this.#giveBack(left);
    this.#hasLeft = true;
    await this.link
      .run('leave', [this.keys.nodes, this.keys.nodePrefix + this.node], [this.node])
      .catch(ignore);
  }

  close(): void {
    clearTimeout(this.#claimTimer);
    if (this.#subscriber) this.link.disconnect(this.#subscriber);
  }

  async #read(service: Service): Promise<void> {
    const reader = (service.reader = this.link.connect());
    reader.on('ready', () => {
      reader.client('ID').then((id) => (service.clientId = id), ignore);
    });
    const { name, inputs } = service;
    while (!this.#isDraining) {
      const credit = this.served.credit(name);
      if (credit === 0 || service.taking || service.answers.length >= this.served.prefetch(name)) {
        await new Promise<void>((resolve) => (service.wake = resolve));
        continue;
      }
      try {
        await this.link.ready(reader);
        if (service.mayMiss) {
          await this.#takeMissed(service);
          continue;
        }
        // It counts as silent, or is not known at all, before the first sign of life.
        if (!this.nodes.isKnown) await this.beat();
        if (!this.nodes.isKnown) throw new Error('Redis has not answered');
        const reply = await this.link.read(reader, () =>
          reader.xreadgroupBuffer(
            'GROUP',
            GROUP,
            this.node,
            'COUNT',
            credit,
            'BLOCK',
            BLOCK,
            'STREAMS',
            inputs,
            '>',
          ),
        );
        for (const [, entries] of (reply ?? []) as [Buffer, Entry[]][]) this.#take(name, entries);
        // The queue looks at what came at the end of this turn, and has something better to do than to wait for this write.
        await turnEnd();
      } catch (error) {
        service.mayMiss ||= !isRefusal(error);
        if (isRefusal(error) && error.message.startsWith('NOGROUP'))
          await this.#makeGroup(service).catch(() => pause(20));
        else {
          if (isRefusal(error)) this.#warn(name, error);
          await pause(20);
        }
      }
    }
  }

  #take(name: string, entries: readonly Entry[]): void {
    for (const [id, fields] of entries) {
      const text = id.toString('latin1');
      let message: Buffer = EMPTY;
      let before = 0;
      for (let index = 0; index + 1 < (fields?.length ?? 0); index += 2) {
        const [field, value] = [fields?.[index], fields?.[index + 1]];
        if (!field || !value) continue;
        if (field[0] === MESSAGE) message = value;
        else if (field[0] === DELIVERIES) before = Number(value.toString('latin1'));
      }
      this.served.take(name, message, before + 1, this.nodes.ageOf(text), text);
    }
  }

  async #makeGroup({ inputs }: Service): Promise<void> {
    try {
      // From the beginning: callers may have sent inputs before there was a node.
      await this.link.commands.xgroup('CREATE', inputs, GROUP, '0', 'MKSTREAM');
    } catch (error) {
      if (!(isRefusal(error) && error.message.startsWith('BUSYGROUP'))) throw error;
    }
  }

  /** Ends the command that waits in Redis, so that it ends by itself; else the connection. */
  async #endReading(service: Service): Promise<void> {
    await service.taking;
    service.wake?.();
    const { reader } = service;
    if (!reader) return;
    await this.#unblock(service);
    this.link.disconnect(reader);
    await service.ended;
  }

  async #unblock({ clientId, ended }: Service): Promise<void> {
    if (clientId === undefined || !this.link.isReady) return;
    try {
      await this.link.commands.client('UNBLOCK', clientId);
      await Promise.race([ended, pause(200)]);
    } catch {
      // Not allowed here: the connection is ended instead.
    }
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      void this.#sendAnswers();
      for (const service of this.#services.values()) {
        if (!service.taking) this.#wake(service);
        if (service.hasLeftSome && !this.served.hasAlone(service.name)) void this.#claim(service);
      }
    });
  }

  #wake(service: Service): void {
    const { wake } = service;
    service.wake = undefined;
    wake?.();
  }

  async #sendAnswers(): Promise<void> {
    if (!this.link.isReady) return;
    const sent: Promise<void>[] = [];
    for (const service of this.#services.values()) {
      const { answers } = service;
      if (answers.length === 0) continue;
      service.answers = [];
      for (const part of parts(answers)) sent.push(this.#sendPart(service, part));
    }
    await Promise.all(sent);
  }

  async #sendPart(service: Service, answers: readonly Answer[]): Promise<void> {
    const ofCallers = new Map<string, Buffer[]>();
    for (const { caller, bytes } of answers) {
      if (!bytes) continue;
      const others = ofCallers.get(caller);
      if (others) others.push(bytes);
      else ofCallers.set(caller, [bytes]);
    }
    const keys = [service.inputs, ...Array.from(ofCallers.keys(), (caller) => this.keys.answers(caller))];
    const most = this.#mostBesides(service);
    const values = [
      answers.map(({ id }) => id).join(' '),
      this.node,
      most,
      ...Array.from(ofCallers.values(), joinAnswers),
    ];
    const sent = this.link.run('answer', keys, values);
    if (most > 0) service.taking = this.#takeBesides(service, sent as Promise<Entry[]>);
    service.sent.add(answers);
    try {
      await sent;
    } catch (error) {
      // Not acknowledged, so nobody else has them while this node lives. The connection was lost, or Redis has no memory.
      if (isRefusal(error)) {
        this.#warn(service.name, error);
        await pause(RETRY);
      }
      service.answers.unshift(...answers);
      if (isRefusal(error)) this.#schedule();
    }
    service.sent.delete(answers);
  }

  /** Inputs to be asked for together with answers: none while its reader waits for some. */
  #mostBesides({ name, wake, taking }: Service): number {
    return wake && !taking && !this.#isDraining ? this.served.credit(name) : 0;
  }

  async #takeBesides(service: Service, sent: Promise<readonly Entry[]>): Promise<void> {
    try {
      this.#take(service.name, await sent);
    } catch (error) {
      service.mayMiss ||= !isRefusal(error);
    }
    service.taking = undefined;
    this.#wake(service);
  }

  async #claimAll(): Promise<void> {
    for (const service of this.#services.values()) await this.#claim(service);
  }

  /** Takes over what dead nodes had. Not before it is known what the last time has brought. */
  async #claim(service: Service): Promise<void> {
    if (!this.link.isReady || this.#isDraining || service.isClaiming || service.mayMiss) return;
    service.isClaiming = true;
    const { name, inputs } = service;
    const most = Math.max(0, 2 * this.served.prefetch(name) - this.served.inProgress(name));
    const mostAlone = this.served.hasAlone(name) ? 0 : 1;
    const maxDeliver = Math.min(this.serveSettings.maxDeliver, Number.MAX_SAFE_INTEGER);
    const values = [this.node, this.settings.redeliverAfter, most, mostAlone, FROM_ALONE - 1, maxDeliver];
    try {
      const reply = await this.link.run('claim', [inputs, this.keys.nodes], values);
      const [left, ...taken] = reply as unknown[];
      service.hasLeftSome = left === 1;
      this.#takeAgain(name, taken);
    } catch (error) {
      if (isRefusal(error)) this.#warn(name, error);
      else service.mayMiss = true;
    }
    service.isClaiming = false;
  }

  /** What is asked on the connection for commands comes after the answers that were sent there before, whose inputs are gone. */
  async #takeMissed(service: Service): Promise<void> {
    const { name, inputs } = service;
    const has = [...this.served.handles(name), ...service.unconfirmed()];
    this.#takeAgain(name, await this.link.run('missed', [inputs], [this.node, ...has]));
    service.mayMiss = false;
  }

  /** Takes what the scripts CLAIM and MISSED return of inputs. */
  #takeAgain(name: string, reply: unknown): void {
    const values = reply as (Buffer | number)[];
    for (let index = 0; index + 3 < values.length; index += 4) {
      const [id, deliveries, message, before] = values.slice(index, index + 4);
      const text = String(id);
      const bytes = Buffer.isBuffer(message) ? message : EMPTY;
      this.served.take(name, bytes, Number(deliveries) + Number(before) + 1, this.nodes.ageOf(text), text);
    }
  }

  async #giveBack(services: readonly Service[]): Promise<void> {
    for (const service of services) {
      // Answers that Redis has not got yet belong to inputs that have ended.
      const keep = [...this.served.handles(service.name), ...service.unconfirmed()];
      await this.link
        .run('giveBack', [service.inputs], [this.node, this.keys.answersPrefix, ...keep])
        .catch(ignore);
    }
  }

  #subscribe(): Redis {
    const subscriber = this.link.connect();
    subscriber.on('ready', () => {
      subscriber.subscribe(this.keys.cancels).catch(ignore);
    });
    subscriber.on('message', (_: string, text: string) => {
      for (const [service, caller, call] of readCancels(text)) this.served.cancel(service, caller, call);
    });
    return subscriber;
  }

  #warn(name: string, error: Error): void {
    this.serveSettings.context.warn(
      `redis ${name}`,
      `${name}: Redis refuses: ${messageOf(error)}; trying again`,
    );
  }
}

const EMPTY = Buffer.alloc(0);
/** Fields of an entry: `p` and `d`. */
const [MESSAGE, DELIVERIES] = Buffer.from('pd');

function* parts(answers: readonly Answer[]): Generator<Answer[]> {
  let part: Answer[] = [];
  let size = 0;
  for (const answer of answers) {
    const length = answer.bytes?.length ?? 0;
    if (part.length === MOST_PER_SCRIPT || (size > 0 && size + length > MOST_BYTES)) {
      yield part;
      part = [];
      size = 0;
    }
    part.push(answer);
    size += length;
  }
  if (part.length > 0) yield part;
}

/** Anybody may publish on the channel, so what comes is checked. */
function readCancels(text: string): [service: string, caller: string, call: number][] {
  try {
    const list = JSON.parse(text) as unknown;
    if (!Array.isArray(list)) return [];
    return list.filter(
      (each): each is [string, string, number] =>
        Array.isArray(each) &&
        typeof each[0] === 'string' &&
        typeof each[1] === 'string' &&
        typeof each[2] === 'number',
    );
  } catch {
    return [];
  }
}
