import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { BatchingError, MissingResultError, QueueFullError } from '../core/errors.js';
import { ModelInputError } from '../inference/errors.js';
import { RemoteError } from './errors.js';
import type { ErrorClass } from './transport.js';
import { putTogether, takeApart } from './travelling-errors.js';

class OutOfStock extends Error {
  override name = 'OutOfStock';

  constructor(
    readonly article: string,
    readonly code = 'E_STOCK',
  ) {
    super(`no ${article}`);
  }
}
class SoldOut extends OutOfStock {}

const registered = new Map<string, ErrorClass>([['OutOfStock', OutOfStock]]);

function travel(thrown: unknown, classes: ReadonlyMap<string, ErrorClass> = registered): unknown {
  return putTogether(structuredClone(takeApart(thrown, classes)), classes, 'service');
}

describe('an error that travels', () => {
  it('of this library is what it was, whether its class is loaded or not', () => {
    const error = travel(
      new ModelInputError('digits', 3, { name: 'x', shape: [2] }, 'is too long'),
    ) as ModelInputError;
    expect(error).toBeInstanceOf(ModelInputError);
    expect(error).toBeInstanceOf(BatchingError);
    expect(error).toMatchObject({
      name: 'ModelInputError',
      code: 'ERR_BATCHING_INPUT',
      kind: 'input',
      model: 'digits',
      index: 3,
      tensor: 'x',
      shape: [2],
    });
    expect(error.publicMessage).toBe(error.message);
    // Not of the prototype, so also where that class is unknown.
    expect(Reflect.getPrototypeOf(error)).not.toBe(ModelInputError.prototype);
  });

  it('keeps the key of a missing result, and hides it from loggers', () => {
    const error = travel(new MissingResultError('byId', 'secret')) as MissingResultError;
    expect(error).toBeInstanceOf(MissingResultError);
    expect(error.key).toBe('secret');
    expect(Object.keys(error)).not.toContain('key');
  });

  it('of the user has its class, fields and code, without a call of the constructor', () => {
    const error = travel(new OutOfStock('tea'));
    expect(error).toBeInstanceOf(OutOfStock);
    expect(error).toMatchObject({ name: 'OutOfStock', message: 'no tea', article: 'tea', code: 'E_STOCK' });
  });

  it('of a class that is not registered is the nearest one above it that is', () => {
    expect(travel(new SoldOut('tea'))).toBeInstanceOf(OutOfStock);
    expect(travel(new SoldOut('tea'), new Map())).toBeInstanceOf(RemoteError);
  });

  it('has fields that are data, and no others', () => {
    const circle: Record<string, unknown> = { deep: {} };
    circle.self = circle;
    const fields = { circle, call: () => 1, when: new Date(5), symbol: Symbol('s'), list: [1, { a: 2 }] };
    const error = travel(Object.assign(new OutOfStock('tea'), fields)) as typeof fields & OutOfStock;
    expect(error.when).toEqual(new Date(5));
    expect(error.list).toEqual([1, { a: 2 }]);
    expect(error.symbol).toBe('Symbol(s)');
    expect(error.call).toBeUndefined();
  });

  it('is no way to change what it should not', () => {
    const hostile = {
      brands: ['QueueFullError', '__proto__', 5, '../x'],
      code: 'rm -rf',
      kind: 'admin',
      name: 5,
      message: {},
      stack: [],
      fields: JSON.parse(
        '{"__proto__": {"polluted": 1}, "constructor": 1, "publicMessage": "x", "toString": 1}',
      ) as unknown,
    };
    const error = putTogether(hostile, registered, 'service') as BatchingError;
    expect(error).toBeInstanceOf(QueueFullError);
    expect(error).toMatchObject({ code: 'ERR_BATCHING_REMOTE', kind: 'failure', publicMessage: undefined });
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect((error as { polluted?: number }).polluted).toBeUndefined();
    expect(String(error)).toContain('TravelledError');
  });

  it('ends its caller whatever arrives', () => {
    fc.assert(
      fc.property(fc.anything(), (anything) => {
        const error = putTogether(anything, registered, 'service');
        expect(typeof error === 'object' && anything === error).toBe(false);
      }),
    );
  });
});
