import { Readable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import { type AnyRequest, checkSameOriginJson, readJson } from './exchange.js';

const json = 'application/json';

describe('A request that changes something', () => {
  it.each([
    {
      'content-type': json,
      'sec-fetch-site': 'same-origin',
      origin: 'https://a.example',
      host: 'internal:3000',
    },
    {
      'content-type': 'Application/JSON; charset=utf-8',
      origin: 'http://a.example:81',
      host: 'a.example:81',
    },
    { 'content-type': json, origin: 'https://a.example', ':authority': 'a.example' },
    // A program that is no browser.
    { 'content-type': json, host: 'a.example' },
  ])('is taken with %j', (headers) => {
    expect(() => {
      checkSameOriginJson({ headers });
    }).not.toThrow();
  });

  it.each([
    [{ host: 'a' }, 415, 'expected a body of type application/json, got undefined'],
    [{ 'content-type': 'text/plain', host: 'a' }, 415, "got 'text/plain'"],
    [{ 'content-type': 'application/x-www-form-urlencoded', host: 'a' }, 415, 'expected a body of type'],
    [{ 'content-type': json, 'sec-fetch-site': 'cross-site', host: 'a' }, 403, 'got a cross-site one'],
    [{ 'content-type': json, 'sec-fetch-site': 'same-site', host: 'a' }, 403, 'got a same-site one'],
    [{ 'content-type': json, 'sec-fetch-site': 'none', host: 'a' }, 403, 'got a none one'],
    [
      { 'content-type': json, origin: 'https://evil.example', host: 'a.example' },
      403,
      "got 'https://evil.example'",
    ],
    [{ 'content-type': json, origin: 'null', host: 'a.example' }, 403, "got 'null'"],
  ])('is refused with %j', (headers, status, message) => {
    const check = () => {
      checkSameOriginJson({ headers });
    };
    expect(check).toThrow(expect.objectContaining({ status }));
    expect(check).toThrow(message);
  });

  it.each([
    ['parsed', { body: { a: 1 } }],
    ['as bytes', { body: Buffer.from('{"a":1}') }],
    ['as text', { body: '{"a":1}' }],
    ['not read, by Express', Readable.from([Buffer.from('{"a"'), Buffer.from(':1}')])],
    ['not read, by Fastify', { raw: Readable.from([Buffer.from('{"a":1}')]) }],
  ])('is read where its body is %s', async (_, request) => {
    expect(await readJson(request as unknown as AnyRequest)).toEqual({ a: 1 });
  });

  it('is refused without JSON, and when it is too long', async () => {
    await expect(readJson({ headers: {}, body: '{' })).rejects.toThrow("expected JSON, got '{'");
    const endless = Readable.from(Array.from({ length: 100 }, () => Buffer.alloc(100)));
    await expect(readJson({ headers: {}, raw: endless as never })).rejects.toThrow(
      'expected at most 4096 bytes',
    );
  });
});
