import { AsyncLocalStorage, createHook } from 'node:async_hooks';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { QueueFullError, SessionClosedError, SessionFullError, SessionInterruptedError } from './errors.js';
import type { SubmitOptions } from './options.js';
import { asBatchedService, asService } from './service.js';
import { createSession, type SessionResult, type SessionStep } from './session.js';

type Step = SessionStep<string, string>;

/** A batch method that appends the input to the state, and records its batches. */
function appending(batchSize = 8, run: (steps: readonly Step[]) => unknown = () => undefined) {
  const batches: string[][] = [];
  const service = asBatchedService(
    batchSize,
    0,
  )(async (steps: readonly Step[]): Promise<SessionResult<string, string>[]> => {
    batches.push(steps.map(({ input }) => input));
    await run(steps);
    return steps.map(({ input, state }) => ({ output: state + input, state: state + input }));
  });
  return { service, batches };
}

/** A promise that keeps a batch function from returning until it is released. */
function holding() {
  let release!: () => void;
  const promise = new Promise<void>((resolve) => (release = resolve));
  return { promise, release };
}

describe('a session', () => {
  it('hands each step the state of the step before', async () => {
    const { service } = appending();
    const session = createSession(service, { initialState: '>' });
    expect(await session.push('a')).toBe('>a');
    expect(await session.push('b')).toBe('>ab');
  });

  it('runs pushes that were not awaited in their order, one in each batch', async () => {
    const { service, batches } = appending();
    const session = createSession(service, { initialState: '' });
    expect(await Promise.all(['a', 'b', 'c'].map((input) => session.push(input)))).toEqual([
      'a',
      'ab',
      'abc',
    ]);
    expect(batches).toEqual([['a'], ['b'], ['c']]);
  });

  it('shares its batches with other sessions, which join and leave between two steps', async () => {
    const { service, batches } = appending();
    const write = async (word: string) => {
      const session = createSession(service, { initialState: '' });
      let text = '';
      for (const letter of word) text = await session.push(letter);
      return text;
    };
    expect(await Promise.all(['ab', 'cdef', 'ghi'].map(write))).toEqual(['ab', 'cdef', 'ghi']);
    expect(batches).toEqual([['a', 'c', 'g'], ['b', 'd', 'h'], ['e', 'i'], ['f']]);
  });

  it('never sees the state of another one, whatever the company, the errors and the order', async () => {
    const word = fc.array(fc.record({ letter: fc.constantFrom('a', 'b', 'c'), fails: fc.boolean() }), {
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(word, { maxLength: 6 }),
        fc.integer({ min: 1, max: 4 }),
        async (words, batchSize) => {
          const failing = new Set<string>();
          const service = asBatchedService(
            batchSize,
            0,
          )((steps: readonly SessionStep<{ letter: string; fails: boolean; id: string }, string>[]) =>
            steps.map(({ input: { letter, fails, id }, state }) => {
              // Each one that fails does so once.
              if (!fails || failing.has(id)) return { output: state + letter, state: state + letter };
              failing.add(id);
              return new RangeError(id);
            }),
          );
          const texts = await Promise.all(
            words.map(async (letters, number) => {
              const session = createSession(service, { initialState: () => `${number}:` });
              let text = `${number}:`;
              for (const [index, input] of letters.entries()) {
                const step = { ...input, id: `${number}.${index}` };
                text = await session.push(step).catch(() => session.push(step));
              }
              return text;
            }),
          );
          expect(texts).toEqual(
            words.map((letters, number) => `${number}:${letters.map((one) => one.letter).join('')}`),
          );
        },
      ),
    );
  });

  it('gives each session a state of its own where the initial state is a function', async () => {
    const { service } = appending();
    let made = 0;
    const initialState = () => `${++made}`;
    const [one, other] = [createSession(service, { initialState }), createSession(service, { initialState })];
    expect(await Promise.all([one.push('a'), other.push('a')])).toEqual(['1a', '2a']);
  });

  it('submits a step in the context of its caller', async () => {
    const storage = new AsyncLocalStorage<string>();
    const stores: unknown[] = [];
    const { service } = appending();
    const session = createSession(
      async (step: Step) => {
        stores.push(storage.getStore());
        return service(step);
      },
      { initialState: '' },
    );
    await Promise.all(['a', 'b', 'c'].map((caller) => storage.run(caller, () => session.push(caller))));
    expect(stores).toEqual(['a', 'b', 'c']);
  });

  it('hands timeout and priority of a push, and tenant and signal of the session, to the queue', async () => {
    const { signal } = new AbortController();
    const options: unknown[] = [];
    const session = createSession(
      (step: Step, submitOptions) => {
        options.push(submitOptions);
        return Promise.resolve({ output: step.input, state: '' });
      },
      { initialState: '', signal, tenant: 'acme' },
    );
    await session.push('a', { timeout: 20, priority: 3 });
    expect(options).toMatchObject([{ timeout: 20, priority: 3, tenant: 'acme' }]);
    expect((options[0] as SubmitOptions).signal).toBe(signal);
  });

  it.each(['Session', 'SerialCall'])(
    'leaves nothing in async hooks, such as those of tracing, by %s',
    async (kind) => {
      setFlagsFromString('--expose-gc');
      const gc = runInNewContext('gc') as () => void;
      const ids = new Set<number>();
      const hook = createHook({
        init: (id, type) => type === kind && ids.add(id),
        destroy: (id) => ids.delete(id),
      }).enable();
      const { service } = appending();
      const session = createSession(service, { initialState: '>' });
      const serial = asService()((x: number) => x);
      await Promise.all(['a', 'b', 'c'].map((input) => session.push(input)));
      await Promise.all([1, 2, 3].map((x) => serial(x)));
      expect(ids.size).toBeGreaterThan(1);
      while (ids.size > 0) {
        gc();
        await setImmediate();
      }
      hook.disable();
    },
  );
});

describe('a step that fails', () => {
  it('rejects its push with the error and those behind it, and leaves the state as it was', async () => {
    const error = new RangeError('bad letter');
    let fails = true;
    const { service } = appending(8, (steps) => {
      if (fails && steps.some(({ input }) => input === 'b')) throw error;
    });
    const session = createSession(service, { initialState: '' });
    const outcomes = await Promise.allSettled(['a', 'b', 'c'].map((input) => session.push(input)));
    expect(outcomes).toEqual([
      { status: 'fulfilled', value: 'a' },
      { status: 'rejected', reason: error },
      { status: 'rejected', reason: expect.any(SessionInterruptedError) },
    ]);
    expect((outcomes[2] as PromiseRejectedResult).reason).toMatchObject({
      code: 'ERR_BATCHING_SESSION_INTERRUPTED',
      kind: 'failure',
      cause: error,
    });
    fails = false;
    expect(await Promise.all(['b', 'c'].map((input) => session.push(input)))).toEqual(['ab', 'abc']);
  });

  it('keeps the kind of its error for the pushes behind it', async () => {
    const full = new QueueFullError('letters', 1, 5);
    const session = createSession<string, string, string>(() => Promise.reject(full), { initialState: '' });
    const [first, second] = await Promise.allSettled([session.push('a'), session.push('b')]);
    expect(first).toMatchObject({ reason: full });
    expect(second).toMatchObject({ reason: { kind: 'overload', cause: full } });
  });

  it('may be pushed again by its caller at once', async () => {
    let fails = true;
    const { service, batches } = appending(8, () => {
      if (fails) throw new RangeError('once');
    });
    const session = createSession(service, { initialState: '' });
    const again = session.push('a').catch(() => {
      fails = false;
      return session.push('a');
    });
    expect(await again).toBe('a');
    expect(batches).toEqual([['a'], ['a']]);
  });

  it.each([undefined, null, 'text', { output: 1 }, { state: 1 }])(
    'is one whose result is %j',
    async (result) => {
      const session = createSession(() => Promise.resolve(result as never), { initialState: '' });
      await expect(session.push('a')).rejects.toThrow(
        'createSession: expected a result { output, state } for each input of the batch method, got',
      );
    },
  );
});

describe('a session is bounded', () => {
  it('refuses a push beyond maxPending, and takes it when one has ended', async () => {
    const { service } = appending();
    const session = createSession(service, { initialState: '', maxPending: 2 });
    const pushes = [session.push('a'), session.push('b')];
    expect(session.pending).toBe(2);
    const refused = await session.push('x').catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(SessionFullError);
    expect(refused).toMatchObject({ code: 'ERR_BATCHING_SESSION_FULL', kind: 'overload', maxPending: 2 });
    await pushes[0];
    expect(await Promise.all([...pushes, session.push('c')])).toEqual(['a', 'ab', 'abc']);
    expect(session.pending).toBe(0);
  });

  it('refuses options that are none, with what was expected', async () => {
    const { service } = appending();
    expect(() => createSession(5 as never, { initialState: '' })).toThrow(
      'createSession: expected a batched method or a service, got 5',
    );
    expect(() => createSession(service, { initialState: '', maxPending: 0 })).toThrow(RangeError);
    expect(() => createSession(service, { initialState: '', signal: {} as never })).toThrow(TypeError);
    const session = createSession(service, { initialState: '' });
    await expect(session.push('a', { timeout: -1 })).rejects.toThrow(
      'timeout: expected milliseconds ≥ 0, got -1',
    );
    expect(await session.push('b')).toBe('b');
  });
});

describe('the end of a session', () => {
  it('close() waits for the pushes before it and refuses later ones', async () => {
    const { service } = appending();
    const session = createSession(service, { initialState: '' });
    const pushes = [session.push('a'), session.push('b')];
    const closed = session.close();
    const refused = await session.push('c').catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(SessionClosedError);
    expect(refused).toMatchObject({ code: 'ERR_BATCHING_SESSION_CLOSED', kind: 'stopped' });
    await closed;
    expect(session.pending).toBe(0);
    expect(await Promise.all(pushes)).toEqual(['a', 'ab']);
    await session.close();
  });

  it('an abort rejects all pushes with its reason, and gives up the place in the next batch', async () => {
    const hold = holding();
    const { service, batches } = appending(8, () => hold.promise);
    const other = createSession(service, { initialState: '' }).push('first');
    await setImmediate();
    const controller = new AbortController();
    const session = createSession(service, { initialState: '', signal: controller.signal });
    const pushes = [session.push('a'), session.push('b')];
    await setImmediate();
    controller.abort(new Error('gone'));
    expect(
      (await Promise.allSettled(pushes)).map((one) => String((one as PromiseRejectedResult).reason)),
    ).toEqual(['Error: gone', 'Error: gone']);
    await expect(session.push('c')).rejects.toThrow('gone');
    hold.release();
    await other;
    await service.drain();
    expect(batches).toEqual([['first']]);
  });

  it('an abort before the first push refuses all, and frees the state', async () => {
    const step = jest.fn<() => Promise<SessionResult<string, object>>>();
    const free = jest.fn();
    const session = createSession(step, {
      initialState: () => ({ [Symbol.dispose]: free }),
      signal: AbortSignal.abort(new Error('gone')),
    });
    await expect(session.push('a')).rejects.toThrow('gone');
    await setImmediate();
    expect(step).not.toHaveBeenCalled();
    expect(free).toHaveBeenCalledTimes(1);
  });

  it('does not keep listening to its signal', async () => {
    const { service } = appending();
    const { signal } = new AbortController();
    const remove = jest.spyOn(signal, 'removeEventListener');
    const session = createSession(service, { initialState: '', signal });
    await session.push('a');
    await session.close();
    expect(remove).toHaveBeenCalled();
  });
});

describe('the sessions of two tenants', () => {
  it('take turns at each step, however many one of them has', async () => {
    const hold = holding();
    const { service, batches } = appending(4, () => hold.promise);
    const pushes = Array.from({ length: 12 }, (_, index) => `a${index}`).map((input) =>
      createSession(service, { initialState: '', tenant: 'a' }).push(input),
    );
    for (const input of ['b0', 'b1']) {
      pushes.push(createSession(service, { initialState: '', tenant: 'b' }).push(input));
    }
    hold.release();
    await Promise.all(pushes);
    const first = batches.findIndex((batch) => batch.includes('b0'));
    expect(first).toBeLessThanOrEqual(1);
    expect(batches[first]).toContain('b1');
  });
});

describe('a state that holds something', () => {
  /** States with a number each, and which of them have been disposed of. */
  function disposables(method: symbol) {
    const disposed: number[] = [];
    const make = (number: number) => ({
      number,
      [method]: () => {
        disposed.push(number);
      },
    });
    return { disposed, make };
  }

  it.each([Symbol.dispose, Symbol.asyncDispose])(
    'is disposed of when it has been replaced, by %s',
    async (method) => {
      const { disposed, make } = disposables(method);
      const session = createSession(
        ({ state }: SessionStep<string, { number: number }>) =>
          Promise.resolve({ output: '', state: make(state.number + 1) }),
        { initialState: () => make(0) },
      );
      await session.push('a');
      await session.push('b');
      expect(disposed).toEqual([0, 1]);
      await session.close();
      expect(disposed).toEqual([0, 1, 2]);
    },
  );

  it('is disposed of once, at the end, where each step returns the same', async () => {
    const { disposed, make } = disposables(Symbol.dispose);
    const session = createSession(
      ({ state }: SessionStep<string, { number: number }>) => Promise.resolve({ output: '', state }),
      { initialState: () => make(7) },
    );
    await session.push('a');
    await session.push('b');
    expect(disposed).toEqual([]);
    await Promise.all([session.close(), session[Symbol.asyncDispose]()]);
    expect(disposed).toEqual([7]);
  });

  it('is disposed of after the step that runs, when the session is aborted', async () => {
    const { disposed, make } = disposables(Symbol.dispose);
    const hold = holding();
    const controller = new AbortController();
    const session = createSession(
      async ({ state }: SessionStep<string, { number: number }>) => {
        await hold.promise;
        return { output: '', state: make(state.number + 1) };
      },
      { initialState: () => make(0), signal: controller.signal },
    );
    const pushed = session.push('a');
    controller.abort(new Error('gone'));
    await expect(pushed).rejects.toThrow('gone');
    await setImmediate();
    expect(disposed).toEqual([]);
    hold.release();
    await session.close();
    expect(disposed.sort()).toEqual([0, 1]);
  });

  it.each(['signal', 'timeout'])(
    'is disposed of when it comes too late for a caller that gave up by its %s',
    async (how) => {
      const { disposed, make } = disposables(Symbol.dispose);
      const hold = holding();
      const step = asBatchedService(
        4,
        0,
      )(async (steps: SessionStep<string, { number: number }>[]) => {
        await hold.promise;
        return steps.map(({ state }) => ({ output: '', state: make(state.number + 1) }));
      });
      const controller = new AbortController();
      const session = createSession(step, { initialState: () => make(0), signal: controller.signal });
      const pushed = session.push('a', how === 'timeout' ? { timeout: 20 } : {});
      while (step.queue.stats().runningBatches === 0) await setImmediate();
      if (how === 'signal') controller.abort(new Error('gone'));
      await expect(pushed).rejects.toThrow();
      await setImmediate();
      const before = how === 'signal' ? [0] : [];
      expect(disposed).toEqual(before);
      hold.release();
      while (step.queue.stats().runningBatches > 0) await setImmediate();
      expect(disposed).toEqual([...before, 1]);
      if (how === 'timeout') {
        // The step can be repeated, from the state before.
        await session.push('a');
        expect(disposed).toEqual([1, 0]);
        await session.close();
        expect(disposed).toEqual([1, 0, 1]);
      }
      await step.stop();
    },
  );

  it.each([
    ['with its batch', false],
    ['as a promise in its place', true],
  ])('is disposed of when it comes after runTimeout, %s', async (_, isInPlace) => {
    const { disposed, make } = disposables(Symbol.dispose);
    const hold = holding();
    const step = asBatchedService(4, 0, { runTimeout: 20 })((
      steps: SessionStep<string, { number: number }>[],
    ) => {
      const result = ({ state }: { state: { number: number } }) => ({
        output: '',
        state: make(state.number + 1),
      });
      return isInPlace
        ? steps.map((each) => hold.promise.then(() => result(each)))
        : hold.promise.then(() => steps.map(result));
    });
    const session = createSession(step, { initialState: () => make(0) });
    await expect(session.push('a')).rejects.toMatchObject({ code: 'ERR_BATCHING_TIMEOUT' });
    expect(disposed).toEqual([]);
    hold.release();
    await setImmediate();
    expect(disposed).toEqual([1]);
    // The step can be repeated, from the state before.
    await session.push('a');
    expect(disposed).toEqual([1, 0]);
    await session.close();
    await step.stop();
  });

  it('whose disposal fails is reported as a warning and affects no caller', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const state = {
      [Symbol.dispose]: () => {
        throw new Error('stuck');
      },
    };
    const session = createSession(() => Promise.resolve({ output: 1, state }), { initialState: state });
    expect(await session.push('a')).toBe(1);
    await session.close();
    expect(warn).toHaveBeenCalledWith('the state of a session could not be disposed of: Error: stuck');
    warn.mockRestore();
  });
});
