import { inspect } from 'node:util';
import { describe, expect, it, jest } from '@jest/globals';
import { createView } from './batched-view.js';

const secret = Symbol('secret');
const classify = () => 'one';
const hidden = () => 'two';

class Classifier {
  classify(): string {
    return '';
  }
  helper(): string {
    return '';
  }
  onModuleInit(): void {
    throw new Error('Nest calls this on the provider');
  }
}

type View = Record<PropertyKey, unknown>;

function makeView() {
  const services = jest.fn(
    () =>
      new Map<PropertyKey, unknown>([
        ['classify', classify],
        [secret, hidden],
      ]),
  );
  return { services, view: createView(Classifier, services) as View };
}

describe('a view', () => {
  it('has the marked methods, and the same ones each time', () => {
    const { view } = makeView();
    expect(view.classify).toBe(classify);
    expect(view.classify).toBe(view.classify);
    expect(view[secret]).toBe(hidden);
    expect('classify' in view).toBe(true);
    expect(secret in view).toBe(true);
    expect('helper' in view).toBe(false);
    expect(Object.keys(makeView().view)).toEqual(['classify']);
    expect(Object.hasOwn(makeView().view, 'classify')).toBe(true);
    expect({ ...view }).toEqual({ classify, [secret]: hidden });
  });

  it('looks them up once, at its first use', () => {
    const { view, services } = makeView();
    expect(services).not.toHaveBeenCalled();
    expect([view.classify, view.nothing, Object.keys(view)]).toHaveLength(3);
    expect(services).toHaveBeenCalledTimes(1);
  });

  it('looks them up again if that failed before', () => {
    const { view, services } = makeView();
    services.mockImplementationOnce(() => {
      throw new Error('Classifier is not there yet');
    });
    expect(() => view.classify).toThrow('Classifier is not there yet');
    expect(view.classify).toBe(classify);
  });

  it('has no symbol where its class is provided in another application of the process only', () => {
    const { view, services } = makeView();
    services.mockImplementation(() => {
      throw new Error('no module provides Classifier');
    });
    const brand = Symbol.for('nest-batching:model report');
    expect(view[brand]).toBeUndefined();
    expect(brand in view).toBe(false);
    expect(Object.hasOwn(view, brand)).toBe(false);
    expect(() => view.classify).toThrow('no module provides Classifier');
  });

  it('throws an error that names a method that is not marked', () => {
    const { view } = makeView();
    expect(() => view.helper).toThrow(TypeError);
    expect(() => view.helper).toThrow(
      'Classifier.helper is not marked with @BatchedService() or @SerialService(), so its view does not have it; ' +
        'inject Classifier itself to use it',
    );
  });

  it('hides what Nest and promises would call', async () => {
    const { view, services } = makeView();
    expect(await Promise.resolve(view)).toBe(view);
    for (const name of ['then', 'onModuleInit', 'onApplicationBootstrap', 'onModuleDestroy']) {
      expect(view[name]).toBeUndefined();
      expect(name in view).toBe(false);
    }
    expect(view.beforeApplicationShutdown).toBeUndefined();
    expect(view.onApplicationShutdown).toBeUndefined();
    expect(view.constructor).toBe(Object);
    expect(view instanceof Promise).toBe(false);
    expect(services).not.toHaveBeenCalled();
  });

  it('can be logged, printed, compared, copied and matched', () => {
    const { view } = makeView();
    const other = makeView().view;
    expect(inspect(view)).toContain('Batched<Classifier>');
    expect(Object.prototype.toString.call(view)).toBe('[object Batched<Classifier>]');
    expect(JSON.stringify(view)).toBe('{}');
    expect(view).toEqual(other);
    expect(view).toMatchObject({ classify });
    expect(view).toHaveProperty('classify');
    expect(view).not.toHaveProperty('nothing');
    expect([view]).toContain(view);
    expect(() => {
      expect(view).toEqual({ classify: 1 });
    }).toThrow('classify');
    expect(inspect(view)).toContain('classify');
  });

  it('lets a test spy on a method', () => {
    const { view } = makeView();
    const spy = jest.spyOn(view as { classify: () => string }, 'classify').mockReturnValue('spied');
    expect((view as { classify: () => string }).classify()).toBe('spied');
    spy.mockRestore();
    expect(view.classify).toBe(classify);
  });

  it('keeps what was set before its first use', () => {
    const { view } = makeView();
    const fake = () => 'fake';
    view.classify = fake;
    expect(view.nothing).toBeUndefined();
    expect(view.classify).toBe(fake);
  });
});
