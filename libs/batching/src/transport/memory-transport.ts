import { hostname } from 'node:os';
import { deserialize, serialize } from 'node:v8';
import { QueueFullError } from '../core/errors.js';
import {
  opened,
  OPENED_TWICE,
  resolveSettings,
  type ResolvedSettings,
  type TransportSettings,
} from './settings.js';
import { type Codec, withRoom } from './codec.js';
import { NoNodeError } from './errors.js';
import { nodeName } from './node-name.js';
import { type PendingCall, PendingCalls } from './pending-calls.js';
import { ServedInputs } from './served-inputs.js';
import type {
  CallOptions,
  NodeState,
  OnInput,
  ServeOptions,
  ServiceState,
  Transport,
  TransportContext,
  TransportState,
} from './transport.js';

export interface MemoryTransportOptions extends TransportSettings {
  /** Nodes with the same broker meet. Default: one of its own, where it meets only itself. */
  broker?: MemoryBroker | undefined;
}

/**
 * Carries inputs between applications of one process, for tests of `remote` and `serve` without a broker: what is
 * sent is encoded and decoded, credit, redelivery and errors are those of the other transports.
 *
 * ```ts
 * const broker = new MemoryBroker();
 * const model = BatchingModule.forRoot({ transport: memoryTransport({ broker }), serve: [DigitClassifier] });
 * const web = BatchingModule.forRoot({ transport: memoryTransport({ broker }), remote: [DigitClassifier] });
 * ```
 */
export function memoryTransport(options: MemoryTransportOptions = {}): MemoryTransport {
  return new MemoryTransport(resolveSettings(options), options.broker ?? new MemoryBroker());
}

const codec: Codec = {
  pack: (value, room, allocate) => withRoom(room, serialize(value), allocate),
  // Of a copy, since arrays that it returns are views of what it reads.
  unpack: (bytes) => deserialize(new Uint8Array(bytes)) as unknown,
};

/** An input in the broker. */
interface Sent {
  readonly service: string;
  readonly from: MemoryTransport;
  readonly bytes: Buffer;
  readonly at: number;
  deliveries: number;
  isGone: boolean;
  /** The node that has it. */
  node: MemoryTransport | undefined;
}

/** What connects memory transports: the inputs that wait, by service, and the nodes. */
export class MemoryBroker {
  readonly #waiting = new Map<string, Sent[]>();
  /** @internal */
  readonly nodes = new Set<MemoryTransport>();
  #isScheduled = false;

  /** @internal Inputs that wait. */
  waiting(service: string): number {
    return this.#line(service).reduce((sum, { isGone }) => sum + (isGone ? 0 : 1), 0);
  }

  /** @internal */
  leave(node: MemoryTransport): void {
    this.nodes.delete(node);
    for (const other of this.nodes) other.nodeLeft();
  }

  /** @internal */
  nodesOf(service: string): MemoryTransport[] {
    return [...this.nodes].filter((node) => node.serves(service));
  }

  /** @internal Adds an input behind, or, given back, before the others. */
  add(sent: Sent, isFirst = false): void {
    sent.node = undefined;
    if (isFirst) this.#line(sent.service).unshift(sent);
    else this.#line(sent.service).push(sent);
    this.deliverSoon();
  }

  /** @internal */
  deliverSoon(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#deliver();
    });
  }

  #line(service: string): Sent[] {
    let line = this.#waiting.get(service);
    if (!line) this.#waiting.set(service, (line = []));
    return line;
  }

  /** Each input goes to the node with the most credit; one that runs alone waits for a node that has none such. */
  #deliver(): void {
    for (const [service, line] of this.#waiting) {
      const credit = (node: MemoryTransport): number => node.credit(service);
      const left: Sent[] = [];
      while (line.length > 0) {
        const nodes = this.nodesOf(service).filter((node) => credit(node) > 0);
        const sent = nodes.length > 0 ? line.shift() : undefined;
        if (!sent) break;
        if (sent.isGone) continue;
        const [node] = nodes.filter((each) => each.takes(sent)).sort((a, b) => credit(b) - credit(a));
        if (node) node.take(sent);
        else left.push(sent);
      }
      line.unshift(...left);
    }
  }
}

/** What a transport has once it is open. */
interface Halves {
  readonly calls: PendingCalls<Sent>;
  readonly served: ServedInputs<Sent>;
}

/** A node of a `MemoryBroker`. */
export class MemoryTransport implements Transport {
  readonly #node = nodeName();
  #halves: Halves | undefined;
  #isDraining = false;
  /** Nothing comes in or goes out any more. */
  #isCut = false;
  /** Services of which this node waits for another one. */
  readonly #awaited = new Map<string, NodeJS.Timeout>();

  constructor(
    private readonly settings: ResolvedSettings,
    private readonly broker: MemoryBroker,
  ) {}

  open(context: TransportContext): void {
    if (this.#halves) throw new Error(OPENED_TWICE);
    const maxPayload = (): number => Infinity;
    this.#halves = {
      calls: new PendingCalls<Sent>(
        { node: this.#node, codec, context, maxPayload },
        { send: this.#send, cancel: this.#cancel },
      ),
      served: new ServedInputs<Sent>(
        { codec, context, maxDeliver: this.settings.maxDeliver, maxPayload },
        { end: this.#end },
      ),
    };
    this.broker.nodes.add(this);
  }

  async call(service: string, input: unknown, options?: CallOptions): Promise<unknown> {
    return this.#opened.calls.open(service, input, options);
  }

  serve(service: string, options: ServeOptions, onInput: OnInput): void {
    this.#opened.served.add(service, options, onInput);
    this.broker.deliverSoon();
  }

  async drain({ timeout = Infinity }: { timeout?: number | undefined } = {}): Promise<void> {
    const { served } = this.#opened;
    this.#isDraining = true;
    for (const node of this.broker.nodes) node.nodeLeft();
    await served.idle(timeout);
    this.#giveBack();
  }

  close(): Promise<void> {
    if (this.#halves && !this.#isCut) {
      this.#isDraining = true;
      this.#giveBack();
      this.#halves.calls.close();
    }
    this.broker.leave(this);
    for (const timer of this.#awaited.values()) clearTimeout(timer);
    return Promise.resolve();
  }

  /** Ends it as a process that is killed: nothing is answered or given back. */
  crash(): void {
    const { served } = this.#opened;
    this.#isCut = true;
    this.broker.leave(this);
    const lost = served.names.flatMap((name) => [...served.handles(name)]);
    setTimeout(() => {
      for (const sent of lost.reverse()) if (!sent.isGone) this.broker.add(sent, true);
    }, this.settings.redeliverAfter);
  }

  get isConnected(): boolean {
    return !this.#isCut;
  }

  state(): TransportState {
    const { calls, served } = this.#opened;
    const names = new Set([...calls.services, ...served.names]);
    const services = Array.from(names, (service): ServiceState => {
      const nodes = this.broker.nodesOf(service).map((node) => node.describe(service));
      const redelivered = nodes.reduce((sum, node) => sum + node.redelivered, 0);
      return { service, nodes, waiting: this.broker.waiting(service), redelivered, calls: calls.of(service) };
    });
    return {
      transport: 'memory',
      node: this.#node,
      connected: this.isConnected,
      draining: this.#isDraining,
      services,
    };
  }

  /** @internal */
  serves(service: string): boolean {
    return !this.#isDraining && this.#opened.served.names.includes(service);
  }

  /** @internal */
  credit(service: string): number {
    return this.#opened.served.credit(service);
  }

  /** @internal */
  takes({ service, deliveries }: Sent): boolean {
    const { served } = this.#opened;
    return !(served.runsAlone(deliveries + 1) && served.hasAlone(service));
  }

  /** @internal */
  take(sent: Sent): void {
    sent.node = this;
    sent.deliveries++;
    const { served } = this.#opened;
    served.take(sent.service, sent.bytes, sent.deliveries, performance.now() - sent.at, sent);
  }

  /** @internal */
  answer(bytes: Buffer): void {
    if (!this.#isCut) this.#opened.calls.answer(bytes);
  }

  /** @internal */
  cancelInput(service: string, caller: string, call: number): void {
    if (!this.#isCut) this.#opened.served.cancel(service, caller, call);
  }

  /** @internal */
  describe(service: string): NodeState {
    const { prefetch, inProgress, redelivered } = this.#opened.served.describe(service);
    return { node: this.#node, host: hostname(), pid: process.pid, prefetch, inProgress, redelivered };
  }

  /** @internal */
  maxQueued(service: string): number {
    return this.#opened.served.maxQueued(service);
  }

  get #opened(): Halves {
    return opened(this.#halves);
  }

  readonly #send = (call: PendingCall<Sent>): void => {
    const { service } = call;
    const nodes = this.broker.nodesOf(service);
    const bound = nodes.reduce((sum, node) => sum + node.maxQueued(service), 0);
    const waiting = this.broker.waiting(service);
    if (nodes.length === 0) this.#awaitNode(service);
    else if (waiting >= bound) {
      const { calls } = this.#opened;
      calls.fail(call, new QueueFullError(service, bound, calls.roundTrip(service), waiting));
      return;
    }
    const at = performance.now();
    call.sentAt = at;
    call.sent = {
      service,
      from: this,
      // Of its own, as a broker has them: they are written anew when the call is sent again.
      bytes: Buffer.from(call.write()),
      at,
      deliveries: 0,
      isGone: false,
      node: undefined,
    };
    this.broker.add(call.sent);
  };

  readonly #cancel = (call: PendingCall<Sent>): void => {
    if (!call.sent) return;
    if (call.sent.node) call.sent.node.cancelInput(call.service, this.#node, call.number);
    else call.sent.isGone = true;
  };

  readonly #end = (_service: string, sent: Sent, _caller: string, answer: Buffer | undefined): void => {
    if (this.#isCut) return;
    sent.isGone = true;
    if (answer) sent.from.answer(answer);
    this.broker.deliverSoon();
  };

  /** Rejects the calls that have waited long enough, unless a node has come. */
  #awaitNode(service: string, delay = this.settings.noNodeTimeout): void {
    if (this.#awaited.has(service)) return;
    const { calls } = this.#opened;
    const { noNodeTimeout } = this.settings;
    const timer = setTimeout(() => {
      this.#awaited.delete(service);
      if (this.broker.nodesOf(service).length > 0) return;
      for (const call of calls) {
        if (call.service !== service) continue;
        const left = call.openedAt + noNodeTimeout - performance.now();
        // Calls are in the order in which they were opened, so the first has the shortest time left.
        if (left >= 1) this.#awaitNode(service, left);
        else {
          if (call.sent) call.sent.isGone = true;
          calls.fail(call, new NoNodeError(service, noNodeTimeout));
        }
      }
    }, delay);
    this.#awaited.set(service, timer);
  }

  /** @internal A node has left, maybe the last of a service that this one calls. */
  nodeLeft(): void {
    const { calls } = this.#opened;
    for (const service of calls.services) {
      if (calls.of(service) > 0 && this.broker.nodesOf(service).length === 0) this.#awaitNode(service);
    }
  }

  /** The order is kept: given back as they came, before what waits. A delivery that is given back does not count. */
  #giveBack(): void {
    const { served } = this.#opened;
    const left = served.names.flatMap((name) => [...served.handles(name)]);
    served.abandon();
    for (const sent of left.reverse()) {
      sent.deliveries--;
      this.broker.add(sent, true);
    }
  }
}
