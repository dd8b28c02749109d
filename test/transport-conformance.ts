import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import {
  BatchTimeoutError,
  type CallOptions,
  type Delivery,
  NoNodeError,
  type OnInput,
  PayloadError,
  QueueFullError,
  RedeliveryError,
  RemoteError,
  ServiceStoppedError,
  type Transport,
  TransportError,
} from 'nest-batching';

/** Milliseconds of silence after which a node of these tests counts as dead. */
export const REDELIVER_AFTER = 1_000;
export const NO_NODE_TIMEOUT = 2_000;
export const MAX_DELIVER = 3;

/** One kind of transport, and what the tests do to its nodes. */
export interface Harness {
  /** A new node, not opened yet, with the settings above. */
  node(settings?: { awayTimeout?: number }): Promise<Transport> | Transport;
  /** Cuts a node off from the broker for good, without a word, as SIGKILL and a dead network do. */
  kill(node: Transport): void;
  end(): Promise<void>;
}

/** The same for a transport over a broker that is a process of its own. */
export interface BrokerHarness extends Harness {
  /** Holds up everything between a node and the broker, as SIGSTOP does, until the function returned is called. */
  freeze(node: Transport): () => void;
  /** Ends the connections of a node, frozen or not, with all that is on the way. It may connect again at once. */
  interrupt(node: Transport): void;
  /** Ends the broker and starts it again, with nothing in it. */
  restart(): Promise<void>;
  /** Bytes that are kept for inputs and answers, after everything has ended. */
  held(): Promise<number>;
  /** An input that is too large. */
  readonly tooLarge: Uint8Array;
}

class OutOfStock extends Error {
  override readonly name = 'OutOfStock';

  constructor(readonly article: string) {
    super(`${article} is out of stock`);
  }
}

/** The suite that every transport passes. */
export function conforms(start: () => Promise<Harness>): void {
  suite(start);
}

/** The same, and what concerns the broker itself. */
export function conformsOverBroker(start: () => Promise<BrokerHarness>): void {
  suite(start, start);
}

function suite(start: () => Promise<Harness>, startBroker?: () => Promise<BrokerHarness>): void {
  let harness: Harness;
  const opened: Transport[] = [];
  const warnings: string[] = [];

  beforeEach(async () => {
    harness = await (startBroker ?? start)();
  });

  afterEach(async () => {
    await Promise.all(opened.splice(0).map((each) => each.close()));
    await harness.end();
    warnings.length = 0;
  });

  async function node(calls?: ReadonlySet<string>, settings?: { awayTimeout?: number }): Promise<Transport> {
    const transport = await harness.node(settings);
    transport.open({
      errors: new Map([['OutOfStock', OutOfStock]]),
      calls,
      warn: (_, sentence) => void warnings.push(sentence),
    });
    opened.push(transport);
    return transport;
  }

  async function serving(onInput: OnInput, prefetch = 8, maxQueued = 10_000): Promise<Transport> {
    const transport = await node();
    transport.serve('service', { prefetch, maxQueued }, onInput);
    return transport;
  }

  const double: OnInput = (input) => Promise.resolve((input as number) * 2);

  async function until(holds: () => boolean, limit = 30_000): Promise<void> {
    const end = performance.now() + limit;
    while (!holds()) {
      if (performance.now() > end) throw new Error('it has not come about');
      await sleep(5);
    }
  }

  const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
  const outcome = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);

  it('carries inputs to a node and results back', async () => {
    const caller = await node();
    await serving(double);
    const results = await Promise.all(numbers(500).map((each) => caller.call('service', each)));
    expect(results).toEqual(numbers(500).map((each) => each * 2));
  });

  it('carries them to a node that comes later', async () => {
    const caller = await node();
    const call = caller.call('service', 21);
    await sleep(100);
    await serving(double);
    expect(await call).toBe(42);
  });

  it.each([
    ['a number', 1.5],
    ['NaN', NaN],
    ['a text', 'Grüße 👋'],
    ['null', null],
    ['undefined', undefined],
    ['a BigInt', 12345678901234567890n],
    ['a Uint8Array', Uint8Array.of(1, 2, 255)],
    ['a Float32Array', Float32Array.of(0.5, -1)],
    ['a BigInt64Array', BigInt64Array.of(-5n)],
    ['a Buffer', Buffer.from('bytes')],
    ['a Date', new Date(5)],
    [
      'a Map',
      new Map<unknown, unknown>([
        [1, 'one'],
        ['two', { deep: [2] }],
      ]),
    ],
    ['a Set', new Set([1, 'a'])],
    ['an object', { a: [1, { b: null }], 'c-d': undefined }],
  ])('carries %s as what it is', async (_, value) => {
    const caller = await node();
    let came: unknown;
    await serving((input) => {
      came = input;
      return Promise.resolve(input);
    });
    const result = await caller.call('service', value);
    for (const each of [came, result]) {
      expect(each).toEqual(value);
      expect(Object.prototype.toString.call(each)).toBe(Object.prototype.toString.call(value));
    }
    expect(Buffer.isBuffer(result)).toBe(Buffer.isBuffer(value));
  });

  it('gives each caller a value of its own, that keeps nothing else alive', async () => {
    const caller = await node();
    const input = new Uint8Array(10);
    await serving((came) => Promise.resolve(came));
    const result = (await caller.call('service', input)) as Uint8Array;
    expect(result).not.toBe(input);
    expect(result.buffer.byteLength).toBeLessThan(100);
  });

  it('carries timeout, priority, tenant and trace, and counts one delivery', async () => {
    const caller = await node();
    let came: Delivery | undefined;
    await serving((input, delivery) => {
      came = delivery;
      return Promise.resolve(input);
    });
    const trace = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' };
    await caller.call('service', 1, { timeout: 60_000, priority: -2.5, tenant: 'blue', trace });
    expect(came).toMatchObject({ deliveries: 1, priority: -2.5, tenant: 'blue', trace });
    expect(came?.timeout).toBeGreaterThan(50_000);
    expect(came?.timeout).toBeLessThanOrEqual(60_000);
    await caller.call('service', 1);
    expect(came).toMatchObject({
      timeout: undefined,
      priority: undefined,
      tenant: undefined,
      trace: undefined,
    });
  });

  it.each<[CallOptions, string]>([
    [{ timeout: -1 }, 'timeout: expected milliseconds ≥ 0, got -1'],
    [{ priority: NaN }, 'priority: expected a finite number, got NaN'],
    [{ signal: {} as never }, 'signal: expected an AbortSignal, got an Object'],
    [{ tenant: {} }, 'tenant: between nodes expected a string, a number or the like, got an Object'],
  ])('refuses %p', async (options, message) => {
    const caller = await node();
    await expect(caller.call('service', 1, options)).rejects.toThrow(message);
  });

  it('brings errors of this library as what they are, also of classes that nobody has loaded here', async () => {
    const caller = await node();
    await serving(() => Promise.reject(new QueueFullError('service', 7, 250)));
    const error = await outcome(caller.call('service', 1));
    expect(error).toBeInstanceOf(QueueFullError);
    expect(error).not.toBeInstanceOf(ServiceStoppedError);
    expect(error).toMatchObject({
      name: 'QueueFullError',
      code: 'ERR_BATCHING_FULL',
      kind: 'overload',
      queue: 'service',
      retryAfter: 250,
      publicMessage: 'service is full',
      message: new QueueFullError('service', 7, 250).message,
    });
  });

  it("brings the user's errors as instances of their class, with their properties and cause", async () => {
    const caller = await node();
    await serving(() =>
      Promise.reject(Object.assign(new OutOfStock('tea'), { cause: new TypeError('inner') })),
    );
    const error = await outcome(caller.call('service', 1));
    expect(error).toBeInstanceOf(OutOfStock);
    expect(error).toMatchObject({ name: 'OutOfStock', message: 'tea is out of stock', article: 'tea' });
    expect((error as Error).cause).toBeInstanceOf(TypeError);
    expect((error as Error).stack).toContain('tea is out of stock');
  });

  it('brings errors of JavaScript as what they are, others as a RemoteError, and other values as they are', async () => {
    class Unknown extends Error {
      override readonly name = 'Unknown';
    }
    const caller = await node();
    const thrown = [new RangeError('range'), new Error('plain'), new Unknown('unknown'), 'a text', null];
    await serving(async (index) => {
      await Promise.resolve();
      // eslint-disable-next-line @typescript-eslint/only-throw-error -- what a batch function may do
      throw thrown[index as number];
    });
    const came = await Promise.all(numbers(5).map((index) => outcome(caller.call('service', index))));
    expect(came[0]).toBeInstanceOf(RangeError);
    expect(came[1]).toMatchObject({ name: 'Error', message: 'plain' });
    expect(came[1]).not.toBeInstanceOf(RemoteError);
    expect(came[2]).toBeInstanceOf(RemoteError);
    expect(came[2]).toMatchObject({ name: 'Unknown', message: 'unknown', kind: 'failure' });
    expect(came.slice(3)).toEqual(['a text', null]);
  });

  it('refuses an input that cannot travel, and answers for such a result', async () => {
    const caller = await node();
    await serving(() => Promise.resolve(Symbol('none')));
    await expect(caller.call('service', Symbol('none'))).rejects.toThrow(PayloadError);
    await expect(caller.call('service', 1)).rejects.toThrow(PayloadError);
  });

  it('never gives a node more than its credit, and what has no room there to another one', async () => {
    const caller = await node();
    const slow = (time: number) => {
      const node = { has: 0, most: 0, runs: 0 };
      const onInput: OnInput = async (input) => {
        node.runs++;
        node.most = Math.max(node.most, ++node.has);
        await sleep(time);
        node.has--;
        return input;
      };
      return { node, onInput };
    };
    const [fast, tenfold] = [slow(5), slow(50)];
    await serving(fast.onInput, 4);
    await serving(tenfold.onInput, 4);
    await Promise.all(numbers(200).map((each) => caller.call('service', each)));
    expect(fast.node.most).toBeLessThanOrEqual(4);
    expect(tenfold.node.most).toBeLessThanOrEqual(4);
    expect(fast.node.runs).toBeGreaterThan(2 * tenfold.node.runs);
    expect(fast.node.runs + tenfold.node.runs).toBe(200);
  });

  it('delivers the inputs of a node that dies to another one, each once more, and loses none', async () => {
    const caller = await node();
    const deliveries: number[] = [];
    const dying = await serving(() => new Promise(() => undefined), 8);
    const calls = numbers(20).map((each) => caller.call('service', each));
    await until(() => isFull(dying));
    await serving((input, delivery) => {
      deliveries.push(delivery.deliveries);
      return double(input, delivery);
    });
    const killed = performance.now();
    harness.kill(dying);
    expect(await Promise.all(calls)).toEqual(numbers(20).map((each) => each * 2));
    expect(performance.now() - killed).toBeLessThan(10 * REDELIVER_AFTER);
    expect(deliveries.filter((each) => each === 2)).toHaveLength(8);
    expect(deliveries.filter((each) => each === 1)).toHaveLength(12);
  });

  const isFull = (transport: Transport) => {
    const { services, node: name } = transport.state();
    const [service] = services;
    const own = service?.nodes.find((each) => each.node === name);
    return own !== undefined && own.inProgress >= own.prefetch;
  };

  it('ends a call whose nodes all die with a RedeliveryError after maxDeliver deliveries', async () => {
    const caller = await node();
    const call = outcome(caller.call('service', 'poison'));
    let deliveries = 0;
    for (let round = 1; round <= MAX_DELIVER; round++) {
      const victim = await serving((_, delivery) => {
        ({ deliveries } = delivery);
        return new Promise(() => undefined);
      });
      await until(() => deliveries === round);
      harness.kill(victim);
    }
    await serving(double);
    const error = await call;
    expect(error).toBeInstanceOf(RedeliveryError);
    expect(error).toMatchObject({ deliveries: MAX_DELIVER, queue: 'service' });
  });

  it('gives a node one input of a third delivery at a time, so that one that ends it takes no other one along', async () => {
    const caller = await node();
    const calls = numbers(8).map((each) => outcome(caller.call('service', each)));
    const poison = 3;
    const never = () => new Promise(() => undefined);
    for (let round = 1; round < 3; round++) {
      const victim = await serving(never);
      await until(() => isFull(victim));
      harness.kill(victim);
    }
    let [running, most] = [0, 0];
    const oneByOne = (onPoison: () => unknown): OnInput => {
      return async (input, { deliveries }) => {
        if (deliveries !== 3) return input;
        most = Math.max(most, ++running);
        await sleep(20);
        if (input === poison) await onPoison();
        running--;
        return input;
      };
    };
    let isPoisoned = false;
    const last = await serving(
      oneByOne(() => {
        isPoisoned = true;
        return never();
      }),
    );
    await until(() => isPoisoned);
    harness.kill(last);
    running = 0;
    await serving(oneByOne(never));
    const outcomes = await Promise.all(calls);
    const [error] = outcomes.splice(poison, 1);
    expect(error).toBeInstanceOf(RedeliveryError);
    expect(outcomes).toEqual(numbers(8).filter((each) => each !== poison));
    expect(most).toBe(1);
  });

  it('keeps the inputs of a node that takes its time', async () => {
    const caller = await node();
    let runs = 0;
    const slow: OnInput = async (input) => {
      runs++;
      await sleep(3 * REDELIVER_AFTER);
      return input;
    };
    await serving(slow);
    await serving(slow);
    expect(await Promise.all([1, 2, 3].map((each) => caller.call('service', each)))).toEqual([1, 2, 3]);
    expect(runs).toBe(3);
  });

  it('takes no input of a caller that has aborted, and aborts the signal of one that runs', async () => {
    const caller = await node();
    const ran: unknown[] = [];
    const aborted: unknown[] = [];
    await serving((input, { signal }) => {
      ran.push(input);
      return new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => {
          aborted.push(input);
          reject(new Error('aborted'));
        });
        if (input === 'last') resolve(input);
      });
    }, 1);
    const [first, second] = [new AbortController(), new AbortController()];
    const reason = new Error('not wanted any more');
    const running = outcome(caller.call('service', 'running', { signal: first.signal }));
    await until(() => ran.length === 1);
    const waiting = outcome(caller.call('service', 'waiting', { signal: second.signal }));
    await sleep(50);
    second.abort(reason);
    expect(await waiting).toBe(reason);
    first.abort(reason);
    expect(await running).toBe(reason);
    expect(await caller.call('service', 'last')).toBe('last');
    expect(ran).toEqual(['running', 'last']);
    expect(aborted).toEqual(['running']);
    const late = AbortSignal.abort(reason);
    expect(await outcome(caller.call('service', 'never', { signal: late }))).toBe(reason);
    expect(ran).toHaveLength(2);
  });

  it('ends a call at its timeout, and does not run it later', async () => {
    const caller = await node();
    const ran: unknown[] = [];
    let release: () => void = () => undefined;
    await serving((input) => {
      ran.push(input);
      return input === 'long' ? new Promise<void>((resolve) => (release = resolve)) : Promise.resolve(input);
    }, 1);
    const long = caller.call('service', 'long');
    await until(() => ran.length === 1);
    const error = await outcome(caller.call('service', 'late', { timeout: 100 }));
    expect(error).toBeInstanceOf(BatchTimeoutError);
    expect(error).toMatchObject({ timeout: 100, phase: 'sent', queue: 'service' });
    // How old an input is is known to some milliseconds only.
    await sleep(300);
    release();
    await long;
    expect(await caller.call('service', 'last')).toBe('last');
    expect(ran).toEqual(['long', 'last']);
  });

  it('ends a call that no node serves, within the time stated, and later nodes do not get it', async () => {
    const caller = await node();
    const began = performance.now();
    const error = await outcome(caller.call('service', 1));
    const took = performance.now() - began;
    expect(error).toBeInstanceOf(NoNodeError);
    expect(error).toMatchObject({ queue: 'service', kind: 'unavailable', retryAfter: NO_NODE_TIMEOUT });
    expect(took).toBeGreaterThanOrEqual(NO_NODE_TIMEOUT - 5);
    expect(took).toBeLessThan(4 * NO_NODE_TIMEOUT);
    const ran: unknown[] = [];
    await serving((input) => {
      ran.push(input);
      return Promise.resolve(input);
    });
    expect(await caller.call('service', 2)).toBe(2);
    expect(ran).toEqual([2]);
  });

  it('refuses calls of a service whose nodes have as many inputs waiting as they take', async () => {
    const caller = await node();
    const releases: (() => void)[] = [];
    await serving(() => new Promise<void>((resolve) => releases.push(resolve)), 2, 3);
    const first = caller.call('service', 0);
    await until(() => releases.length === 1);
    await until(() => caller.state().services[0]?.nodes.length === 1);
    const calls = [first, ...numbers(9).map((each) => caller.call('service', each))].map(outcome);
    const outcomes = Promise.all(calls);
    await until(() => releases.length === 2);
    const free = setInterval(() => {
      for (const release of releases.splice(0)) release();
    }, 20);
    const full = (await outcomes).filter((each): each is QueueFullError => each instanceof QueueFullError);
    clearInterval(free);
    expect(full.length).toBeGreaterThanOrEqual(4);
    expect(full.length).toBeLessThanOrEqual(7);
    expect(full[0]).toMatchObject({ maxQueued: 3, queue: 'service' });
    expect(full[0]?.retryAfter).toBeGreaterThan(0);
  });

  it('a draining node finishes what it has, takes no more, and what it cannot finish in time runs elsewhere', async () => {
    const caller = await node();
    const ran: unknown[] = [];
    const draining = await serving(async (input) => {
      ran.push(input);
      await (input === 'hangs' ? new Promise(() => undefined) : sleep(100));
      return 'first';
    }, 2);
    const calls = ['short', 'hangs', 'waits'].map((each) => caller.call('service', each));
    await until(() => ran.length === 2);
    const deliveries: number[] = [];
    const drained = draining.drain({ timeout: 300 });
    await serving((_, delivery) => {
      deliveries.push(delivery.deliveries);
      return Promise.resolve('second');
    });
    await drained;
    expect(await Promise.all(calls)).toEqual(['first', 'second', 'second']);
    expect(deliveries).toEqual([1, 1]);
    expect(draining.state().draining).toBe(true);
    expect(await caller.call('service', 'later')).toBe('second');
  });

  it('rejects the calls of a transport that closes, and later ones', async () => {
    const caller = await node();
    await serving(() => new Promise(() => undefined));
    const call = outcome(caller.call('service', 1));
    await sleep(50);
    await caller.close();
    expect(await call).toBeInstanceOf(ServiceStoppedError);
    expect(await outcome(caller.call('service', 1))).toBeInstanceOf(ServiceStoppedError);
  });

  it('shows what it knows: nodes, their inputs, what waits, what was delivered again', async () => {
    const caller = await node();
    const serves = await serving(() => new Promise(() => undefined), 3);
    const calls = numbers(5).map((each) => outcome(caller.call('service', each)));
    await until(() => {
      const [service] = caller.state().services;
      return service?.waiting === 2 && service.nodes[0]?.inProgress === 3;
    });
    const state = caller.state();
    expect(state).toMatchObject({ connected: true, draining: false });
    expect(state.services).toMatchObject([{ service: 'service', calls: 5, redelivered: 0 }]);
    expect(state.services[0]?.nodes).toMatchObject([
      { node: serves.state().node, pid: process.pid, prefetch: 3, inProgress: 3, redelivered: 0 },
    ]);
    await caller.close();
    await Promise.all(calls);
  });

  it('knows who serves what the application calls before its first call, for a readiness check', async () => {
    const caller = await node(new Set(['service']));
    expect(caller.state().services).toMatchObject([{ service: 'service', nodes: [], calls: 0 }]);
    await serving(double);
    await until(() => caller.state().services[0]?.nodes.length === 1);
  });

  it('says how it is used when it is not open, or opened twice', async () => {
    const unopened = await harness.node();
    await expect(unopened.call('service', 1)).rejects.toThrow('is not open');
    const transport = await node();
    expect(() => {
      transport.open({ errors: new Map(), warn: () => undefined });
    }).toThrow('is open already');
  });

  if (!startBroker) return;
  const broker = () => harness as BrokerHarness;

  it('loses no call over a restart of the broker that forgets everything', async () => {
    const caller = await node();
    await serving(async (input) => {
      await sleep(20);
      return (input as number) * 2;
    }, 16);
    const calls = numbers(300).map((each) => caller.call('service', each));
    await sleep(60);
    await broker().restart();
    calls.push(...numbers(50).map((each) => caller.call('service', 300 + each)));
    expect(await Promise.all(calls)).toEqual(numbers(350).map((each) => each * 2));
    expect(caller.state().connected).toBe(true);
  });

  it('has another node run what a frozen one has, and ignores its answers when it thaws', async () => {
    const caller = await node();
    const ran: unknown[] = [];
    const frozen = await serving(async (input) => {
      ran.push(input);
      await sleep(50);
      return 'frozen';
    }, 4);
    await caller.call('service', 0);
    const thaw = broker().freeze(frozen);
    const calls = numbers(6).map((each) => caller.call('service', each));
    await sleep(100);
    await serving(() => Promise.resolve('other'));
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['other']));
    thaw();
    await sleep(2 * REDELIVER_AFTER);
    expect(await caller.call('service', 1)).toMatch(/other|frozen/);
    await until(() => caller.state().services[0]?.nodes.length === 2);
  });

  it('runs an input that the broker has given to a connection that was lost before it arrived', async () => {
    const caller = await node();
    const serves = await serving(double);
    expect(await caller.call('service', 1)).toBe(2);
    broker().freeze(serves);
    const call = caller.call('service', 2, { timeout: 10 * REDELIVER_AFTER });
    // Time for the broker to give it away. Without, it is given to the next connection, which is no test of anything.
    await sleep(100);
    broker().interrupt(serves);
    expect(await call).toBe(4);
  });

  it('ends a call for which the broker cannot be reached', async () => {
    const caller = await node(undefined, { awayTimeout: 1_000 });
    await serving(double);
    expect(await caller.call('service', 1)).toBe(2);
    harness.kill(caller);
    const error = await outcome(caller.call('service', 1));
    expect(error).toBeInstanceOf(TransportError);
    expect((error as TransportError).retryAfter).toBeGreaterThan(0);
  });

  it('refuses an input, and answers for a result, that is too large', async () => {
    const { tooLarge } = broker();
    const caller = await node();
    await serving(() => Promise.resolve(tooLarge));
    await expect(caller.call('service', tooLarge)).rejects.toMatchObject({
      code: 'ERR_BATCHING_PAYLOAD_SIZE',
    });
    await expect(caller.call('service', 1)).rejects.toMatchObject({ code: 'ERR_BATCHING_PAYLOAD_SIZE' });
  });

  it('keeps nothing of inputs that have ended', async () => {
    const caller = await node();
    await serving(double, 64);
    const round = () => Promise.all(numbers(1000).map((each) => caller.call('service', each)));
    await round();
    await sleep(300);
    const before = await broker().held();
    for (let times = 0; times < 5; times++) await round();
    await sleep(300);
    expect((await broker().held()) - before).toBeLessThan(200_000);
  });
}
