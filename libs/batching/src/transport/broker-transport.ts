import { ServiceStoppedError } from '../core/errors.js';
import { nodeName } from './node-name.js';
import { notOpen, opened, OPENED_TWICE } from './settings.js';
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

/** What a node on a broker has once it is open. */
export interface BrokerParts {
  readonly link: { readonly isReady: boolean };
  readonly nodes: {
    /** The nodes that serve a service and are alive. */
    of(service: string): NodeState[];
    /** Inputs that wait and that no node has taken. */
    waiting(service: string): number;
  };
  readonly caller: {
    readonly calls: {
      open(service: string, input: unknown, options?: CallOptions): Promise<unknown>;
      /** Calls of a service that have not ended. */
      of(service: string): number;
      readonly services: ReadonlySet<string>;
    };
    close(): Promise<void>;
  };
  readonly server: {
    readonly serviceNames: readonly string[];
    readonly isDraining: boolean;
    add(service: string, options: ServeOptions, onInput: OnInput): void;
    drain(timeout: number): Promise<void>;
    close(): void;
  };
}

/** A node on a broker: its calling half and its serving half on one link, and what they know together. */
export abstract class BrokerTransport<Parts extends BrokerParts> implements Transport {
  protected readonly node = nodeName();
  #parts: Parts | undefined;
  #isClosed = false;

  constructor(
    /** What the broker is called. */
    private readonly kind: string,
  ) {}

  /** Makes the link and both halves, which begin to connect. */
  protected abstract connect(context: TransportContext): Parts;

  /** Gives signs of life, until `stopTicking`. */
  protected abstract startTicking(): void;
  protected abstract stopTicking(): void;

  /** The link has nothing left to carry. */
  protected abstract disconnect(parts: Parts): void | Promise<void>;

  /** @throws Error if it is not open */
  protected get parts(): Parts {
    return opened(this.#parts);
  }

  /** The services that this node calls or serves. */
  protected get services(): string[] {
    const { caller, server } = this.parts;
    return [...new Set([...caller.calls.services, ...server.serviceNames])];
  }

  open(context: TransportContext): void {
    if (this.#parts) throw new Error(OPENED_TWICE);
    this.#parts = this.connect(context);
    this.startTicking();
  }

  call(service: string, input: unknown, options?: CallOptions): Promise<unknown> {
    return this.#parts?.caller.calls.open(service, input, options) ?? notOpen();
  }

  serve(service: string, options: ServeOptions, onInput: OnInput): void {
    if (this.#isClosed) throw new ServiceStoppedError(service);
    this.parts.server.add(service, options, onInput);
  }

  async drain({ timeout = Infinity }: { timeout?: number | undefined } = {}): Promise<void> {
    await this.#parts?.server.drain(timeout);
  }

  async close(): Promise<void> {
    if (this.#isClosed || !this.#parts) return;
    this.#isClosed = true;
    const { caller, server } = this.#parts;
    if (!server.isDraining) await server.drain(0);
    this.stopTicking();
    await caller.close();
    server.close();
    await this.disconnect(this.#parts);
  }

  get isConnected(): boolean {
    return this.#parts?.link.isReady === true;
  }

  state(): TransportState {
    const { nodes, caller, server } = this.parts;
    const services = this.services.map((service): ServiceState => {
      const known = nodes.of(service);
      const redelivered = known.reduce((sum, node) => sum + node.redelivered, 0);
      const waiting = nodes.waiting(service);
      return { service, nodes: known, waiting, redelivered, calls: caller.calls.of(service) };
    });
    return {
      transport: this.kind,
      node: this.node,
      connected: this.isConnected,
      draining: server.isDraining,
      services,
    };
  }
}
