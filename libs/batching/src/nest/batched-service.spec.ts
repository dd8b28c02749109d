import { describe, expect, it, jest } from '@jest/globals';
import { BatchedService, SerialService } from './batched-service.js';
import { marksOf } from './marks.js';

const secret = Symbol('secret');

class Classifier {
  @BatchedService(64, 5, { concurrency: 2 })
  classify(images: number[]): number[] {
    return images;
  }

  @BatchedService(8, 0)
  [secret](inputs: readonly string[]): Promise<string[]> {
    return Promise.resolve([...inputs]);
  }

  @SerialService({ maxQueued: 3 })
  load(path: string): Promise<string> {
    return Promise.resolve(path);
  }

  other(inputs: number[]): number[] {
    return inputs;
  }
}

const marked = (type: { prototype: object }) => [...marksOf(type.prototype).keys()];

describe('a marked method', () => {
  it('stays an ordinary method', async () => {
    const classifier = new Classifier();
    expect(classifier.classify([1, 2])).toEqual([1, 2]);
    expect(await classifier.load('x')).toBe('x');
    expect(Object.keys(classifier)).toEqual([]);
  });

  it('is found by its name, even if that is a symbol', () => {
    const marks = marksOf(Classifier.prototype);
    expect(marks.get('classify')).toEqual({
      decorator: '@BatchedService()',
      options: { batchSize: 64, maxDelay: 5, concurrency: 2 },
      serial: false,
    });
    expect(marks.get(secret)).toMatchObject({ options: { batchSize: 8, maxDelay: 0 } });
    expect(marks.get('load')).toEqual({
      decorator: '@SerialService()',
      options: { batchSize: 1, maxDelay: 0, dispatch: 'eager', concurrency: 1, maxQueued: 3 },
      serial: true,
    });
    expect(marks.has('other')).toBe(false);
  });

  it('is inherited, until it is overridden', () => {
    class Inheriting extends Classifier {}
    class Overriding extends Classifier {
      override classify(images: number[]): number[] {
        return super.classify(images);
      }
    }
    class Remarking extends Overriding {
      @BatchedService(2, 1)
      override classify(images: number[]): number[] {
        return super.classify(images);
      }
    }
    expect(marked(Inheriting)).toEqual(marked(Classifier));
    expect(marked(Overriding)).toEqual([secret, 'load']);
    expect(marksOf(Remarking.prototype).get('classify')?.options.batchSize).toBe(2);
    expect(marksOf(Classifier.prototype).get('classify')?.options.batchSize).toBe(64);
  });

  it('stays marked when another decorator wraps it or a test spies on it', () => {
    const Wrap: MethodDecorator = (_target, _key, descriptor) => ({ ...descriptor });
    class Wrapped {
      @Wrap
      @BatchedService(4, 1)
      run(inputs: number[]): number[] {
        return inputs;
      }
    }
    const spy = jest.spyOn(Wrapped.prototype, 'run');
    expect(marked(Wrapped)).toEqual(['run']);
    spy.mockRestore();
  });
});

describe('while the class is being defined', () => {
  const define = (decorator: ReturnType<typeof BatchedService>) => {
    class Sorter {
      @decorator
      classify(images: number[]): number[] {
        return images;
      }
    }
    return Sorter;
  };

  it.each([
    [0, 5, {}, RangeError, 'batchSize: expected an integer ≥ 1 or Infinity, got 0'],
    [2.5, 5, {}, RangeError, 'batchSize: expected an integer ≥ 1 or Infinity, got 2.5'],
    [
      '8' as never,
      5,
      {},
      TypeError,
      "batchSize: expected an integer ≥ 1 or Infinity, got '8'; an environment variable is a string, so use Number(process.env.X)",
    ],
    [
      8,
      '5' as never,
      {},
      TypeError,
      "maxDelay: expected a number of milliseconds, got '5'; an environment variable is a string, so use Number(process.env.X)",
    ],
    [
      8,
      5,
      { maxCost: '9' as never },
      TypeError,
      "maxCost: expected a number ≥ 0, got '9'; an environment variable",
    ],
    [8, '' as never, {}, TypeError, "maxDelay: expected a number of milliseconds, got ''"],
    [8, 'soon' as never, {}, TypeError, "maxDelay: expected a number of milliseconds, got 'soon'"],
    [8, -1, {}, RangeError, 'maxDelay: expected milliseconds ≥ 0, got -1'],
    [8, NaN, {}, RangeError, 'maxDelay: expected milliseconds ≥ 0, got NaN'],
    [8, 5, { concurrency: 0 }, RangeError, 'concurrency: expected an integer ≥ 1 or Infinity, got 0'],
    [8, 5, { onFull: 'drop' as never }, RangeError, "onFull: expected 'reject' or 'wait', got 'drop'"],
  ])('(%p, %p, %p) is refused', (batchSize, maxDelay, options, type, message) => {
    const attempt = () => define(BatchedService(batchSize, maxDelay, options));
    expect(attempt).toThrow(type);
    expect(attempt).toThrow(`@BatchedService() on Sorter.classify: ${message}`);
  });

  it.each([[8], [{ batchSize: 8, maxDelay: 5 }], [8, { maxDelay: 5 }], []])(
    'a call that no compiler has seen says how it is called: %p',
    (...given) => {
      expect(() => BatchedService(...(given as unknown as [number, number]))).toThrow(
        new TypeError(
          '@BatchedService(): call it with batchSize and maxDelay, then options if any: ' +
            '@BatchedService(64, 5, { concurrency: 2 })',
        ),
      );
    },
  );

  it('bad options of a serial method are refused', () => {
    const define = () => {
      class Loader {
        @SerialService({ maxQueued: -1 })
        [secret](path: string): string {
          return path;
        }
      }
      return Loader;
    };
    expect(define).toThrow(RangeError);
    expect(define).toThrow('@SerialService() on Loader[Symbol(secret)]: maxQueued: expected');
  });

  it('a target that is not a method is refused at run time too', () => {
    const mark = BatchedService(8, 5) as (
      target: object,
      key: string,
      descriptor?: PropertyDescriptor,
    ) => void;
    const message = '@BatchedService() marks methods of instances, which Classifier.classify is not';
    expect(() => {
      mark(Classifier.prototype, 'classify');
    }).toThrow(message);
    expect(() => {
      mark(Classifier.prototype, 'classify', { get: () => 1 });
    }).toThrow(message);
    expect(() => {
      mark(Classifier, 'classify', { value: () => 1 });
    }).toThrow(TypeError);
    expect(() => {
      mark(Classifier, 'classify', { value: () => 1 });
    }).toThrow(message);
  });
});
