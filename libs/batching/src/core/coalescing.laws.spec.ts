import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { BatchQueue } from './batch-queue.js';

/**
 * The laws of docs/contract.md where callers share inputs (`coalesce`), under random programs with few keys.
 * What is expected comes from a model that knows only which callers came for which key and when, and what the
 * batch function was given.
 */

interface Input {
  readonly key: number;
  readonly caller: number;
}

/** One shared result: of which run of the batch function it is. */
interface Result {
  readonly key: number;
  readonly run: number;
}

interface Caller {
  readonly key: number;
  /** Runs begun, and those ended, when it came. */
  readonly begun: number;
  readonly endedBefore: ReadonlySet<number>;
  readonly controller: AbortController;
  readonly ends: (Result | Error)[];
}

type Answer = 'array' | 'map' | 'promises' | 'throw' | 'some errors' | 'never';

const answers = fc.record({
  answer: fc.constantFrom<Answer>(
    'array',
    'array',
    'map',
    'map',
    'promises',
    'throw',
    'some errors',
    'never',
  ),
  runTime: fc.constantFrom(0, 3, 10, 30),
});

const steps = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      key: fc.nat(3),
      timeout: fc.constantFrom(undefined, undefined, undefined, 5, 20),
      priority: fc.constantFrom(undefined, undefined, -1, 1, 2),
      tenant: fc.constantFrom(undefined, undefined, 'x'),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('abort' as const), which: fc.nat() }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 20 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drain' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('start' as const) }) },
);

const programs = fc.record({
  options: fc.record({
    batchSize: fc.integer({ min: 1, max: 3 }),
    maxDelay: fc.constantFrom(0, 5, 20),
    concurrency: fc.integer({ min: 1, max: 2 }),
    maxQueued: fc.constantFrom(1, 2, 10),
    onFull: fc.constantFrom('reject' as const, 'wait' as const),
    dispatch: fc.constantFrom('adaptive' as const, 'fixed' as const, 'eager' as const),
    autoStart: fc.constantFrom(true, true, false),
    isolateErrors: fc.boolean(),
    runTimeout: fc.constantFrom(Infinity, 25),
  }),
  usesGroups: fc.boolean(),
  answers: fc.array(answers, { minLength: 1, maxLength: 8 }),
  steps: fc.array(steps, { maxLength: 40 }),
  ending: fc.record({ hard: fc.boolean(), timeout: fc.constantFrom(0, 60) }),
});

type Program = typeof programs extends fc.Arbitrary<infer P> ? P : never;
type Step = Program['steps'][number];

class Modelled {
  readonly #queue: BatchQueue<Input, Result>;
  readonly #callers: Caller[] = [];
  /** Runs of the batch function, by their numbers: those of parts of a batch (`isolateErrors`) too. */
  #runs = 0;
  readonly #ended = new Set<number>();
  #drained = 0;
  #drains = 0;
  /** Those that a drain has waited for. */
  readonly #mustHaveEnded: Caller[] = [];

  constructor(private readonly program: Program) {
    const { options, usesGroups } = program;
    this.#queue = new BatchQueue<Input, Result>((inputs) => this.#answer(inputs), {
      ...options,
      keyBy: ({ key }: Input) => key,
      coalesce: true,
      ...(usesGroups ? { groupBy: ({ key }: Input) => key % 2 } : {}),
    });
  }

  async run(): Promise<void> {
    for (const step of this.program.steps) {
      await this.#do(step);
      this.#checkBalance();
    }
    const { ending } = this.program;
    const stopped = this.#queue.stop(ending);
    await jest.advanceTimersByTimeAsync(ending.timeout + 2);
    await stopped;
    await jest.advanceTimersByTimeAsync(0);
    this.#checkEnd();
  }

  async #do(step: Step): Promise<void> {
    switch (step.do) {
      case 'submit':
        this.#submit(step);
        return;
      case 'abort':
        this.#callers[step.which % Math.max(1, this.#callers.length)]?.controller.abort(new Error('gone'));
        return;
      case 'advance':
        await jest.advanceTimersByTimeAsync(step.ms);
        for (const { ends } of this.#mustHaveEnded) expect(ends).toHaveLength(1);
        return;
      case 'drain':
        this.#drain();
        return;
      case 'start':
        this.#queue.start();
    }
  }

  #submit({ key, timeout, priority, tenant }: Extract<Step, { do: 'submit' }>): void {
    const before = this.#queue.stats();
    const { controller, ends } = { controller: new AbortController(), ends: [] as Caller['ends'] };
    const caller = { key, begun: this.#runs, endedBefore: new Set(this.#ended), controller, ends };
    const isFirst = !this.#callers.some((other) => other.key === key && other.ends.length === 0);
    const input = { key, caller: this.#callers.push(caller) - 1 };
    this.#queue.submit(input, { timeout, priority, tenant, signal: controller.signal }).then(
      (result) => ends.push(result),
      (error: unknown) => ends.push(error as Error),
    );
    // A caller of a key that no other waits for joins nothing.
    const { coalesced, blocked, drops } = this.#queue.stats();
    if (isFirst) expect(coalesced).toBe(before.coalesced);
    // One that joins is not refused for room: at most the first of each key is.
    if (coalesced > before.coalesced) expect(drops).toEqual(before.drops);
    if (this.program.options.onFull === 'reject') expect(blocked).toBe(0);
  }

  #drain(): void {
    const before = [...this.#callers];
    this.#drains++;
    void this.#queue.drain().then(() => {
      this.#drained++;
      this.#mustHaveEnded.push(...before);
    });
  }

  async #answer(
    inputs: Input[],
  ): Promise<(Result | Error | Promise<Result>)[] | Map<number, Result | Error>> {
    const run = ++this.#runs;
    const { answers, options } = this.program;
    const keys = inputs.map(({ key }) => key);
    // One input of a key: in a batch, and beside what waits and runs.
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys.length).toBeLessThanOrEqual(options.batchSize);
    expect(keys.length).toBeGreaterThan(0);
    const { answer, runTime } = answers[run % answers.length] ?? { answer: 'array', runTime: 0 };
    if (runTime > 0) await new Promise((resolve) => setTimeout(resolve, runTime));
    if (answer === 'never') await new Promise(() => undefined);
    if (answer !== 'promises') this.#ended.add(run);
    if (answer === 'throw') throw new Error(`run ${run} failed`);
    const results = keys.map((key) =>
      answer === 'some errors' && key % 2 === 0 ? new Error(`no ${key} in run ${run}`) : { key, run },
    );
    if (answer === 'map') return new Map(results.map((result, index) => [keys[index] ?? NaN, result]));
    if (answer !== 'promises') return results;
    return results.map(async (result) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      this.#ended.add(run);
      return result as Result;
    });
  }

  /** Law 2. */
  #checkBalance(): void {
    const stats = this.#queue.stats();
    const { submitted, settled, results, errors, dropped, waiting, running, blocked, coalesced } = stats;
    expect(settled + dropped + waiting + running).toBe(submitted);
    expect(results + errors).toBe(settled);
    expect(submitted + blocked).toBe(this.#callers.length);
    expect(coalesced).toBeLessThanOrEqual(submitted);
    // The inputs of callers that wait are no more than may wait, nor more than there are keys.
    const { maxQueued } = this.program.options;
    if (waiting - coalesced > 0) expect(waiting - coalesced).toBeLessThanOrEqual(maxQueued);
  }

  #checkEnd(): void {
    this.#checkBalance();
    const { waiting, running, blocked } = this.#queue.stats();
    expect({ waiting, running, blocked }).toEqual({ waiting: 0, running: 0, blocked: 0 });
    expect(this.#drained).toBe(this.#drains);
    const ofRun = new Map<string, Result>();
    for (const { key, ends, endedBefore } of this.#callers) {
      // Law 1.
      expect(ends).toHaveLength(1);
      const [end] = ends;
      if (!end || end instanceof Error) continue;
      // Its own key's, of a run that had not ended when it came, and the same object as all others of that
      // run got.
      expect(end.key).toBe(key);
      expect(endedBefore.has(end.run)).toBe(false);
      const name = `${key} ${end.run}`;
      expect(ofRun.get(name) ?? end).toBe(end);
      ofRun.set(name, end);
    }
    if (
      this.program.options.runTimeout === Infinity &&
      !this.program.answers.some(({ runTime, answer }) => runTime > 0 || answer === 'promises')
    ) {
      expect(jest.getTimerCount()).toBe(0);
    }
  }
}

beforeEach(() => {
  jest.useFakeTimers();
});

afterEach(() => {
  jest.useRealTimers();
});

describe('the laws of the contract, where callers share inputs', () => {
  it('hold in every random program', async () => {
    await fc.assert(
      fc.asyncProperty(programs, async (program) => {
        jest.clearAllTimers();
        await new Modelled(program).run();
      }),
      { numRuns: 400 },
    );
  }, 60_000);
});
