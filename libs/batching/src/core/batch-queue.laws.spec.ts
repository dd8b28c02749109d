import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { BatchQueue } from './batch-queue.js';
import type { Dispatch } from './dispatch-policy.js';

/**
 * The contract's laws under random programs: callers submit, give up, time out; batch functions succeed, fail, answer
 * wrongly or never; settings change; the queue drains and stops. Time is the fake clock's.
 */

type Answer = 'results' | 'some errors' | 'throw' | 'too few' | 'never';

const answers = fc.record({
  answer: fc.constantFrom<Answer>(
    'results',
    'results',
    'results',
    'some errors',
    'throw',
    'too few',
    'never',
  ),
  runTime: fc.constantFrom(0, 0, 3, 10, 40),
});

const steps = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('submit' as const), many: fc.integer({ min: 1, max: 9 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      many: fc.integer({ min: 1, max: 4 }),
      timeout: fc.integer({ min: 0, max: 30 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      many: fc.integer({ min: 1, max: 4 }),
      signal: fc.constant(true),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('abort' as const), which: fc.nat() }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 25 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('batchSize' as const), value: fc.integer({ min: 1, max: 8 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('maxDelay' as const),
      value: fc.constantFrom(0, 1, 7, 30, Infinity),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('concurrency' as const), value: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('maxQueued' as const), value: fc.integer({ min: 0, max: 12 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('start' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drain' as const) }) },
);

const programs = fc.record({
  batchSize: fc.integer({ min: 1, max: 8 }),
  maxDelay: fc.constantFrom(0, 1, 10, 50),
  concurrency: fc.integer({ min: 1, max: 3 }),
  maxQueued: fc.constantFrom(3, 20, 0),
  onFull: fc.constantFrom('reject' as const, 'wait' as const),
  dispatch: fc.constantFrom<Dispatch>('adaptive', 'fixed', 'eager'),
  autoStart: fc.boolean(),
  answers: fc.array(answers, { minLength: 1, maxLength: 12 }),
  steps: fc.array(steps, { maxLength: 40 }),
  ending: fc.record({ hard: fc.boolean(), timeout: fc.constantFrom(0, 5, 60) }),
});

type Program = typeof programs extends fc.Arbitrary<infer P> ? P : never;

interface Batch {
  inputs: number[];
  limit: number;
}

/** Runs one program and checks the laws at every step. */
class Run {
  readonly batches: Batch[] = [];
  readonly outcomes = new Map<number, string[]>();
  readonly callers: AbortController[] = [];
  readonly queue: BatchQueue<number, string>;
  #submitted = 0;

  constructor(readonly program: Program) {
    jest.clearAllTimers();
    this.queue = new BatchQueue<number, string>((inputs) => this.#answer([...inputs]), program);
  }

  async run(): Promise<void> {
    for (const step of this.program.steps) {
      await this.#do(step);
      this.#checkBalance();
    }
    const stopped = this.queue.stop(this.program.ending);
    await jest.advanceTimersByTimeAsync(this.program.ending.timeout + 2);
    await stopped;
    this.#checkEnd();
  }

  async #answer(inputs: number[]): Promise<(string | Error)[]> {
    const { answers } = this.program;
    const { answer, runTime } = answers.at(this.batches.length % answers.length) ?? fail();
    this.batches.push({ inputs, limit: this.queue.batchSize });
    if (runTime > 0) await new Promise((resolve) => setTimeout(resolve, runTime));
    if (answer === 'never') await new Promise(() => undefined);
    if (answer === 'throw') throw new Error('broken');
    const results = inputs.map((input) =>
      answer === 'some errors' && input % 2 === 0 ? new Error(`no ${input}`) : `result ${input}`,
    );
    return answer === 'too few' ? results.slice(1) : results;
  }

  async #do(step: Program['steps'][number]): Promise<void> {
    switch (step.do) {
      case 'submit':
        this.#submit(step);
        return;
      case 'abort':
        this.callers[step.which % Math.max(1, this.callers.length)]?.abort(new Error('aborted'));
        return;
      case 'advance':
        await jest.advanceTimersByTimeAsync(step.ms);
        await this.#checkDelay();
        return;
      case 'start':
        this.queue.start();
        return;
      case 'drain':
        void this.queue.drain();
        return;
      default:
        this.queue[step.do] = step.value;
    }
  }

  #submit({ many, ...options }: { many: number; timeout?: number; signal?: boolean }): void {
    const caller = options.signal ? new AbortController() : undefined;
    if (caller) this.callers.push(caller);
    const inputs = Array.from({ length: many }, () => this.#submitted++);
    const promises = this.queue.submitMany(inputs, { timeout: options.timeout, signal: caller?.signal });
    promises.forEach((promise, index) => {
      const input = inputs[index] ?? fail();
      const write = (outcome: string) =>
        this.outcomes.set(input, [...(this.outcomes.get(input) ?? []), outcome]);
      promise.then(write, (error: unknown) => write(`error ${(error as Error).message}`));
    });
  }

  /** Law 2. */
  #checkBalance(): void {
    const { submitted, settled, results, errors, dropped, drops, waiting, running, blocked, options } =
      this.queue.stats();
    expect(settled + dropped + waiting + running).toBe(submitted);
    expect(results + errors).toBe(settled);
    expect(Object.values(drops).reduce((sum, count) => sum + count)).toBe(dropped);
    expect(submitted + blocked).toBe(this.#submitted);
    if (options.onFull === 'reject') expect(blocked).toBe(0);
  }

  /** Law 5: with a free slot nobody waits longer than maxDelay and the turn that it takes to leave. */
  async #checkDelay(): Promise<void> {
    const { state, options, runningBatches } = this.queue.stats();
    if (state !== 'started' || options.maxDelay === Infinity || runningBatches >= options.concurrency) return;
    const before = this.batches.length;
    await jest.advanceTimersByTimeAsync(options.maxDelay + 3);
    if (this.batches.length === before) expect(this.queue.stats().waiting).toBe(0);
  }

  #checkEnd(): void {
    this.#checkBalance();
    const { waiting, running, blocked, submitted, state } = this.queue.stats();
    expect({ waiting, running, blocked, submitted, state }).toEqual({
      waiting: 0,
      running: 0,
      blocked: 0,
      submitted: this.#submitted,
      state: 'stopped',
    });
    // Law 1: one end each, and a result is the input's own.
    for (let input = 0; input < this.#submitted; input++) {
      const ends = this.outcomes.get(input) ?? [];
      expect(ends).toHaveLength(1);
      if (!ends[0]?.startsWith('error')) expect(ends[0]).toBe(`result ${input}`);
    }
    // Law 3: size, order, and nobody twice.
    const ran = this.batches.flatMap(({ inputs }) => inputs);
    for (const { inputs, limit } of this.batches) {
      expect(inputs.length).toBeGreaterThan(0);
      expect(inputs.length).toBeLessThanOrEqual(limit);
    }
    expect(ran).toEqual([...new Set(ran)].sort((a, b) => a - b));
    // Law 9.
    const stuck = this.program.answers.some(({ runTime }) => runTime > 0);
    if (!stuck) expect(jest.getTimerCount()).toBe(0);
  }
}

function fail(): never {
  throw new Error('the program is at fault');
}

beforeEach(() => {
  jest.useFakeTimers();
});

afterEach(() => {
  jest.useRealTimers();
});

describe('the laws of the contract', () => {
  it('hold in every random program', async () => {
    await fc.assert(
      fc.asyncProperty(programs, (program) => new Run(program).run()),
      { numRuns: 400 },
    );
  }, 60_000);
});
