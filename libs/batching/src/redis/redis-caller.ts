import type { Redis } from 'ioredis';
import { QueueFullError } from '../core/errors.js';
import { splitAnswers } from '../transport/answer-frames.js';
import { NoNodeError, TransportError } from '../transport/errors.js';
import {
  type CallSettings,
  type PendingCall,
  PendingCalls,
  type Sender,
} from '../transport/pending-calls.js';
import type { ResolvedSettings } from '../transport/settings.js';
import type { Keys } from './keys.js';
import { BLOCK, isReplica, messageOf, type RedisLink } from './redis-link.js';
import type { RedisNodes } from './redis-nodes.js';
import { MOST_PER_SCRIPT } from './scripts.js';

type Call = PendingCall<string>;
type Given = Pick<Call, 'service' | 'number'> & { readonly sent: string };
type Entries = [id: Buffer, fields: Buffer[]][];

/** When to try again what Redis has refused, for example because it has no memory left, in milliseconds. */
const RETRY_REFUSED = 1_000;
/** Instead of the id of an input. */
const NO_ROOM = '-';
/** Most bytes of inputs in one script. */
const MOST_BYTES = 4 * 2 ** 20;
/** Milliseconds that an entry may be missing without an answer before its input is sent again. */
const GRACE = 500;
/** Inputs that are taken back when Redis is there again; what is beyond ends by its own timeout, or runs for nobody. */
const MOST_GIVEN = 10_000;
/** Entries of answers that are left until they are removed. */
const MOST_READ = 200;
/** Milliseconds after which a call that is not answered is looked for, again and again. */
const LOOK_AFTER = 5_000;

/**
 * The calling half: adds inputs to the streams of their services, and reads the answers from a stream of its own. An
 * input is known by the id of its entry. Where that is gone and no answer came, the broker has lost one of them, and the input
 * is sent again.
 */
export class RedisCaller implements Sender<string> {
  readonly calls: PendingCalls<string>;
  readonly #node: string;
  readonly #answers: string;
  #unsent: Call[] = [];
  /** Calls that were given up while their inputs are in Redis. */
  #given: Given[] = [];
  #isScheduled = false;
  #reader: Redis | undefined;
  /** Id of the last entry of answers that was read. */
  #lastId = '0-0';
  /** Entries of answers that were read and are still there. */
  #read = 0;
  /** Whether the stream of answers is there, as far as is known. */
  #hasEntered = false;
  #isEntering = false;
  #isClosed = false;
  /** Since when no node serves a service, on the clock of `performance.now()`. */
  readonly #without = new Map<string, number>();
  /** Since when the entry of a call is missing. */
  readonly #missing = new Map<Call, number>();
  /** Since when Redis cannot be reached, or takes nothing. */
  #awaySince: number | undefined = performance.now();
  /** When calls are looked for next. */
  #lookAt = 0;
  #isLooking = false;

  constructor(
    private readonly link: RedisLink,
    private readonly keys: Keys,
    private readonly nodes: RedisNodes,
    private readonly settings: ResolvedSettings & { readonly keep: number },
    callSettings: CallSettings,
  ) {
    this.#node = callSettings.node;
    this.#answers = keys.answers(callSettings.node);
    this.calls = new PendingCalls(callSettings, this);
  }

  get answersKey(): string {
    return this.#answers;
  }

  send(call: Call): void {
    this.#unsent.push(call);
    if (!this.#reader) this.#startReading();
    this.#schedule();
  }

  cancel({ service, number, sent }: Call): void {
    // One that is not confirmed yet is taken back when it is.
    if (sent === undefined || this.#given.length >= MOST_GIVEN) return;
    this.#given.push({ service, number, sent });
    this.#schedule();
  }

  /** Redis can be reached, for the first time or again. */
  async connected(): Promise<void> {
    this.#hasEntered = false;
    if (!this.#reader) return;
    await this.#enter();
    this.#schedule();
  }

  disconnected(): void {
    this.#awaySince ??= performance.now();
    this.#hasEntered = false;
  }

  /** Called several times a second, whether Redis can be reached or not. */
  async tick(hasAnswers: boolean | undefined): Promise<void> {
    if (this.#reader && this.link.isReady) {
      // Redis has lost what it held, without a loss of the connection.
      if (hasAnswers === false && this.#hasEntered) this.#hasEntered = false;
      if (!this.#hasEntered) await this.#enter();
      if (this.#unsent.length > 0) this.#schedule();
      this.#trim();
    }
    this.#endUnserved();
    this.#endUnreachable();
    await this.#look();
  }

  /** Redis refuses what every call needs. */
  refuseAll(error: Error): void {
    this.#unsent = [];
    this.#refuse(this.calls, error);
  }

  async close(): Promise<void> {
    for (const call of this.calls) this.cancel(call);
    this.#isClosed = true;
    this.calls.close();
    this.#unsent = [];
    if (!this.link.isReady || !this.#reader) return;
    // A Redis that has fallen silent does not keep the application from ending: what waits fails with its connection.
    const timer = setTimeout(() => {
      this.link.close();
    }, 2 * this.settings.redeliverAfter);
    await this.#takeBack().catch(ignore);
    await this.link.commands.del(this.#answers).catch(ignore);
    clearTimeout(timer);
  }

  /** Once a turn, after the poll phase: inputs of all requests that were read together are sent together. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (!this.link.isReady) return;
      if (this.#given.length > 0) this.#takeBack().catch(ignore);
      if (this.#hasEntered) this.#sendAll();
    });
  }

  #sendAll(): void {
    const calls = this.#unsent;
    this.#unsent = [];
    const ofServices = new Map<string, Call[]>();
    for (const call of calls) {
      if (call.hasEnded) continue;
      const others = ofServices.get(call.service);
      if (others) others.push(call);
      else ofServices.set(call.service, [call]);
    }
    for (const [service, ofService] of ofServices) this.#sendTo(service, ofService);
  }

  #sendTo(service: string, calls: readonly Call[]): void {
    let part: Call[] = [];
    let messages: Buffer[] = [];
    let size = 0;
    for (const call of calls) {
      const message = call.write();
      if (part.length === MOST_PER_SCRIPT || (size > 0 && size + message.length > MOST_BYTES)) {
        void this.#sendPart(service, part, messages);
        part = [];
        messages = [];
        size = 0;
      }
      part.push(call);
      messages.push(message);
      size += message.length;
    }
    void this.#sendPart(service, part, messages);
  }

  async #sendPart(service: string, calls: readonly Call[], messages: readonly Buffer[]): Promise<void> {
    const { messages: most, maxQueued } = this.nodes.bound(service);
    const bound = Number.isFinite(most) ? most : Number.MAX_SAFE_INTEGER;
    const now = performance.now();
    for (const call of calls) call.sentAt = now;
    let ids: string[];
    try {
      const reply = await this.link.run(
        'send',
        [this.keys.inputs(service)],
        [bound, this.settings.keep, ...messages],
      );
      ids = String(reply).split(' ');
    } catch (error) {
      this.#notSent(calls, error);
      return;
    }
    calls.forEach((call, index) => {
      const id = ids[index] ?? NO_ROOM;
      if (id === NO_ROOM) {
        this.calls.fail(call, new QueueFullError(service, maxQueued, this.calls.roundTrip(service)));
        return;
      }
      call.sent = id;
      // It has been given up meanwhile.
      if (call.hasEnded) this.cancel(call);
    });
  }

  /** The connection was lost, so the inputs may have arrived or not, and are sent again; or Redis refused them. */
  #notSent(calls: readonly Call[], error: unknown): void {
    if (isRefusal(error)) this.#refuse(calls, error);
    else this.#sendAgain(calls.filter((call) => !call.hasEnded && call.sent === undefined));
  }

  #refuse(calls: Iterable<Call>, error: Error): void {
    const problem = `Redis refuses the input: ${explain(error)}`;
    for (const call of calls) {
      this.calls.fail(call, new TransportError(call.service, problem, RETRY_REFUSED, { cause: error }));
    }
  }

  #sendAgain(calls: readonly Call[]): void {
    for (const call of calls) {
      call.sent = call.sentAt = undefined;
      this.#missing.delete(call);
      this.#unsent.push(call);
    }
    if (calls.length > 0) this.#schedule();
  }

  /** Removes an abandoned input from the stream if no node has it; else sends an abort to the node that has it. */
  async #takeBack(): Promise<void> {
    const given = this.#given;
    this.#given = [];
    const ofServices = new Map<string, string[]>();
    const cancels: [string, string, number][] = [];
    for (const { sent, service, number } of given) {
      cancels.push([service, this.#node, number]);
      const ids = ofServices.get(service);
      if (ids) ids.push(sent);
      else ofServices.set(service, [sent]);
    }
    if (cancels.length === 0) return;
    const pipeline = this.link.commands.pipeline();
    pipeline.publish(this.keys.cancels, JSON.stringify(cancels));
    for (const [service, ids] of ofServices) pipeline.xdel(this.keys.inputs(service), ...ids);
    await pipeline.exec();
  }

  /** Makes the stream of answers. Where it was not there, Redis has lost, or never had, all inputs as well. */
  async #enter(): Promise<void> {
    if (this.#hasEntered || this.#isEntering) return;
    this.#isEntering = true;
    try {
      const isNew = (await this.link.run('enter', [this.#answers], [this.settings.keep])) === 1;
      this.#hasEntered = true;
      this.#awaySince = undefined;
      if (isNew) {
        this.#lastId = '0-0';
        this.#sendAgain([...this.calls].filter(({ sentAt }) => sentAt !== undefined));
      }
      this.#schedule();
    } catch (error) {
      // The next tick tries again.
      if (isRefusal(error)) this.refuseAll(error);
    } finally {
      this.#isEntering = false;
    }
  }

  #startReading(): void {
    const reader = this.link.connect();
    this.#reader = reader;
    if (this.link.isReady) void this.#enter();
    void this.#readAnswers(reader);
  }

  async #readAnswers(reader: Redis): Promise<void> {
    while (!this.#isClosed) {
      try {
        await this.link.ready(reader);
        const reply = await this.link.read(reader, () =>
          reader.xreadBuffer('COUNT', 200, 'BLOCK', BLOCK, 'STREAMS', this.#answers, this.#lastId),
        );
        for (const [, entries] of (reply ?? []) as unknown as [Buffer, Entries][]) this.#take(entries);
        // What the callers send who have been answered goes first: nobody waits for the next read yet. Their inputs are
        // written at the end of this turn.
        await turnEnd();
        if (this.#isScheduled) await turnEnd();
      } catch {
        await pause(50);
      }
    }
  }

  #take(entries: Entries): void {
    for (const [id, fields] of entries) {
      for (let index = 0; index + 1 < fields.length; index += 2) {
        const [name, value] = [fields[index]?.toString('latin1'), fields[index + 1]];
        if (!value) continue;
        if (name === 'a') for (const answer of splitAnswers(value)) this.calls.answer(answer);
        else if (name === 'm') this.#move(value.toString('latin1'));
      }
      this.#lastId = id.toString('latin1');
    }
    this.#read += entries.length;
    if (this.#read >= MOST_READ) this.#trim();
  }

  /** What was read is not needed any more. */
  #trim(): void {
    if (this.#read === 0 || !this.link.isReady) return;
    this.#read = 0;
    this.link.commands.xtrim(this.#answers, 'MINID', this.#lastId).catch(ignore);
  }

  /** A node has given an input back: it has another id now. */
  #move(text: string): void {
    const [number, id] = text.split(' ');
    const call = this.calls.get(Number(number));
    if (call && id !== undefined && /^\d+-\d+$/.test(id)) call.sent = id;
  }

  #endUnserved(): void {
    if (!this.nodes.isKnown || !this.link.isReady) return;
    const now = performance.now();
    const { noNodeTimeout } = this.settings;
    for (const service of this.calls.services) {
      if (this.calls.of(service) === 0 || this.nodes.hasAny(service)) this.#without.delete(service);
      else if (!this.#without.has(service)) this.#without.set(service, now);
    }
    if (this.#without.size === 0) return;
    for (const call of this.calls) {
      const since = this.#without.get(call.service);
      if (since === undefined || now - Math.max(since, call.openedAt) < noNodeTimeout) continue;
      this.calls.fail(call, new NoNodeError(call.service, noNodeTimeout));
      this.cancel(call);
    }
  }

  #endUnreachable(): void {
    const { awayTimeout } = this.settings;
    if (this.#awaySince === undefined) return;
    const now = performance.now();
    for (const call of this.calls) {
      if (now - Math.max(this.#awaySince, call.openedAt) < awayTimeout) continue;
      const problem = `Redis has been away for ${Math.round(now - this.#awaySince)} ms`;
      this.calls.fail(call, new TransportError(call.service, problem, 1000));
    }
    this.#unsent = this.#unsent.filter((call) => !call.hasEnded);
  }

  /** Looks for the entries of calls that take long, and sends again what has been missing for a while. */
  async #look(): Promise<void> {
    if (this.#isLooking || !this.link.isReady || !this.#hasEntered) return;
    const now = performance.now();
    if (now < this.#lookAt) return;
    const old = new Map<string, [Call, string][]>();
    let count = 0;
    for (const call of this.calls) {
      if (call.sentAt === undefined || now - call.sentAt < LOOK_AFTER) break;
      if (call.sent === undefined) continue;
      const others = old.get(call.service);
      if (others) others.push([call, call.sent]);
      else old.set(call.service, [[call, call.sent]]);
      if (++count === MOST_PER_SCRIPT) break;
    }
    for (const call of this.#missing.keys()) if (call.hasEnded) this.#missing.delete(call);
    if (count === 0) return;
    this.#isLooking = true;
    try {
      const lost = await Promise.all(
        Array.from(old, ([service, calls]) => this.#findLost(service, calls, now)),
      );
      this.#sendAgain(lost.flat());
      this.#lookAt = now + (this.#missing.size > 0 ? GRACE : LOOK_AFTER);
    } catch {
      // The connection was lost; the next tick looks again.
    } finally {
      this.#isLooking = false;
    }
  }

  /** @returns the calls whose entries have been missing for a while */
  async #findLost(service: string, calls: readonly [Call, string][], now: number): Promise<Call[]> {
    const ids = calls.map(([, id]) => id);
    const found = String(await this.link.run('look', [this.keys.inputs(service)], ids));
    const lost: Call[] = [];
    calls.forEach(([call, id], index) => {
      if (call.hasEnded || call.sent !== id) return;
      const since = this.#missing.get(call);
      if (found[index] === '1') this.#missing.delete(call);
      else if (since === undefined) this.#missing.set(call, now);
      else if (now - since >= GRACE) lost.push(call);
    });
    return lost;
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Resolves after the poll phase, in the order of the calls. */
export function turnEnd(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export function ignore(): void {
  // Best effort: what it was for has been dealt with, or is dealt with again later.
}

/** Whether Redis itself has answered with an error. */
export function isReplyError(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}

/** Whether it is one that another connection would not change, as when Redis has no memory left. */
export function isRefusal(error: unknown): error is Error {
  return isReplyError(error) && !isReplica(error);
}

/** What Redis said, and for a Cluster what to do. */
export function explain(error: Error): string {
  const isCluster = /^(MOVED|ASK|CROSSSLOT)\b/.test(error.message);
  return isCluster ? CLUSTER : messageOf(error);
}

export const CLUSTER =
  'Redis Cluster is not supported, because scripts use keys of several slots: use a single server, Sentinel or a proxy';
