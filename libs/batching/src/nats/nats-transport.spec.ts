import { describe, expect, it } from '@jest/globals';
import { bufferOf } from './frames.js';
import { Names } from './names.js';
import { NatsNodes, writeBeat } from './nats-nodes.js';
import { natsTransport, type NatsTransportOptions } from './nats-transport.js';

describe('natsTransport', () => {
  it.each<[NatsTransportOptions, string]>([
    [{ url: 'http://localhost' }, "url: expected 'nats://…' or 'tls://…', got 'http://localhost'"],
    [{ url: '' }, "url: expected 'nats://…' or 'tls://…', got ''"],
    [{ url: 'nats://a:4222,b' }, "url: expected 'nats://…' or 'tls://…', got 'nats://a:4222,b'"],
    [{ url: 7 as never }, "url: expected 'nats://…' or 'tls://…', got 7"],
    [{ prefix: 'a.b' }, "prefix: expected 1 to 64 letters, digits, - or _, got 'a.b'"],
    [{ prefix: '' }, "prefix: expected 1 to 64 letters, digits, - or _, got ''"],
    [{ prefix: 7 as never }, 'prefix: expected a string, got 7'],
    [{ replicas: 6 }, 'replicas: expected at most 5, got 6'],
    [{ domain: 'a b' }, "domain: expected letters, digits, - or _, got 'a b'"],
    [{ connection: 'nats://a' as never }, 'connection: expected options of connect() or a connection'],
    [
      { url: 'nats://a', connection: { publish: () => undefined } as never },
      'url: expected none beside a connection',
    ],
    [{ redeliverAfter: 1 }, 'redeliverAfter: expected at least 100 ms, got 1'],
  ])('refuses %p', (options, message) => {
    expect(() => natsTransport(options)).toThrow(message);
  });

  it('does not show passwords', () => {
    expect(() => natsTransport({ url: 'nats://me:secret@a,http://you:hidden@b' })).toThrow(
      /^(?!.*(secret|hidden)).*\/\/…@a/,
    );
  });
});

describe('names', () => {
  const names = new Names('app');

  it('make one token of any name', () => {
    expect(names.inputs('DigitClassifier.classify')).toBe('app.inputs.DigitClassifier_2eclassify');
    expect(names.stream('a b>*.é')).toBe('app=a_20b_3e_2a_2e_c3_a9');
  });

  it('differ for names that differ, also long ones', () => {
    const long = ['x'.repeat(300), `${'x'.repeat(299)}y`, '.'.repeat(300), 'a_2eb', 'a.b'];
    const streams = long.map((name) => names.stream(name));
    expect(new Set(streams).size).toBe(5);
    for (const stream of streams) expect(stream.length).toBeLessThan(200);
  });
});

describe('frames', () => {
  it('are read where they lie', () => {
    const bytes = new Uint8Array([1, 2, 3, 4]).subarray(1, 3);
    expect([...bufferOf(bytes)]).toEqual([2, 3]);
  });
});

describe('NatsNodes', () => {
  const served = { prefetch: 8, inProgress: 3, redelivered: 1, maxQueued: Infinity, waiting: 5 };

  it('knows nodes by their beats, until they serve nothing', () => {
    const nodes = new NatsNodes(1000);
    nodes.take(JSON.parse(writeBeat('a', new Map([['service', served]]))));
    nodes.take(JSON.parse(writeBeat('b', new Map([['service', { ...served, maxQueued: 2 }]]))));
    expect(nodes.of('service')).toMatchObject([
      { node: 'a', pid: process.pid, prefetch: 8, inProgress: 3, redelivered: 1 },
      { node: 'b' },
    ]);
    expect(nodes.waiting('service')).toBe(5);
    expect(nodes.bound('service').messages).toBe(Infinity);
    nodes.take(JSON.parse(writeBeat('a', new Map())));
    expect(nodes.bound('service')).toEqual({ messages: 10, maxQueued: 2 });
    expect(nodes.hasAny('other')).toBe(false);
  });

  it.each([undefined, null, 7, 'x', {}, { node: 7, services: {} }, { node: 'a', services: null }])(
    'leaves out %p',
    (beat) => {
      const nodes = new NatsNodes(1000);
      nodes.take(beat);
      nodes.take({ node: 'b', services: { service: ['x'], other: 1 } });
      expect(nodes.hasAny('service')).toBe(false);
    },
  );
});
