import { describe, expect, it } from '@jest/globals';
import { readNodeConfiguration } from './configuration.js';

describe('The environment of a node', () => {
  it("sets the broker, and what the demo's environment sets", () => {
    expect(readNodeConfiguration({ BROKER_URL: 'nats://broker:4222', PORT: '0' })).toMatchObject({
      brokerUrl: 'nats://broker:4222',
      prefix: 'digits',
      port: 0,
      batchSize: 64,
    });
  });

  it.each([
    [undefined, "got ''"],
    ['broker:6379', 'got broker://…'],
    ['http://user:secret@broker', 'got http://…'],
    ['user:secret', 'got user://…'],
    ['not a URL with a secret', 'got something else'],
  ])('refuses BROKER_URL=%s, and shows no password', (BROKER_URL, got) => {
    let message = '';
    try {
      readNodeConfiguration({ BROKER_URL });
    } catch (error) {
      ({ message } = error as Error);
    }
    expect(message).toContain(
      'BROKER_URL: expected the URL of a broker, redis://… or rediss://… or nats://… or tls://…',
    );
    expect(message).toContain(got);
    expect(message).not.toContain('secret');
  });
});
