import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { BatchQueue } from './batch-queue.js';
import type { Dispatch } from './dispatch/dispatch-policy.js';
import { Lane } from './lane.js';

/**
 * The laws of docs/contract.md under random programs: callers submit, give up, time out, with priorities and
 * for tenants; inputs have a cost and a group; batch functions succeed, fail, answer by promises, wrongly or
 * never; settings change; one or two queues share a lane, drain and stop. Time is the fake clock's. What is
 * expected comes from a model that knows only who was submitted, who has ended, and which inputs the batch
 * function has been given.
 */

type Answer = 'results' | 'promises' | 'some errors' | 'throw' | 'too few' | 'never';

/** `old`: a polyfill without `reason` and `removeEventListener`; `broken`: its `addEventListener` throws. */
type Signal = 'real' | 'old' | 'broken';

interface Caller {
  readonly signal: AbortSignal;
  abort(reason: unknown): void;
}

function callerWith(kind: Signal): Caller {
  if (kind === 'real') return new AbortController();
  const signal = Object.assign(new EventTarget(), { aborted: false });
  Object.assign(signal, { removeEventListener: undefined });
  if (kind === 'broken') signal.addEventListener = () => fail();
  return {
    signal: signal as unknown as AbortSignal,
    abort: () => {
      signal.aborted = true;
      signal.dispatchEvent(new Event('abort'));
    },
  };
}

interface Input {
  readonly id: number;
  readonly group: string;
  readonly cost: number;
  /** A run that it takes part in throws. */
  readonly poison: boolean;
}

/** What the model knows of an input. */
interface Known extends Input {
  readonly at: number;
  readonly priority: number;
  readonly tenant: string | undefined;
  hasRun: boolean;
  ends: string[];
}

const answers = fc.record({
  answer: fc.constantFrom<Answer>(
    'results',
    'results',
    'results',
    'promises',
    'some errors',
    'throw',
    'too few',
    'never',
  ),
  runTime: fc.constantFrom(0, 0, 3, 10, 40),
});

const submission = {
  do: fc.constant('submit' as const),
  group: fc.constantFrom('a', 'a', 'b', 'c'),
  cost: fc.integer({ min: 0, max: 6 }),
  poison: fc.constantFrom(false, false, false, true),
  priority: fc.constantFrom(undefined, undefined, -1, 1, 2),
  tenant: fc.constantFrom(undefined, undefined, 'x', 'y'),
};

const setting = <K extends 'batchSize' | 'maxDelay' | 'concurrency' | 'maxQueued'>(
  name: K,
  value: fc.Arbitrary<number>,
) => ({ weight: 1, arbitrary: fc.record({ do: fc.constant(name), value }) });

const steps = fc.oneof(
  { weight: 6, arbitrary: fc.record({ ...submission, many: fc.integer({ min: 1, max: 9 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      ...submission,
      many: fc.integer({ min: 1, max: 4 }),
      timeout: fc.integer({ min: 0, max: 30 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      ...submission,
      many: fc.integer({ min: 1, max: 4 }),
      signal: fc.constantFrom<Signal>('real', 'real', 'old', 'broken'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('abort' as const), which: fc.nat() }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 25 }) }),
  },
  setting('batchSize', fc.integer({ min: 1, max: 8 })),
  setting('maxDelay', fc.constantFrom(0, 1, 7, 30, Infinity)),
  setting('concurrency', fc.integer({ min: 1, max: 4 })),
  setting('maxQueued', fc.integer({ min: 0, max: 12 })),
  { weight: 1, arbitrary: fc.record({ do: fc.constant('start' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drain' as const) }) },
);

const settings = fc.record({
  batchSize: fc.integer({ min: 1, max: 8 }),
  maxDelay: fc.constantFrom(0, 1, 10, 50),
  concurrency: fc.integer({ min: 1, max: 3 }),
  maxQueued: fc.constantFrom(3, 20, 0),
  onFull: fc.constantFrom('reject' as const, 'wait' as const),
  dispatch: fc.constantFrom<Dispatch>('adaptive', 'fixed', 'eager'),
  autoStart: fc.boolean(),
  isolateErrors: fc.boolean(),
  runTimeout: fc.constantFrom(Infinity, Infinity, 20),
  aging: fc.constantFrom(0, 10, 1000),
  usesCost: fc.boolean(),
  maxQueuedCost: fc.constantFrom(Infinity, 15),
  usesGroups: fc.boolean(),
  /** Each input has a key of its own: then nothing may change. */
  usesKeys: fc.constantFrom('no' as const, 'by' as const, 'coalesce' as const),
  answers: fc.array(answers, { minLength: 1, maxLength: 12 }),
});

const programs = fc.record({
  queues: fc.array(settings, { minLength: 1, maxLength: 2 }),
  /** Slots that the queues share; 0: each has its own. */
  lane: fc.constantFrom(0, 0, 1, 2),
  steps: fc.array(fc.record({ queue: fc.nat(1), step: steps }), { maxLength: 40 }),
  ending: fc.record({ hard: fc.boolean(), timeout: fc.constantFrom(0, 5, 60) }),
});

type Settings = typeof settings extends fc.Arbitrary<infer S> ? S : never;
type Program = typeof programs extends fc.Arbitrary<infer P> ? P : never;
type Step = Program['steps'][number]['step'];
type Submission = Extract<Step, { do: 'submit' }>;

const MAX_COST = 10;

/** One queue and what the model knows of it. */
class Modelled {
  readonly queue: BatchQueue<Input, string>;
  readonly #inputs: Known[] = [];
  readonly #callers: Caller[] = [];
  #calls = 0;

  constructor(
    readonly settings: Settings,
    readonly lane: Lane | undefined,
  ) {
    const { usesCost, usesGroups, usesKeys, ...options } = settings;
    this.queue = new BatchQueue<Input, string>((inputs) => this.#answer([...inputs]), {
      ...options,
      lane,
      ...(usesCost ? { cost: ({ cost }: Input) => cost, maxCost: MAX_COST } : {}),
      ...(usesGroups ? { groupBy: ({ group }: Input) => group } : {}),
      ...(usesKeys === 'no' ? {} : { keyBy: ({ id }: Input) => id, coalesce: usesKeys === 'coalesce' }),
    });
  }

  submit(submission: Submission): void {
    const { many, group, cost, poison, priority, tenant } = submission;
    const caller = 'signal' in submission ? callerWith(submission.signal) : undefined;
    const timeout = 'timeout' in submission ? submission.timeout : undefined;
    if (caller) this.#callers.push(caller);
    const before = this.queue.stats();
    const isIdle = before.waiting + before.running + before.blocked === 0;
    for (let index = 0; index < many; index++) {
      const id = this.#inputs.length;
      const input: Input = { id, group, cost, poison: poison && index === 0 };
      const at = performance.now();
      const known: Known = { ...input, at, priority: priority ?? 0, tenant, hasRun: false, ends: [] };
      this.#inputs.push(known);
      const result = this.queue.submit(input, { timeout, signal: caller?.signal, priority, tenant });
      result.then(
        (value) => known.ends.push(value),
        (error: unknown) => known.ends.push(`error ${(error as Error).message}`),
      );
    }
    // An idle queue refuses no input for being late.
    if (isIdle && many === 1) expect(this.queue.stats().drops.timeout).toBe(before.drops.timeout);
  }

  abort(which: number): void {
    this.#callers[which % Math.max(1, this.#callers.length)]?.abort(new Error('aborted'));
  }

  async #answer(inputs: Input[]): Promise<(string | Error | Promise<string>)[]> {
    const ran = inputs.map(({ id }) => this.#inputs[id] ?? fail());
    const isPart = ran[0]?.hasRun === true;
    let answer: Answer = 'results';
    if (isPart) {
      this.#checkPart(ran);
    } else {
      this.#checkBatch(ran);
      const { answers } = this.settings;
      const next = answers.at(this.#calls++ % answers.length) ?? fail();
      ({ answer } = next);
      if (next.runTime > 0) await new Promise((resolve) => setTimeout(resolve, next.runTime));
    }
    if (answer === 'never') await new Promise(() => undefined);
    if (answer === 'throw') throw new Error('broken');
    if (inputs.some(({ poison }) => poison)) throw new Error(`poison in ${inputs.length}`);
    const results = inputs.map(({ id }) =>
      answer === 'some errors' && id % 2 === 0 ? new Error(`no ${id}`) : `result ${id}`,
    );
    if (answer !== 'promises') return answer === 'too few' ? results.slice(1) : results;
    return results.map(async (result, index) => {
      const { id } = inputs[index] ?? fail();
      if (id % 3 > 0) await new Promise((resolve) => setTimeout(resolve, 7 * (id % 3)));
      if (id % 5 === 0 || result instanceof Error) throw new Error(`no ${id}`);
      return result;
    });
  }

  /** Isolation runs parts of a batch that failed, for the callers that still wait. */
  #checkPart(part: Known[]): void {
    expect(this.settings.isolateErrors).toBe(true);
    for (const known of part) expect(known).toMatchObject({ hasRun: true, ends: [] });
  }

  /** Law 3, when a batch leaves. */
  #checkBatch(batch: Known[]): void {
    const { usesCost, usesGroups, onFull, aging } = this.settings;
    const { batchSize, concurrency } = this.queue;
    const now = performance.now();
    const waited = this.#inputs.filter(({ hasRun, ends }) => !hasRun && ends.length === 0);
    for (const known of batch) {
      // No input runs twice, nor after its end.
      expect(known).toMatchObject({ hasRun: false, ends: [] });
      known.hasRun = true;
    }
    expect(batch.length).toBeGreaterThan(0);
    expect(batch.length).toBeLessThanOrEqual(batchSize);
    expect(this.queue.stats().runningBatches).toBeLessThanOrEqual(concurrency);
    if (usesCost) expect(sum(batch.map(({ cost }) => cost))).toBeLessThanOrEqual(MAX_COST);
    if (usesGroups) expect(new Set(batch.map(({ group }) => group)).size).toBe(1);
    // With inputs at the door, the model does not know which may share the batch.
    if (onFull === 'wait') return;
    const group = (known: Known) => (usesGroups ? known.group : '');
    const left = waited.filter((known) => !known.hasRun && group(known) === group(batch[0] ?? fail()));
    const isFull = (of: Known[]) =>
      of.length >= batchSize || (usesCost && sum(of.map(({ cost }) => cost)) >= MAX_COST);
    // A group that fills a batch does not wait for one that does not.
    const groups = groupBy(waited, group);
    if (groups.some(isFull)) expect(isFull([...batch, ...left])).toBe(true);
    for (const known of batch) {
      for (const other of left) {
        const merit = (one: Known) => one.priority * aging + (now - one.at);
        if (known.tenant !== other.tenant) continue;
        // Inputs of one priority leave in the order of arrival.
        if (known.priority === other.priority) expect(known.id).toBeLessThan(other.id);
        // One level is worth `aging` milliseconds: without tenants, the highest sum of both leaves first.
        const takesTurns = [...batch, ...left].some(({ tenant }) => tenant !== known.tenant);
        if (!takesTurns) expect(merit(known)).toBeGreaterThanOrEqual(merit(other));
      }
    }
    // Tenants that all still wait have had as many places, within one.
    for (const others of groupBy(left, ({ priority }) => priority)) {
      const share = (tenant: string | undefined) =>
        batch.filter((known) => known.tenant === tenant && known.priority === others[0]?.priority).length;
      const shares = others.map(({ tenant }) => share(tenant));
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
    }
  }

  /** Law 2. */
  checkBalance(): void {
    const { submitted, settled, results, errors, dropped, drops, waiting, running, blocked, options } =
      this.queue.stats();
    expect(settled + dropped + waiting + running).toBe(submitted);
    expect(results + errors).toBe(settled);
    expect(sum(Object.values(drops))).toBe(dropped);
    expect(submitted + blocked).toBe(this.#inputs.length);
    if (options.onFull === 'reject') expect(blocked).toBe(0);
  }

  /** Whether an input waits that a free slot should have taken. */
  get waitsForNothing(): boolean {
    const { state, options, runningBatches, waiting } = this.queue.stats();
    const isFree = runningBatches < options.concurrency;
    return state === 'started' && options.maxDelay < Infinity && isFree && waiting > 0;
  }

  checkEnd({ hard }: Program['ending']): void {
    this.checkBalance();
    const { waiting, running, blocked, submitted, state } = this.queue.stats();
    expect({ waiting, running, blocked, submitted, state }).toEqual({
      waiting: 0,
      running: 0,
      blocked: 0,
      submitted: this.#inputs.length,
      state: 'stopped',
    });
    for (const { id, ends, poison } of this.#inputs) {
      // Law 1: one end each, and a result is the input's own.
      expect(ends).toHaveLength(1);
      const [end = ''] = ends;
      if (!end.startsWith('error')) expect(end).toBe(`result ${id}`);
      // An input that was isolated alone is at fault, and no other caller gets its error. A hard stop
      // isolates none.
      if (this.settings.isolateErrors && !hard && end.includes('poison')) {
        expect(poison).toBe(true);
        expect(end).toBe('error poison in 1');
      }
    }
  }
}

/** Runs one program and checks the laws at every step. */
class Run {
  readonly #lane: Lane | undefined;
  readonly #queues: Modelled[];

  constructor(readonly program: Program) {
    jest.clearAllTimers();
    this.#lane = program.lane > 0 ? new Lane(program.lane) : undefined;
    this.#queues = program.queues.map((settings) => new Modelled(settings, this.#lane));
  }

  async run(): Promise<void> {
    for (const { queue, step } of this.program.steps) {
      await this.#do(step, this.#queues[queue % this.#queues.length] ?? fail());
      for (const one of this.#queues) one.checkBalance();
      expect(this.#runningBatches).toBeLessThanOrEqual(this.program.lane || Infinity);
    }
    const { ending } = this.program;
    const stopped = Promise.all(this.#queues.map(({ queue }) => queue.stop(ending)));
    await jest.advanceTimersByTimeAsync(ending.timeout + 2);
    await stopped;
    for (const one of this.#queues) one.checkEnd(ending);
    // Law 9. A batch function's own sleep may outlive the stop, and so may the time limit of one that hangs.
    const mayTick = this.program.queues.some(({ answers, runTimeout }) =>
      answers.some(
        ({ answer, runTime }) =>
          runTime > 0 || answer === 'promises' || (answer === 'never' && runTimeout < Infinity),
      ),
    );
    if (!mayTick) expect(jest.getTimerCount()).toBe(0);
  }

  async #do(step: Step, on: Modelled): Promise<void> {
    switch (step.do) {
      case 'submit':
        on.submit(step);
        return;
      case 'abort':
        on.abort(step.which);
        return;
      case 'advance':
        await jest.advanceTimersByTimeAsync(step.ms);
        await this.#checkDelay();
        return;
      case 'start':
        on.queue.start();
        return;
      case 'drain':
        void on.queue.drain();
        return;
      default:
        on.queue[step.do] = step.value;
    }
  }

  get #runningBatches(): number {
    return sum(this.#queues.map(({ queue }) => queue.stats().runningBatches));
  }

  /** Law 5: with a free slot no input waits longer than maxDelay and the turn that it takes to leave. */
  async #checkDelay(): Promise<void> {
    if (this.#runningBatches >= (this.program.lane || Infinity)) return;
    const waiting = this.#queues.find((one) => one.waitsForNothing);
    if (!waiting) return;
    const batches = () => sum(this.#queues.map(({ queue }) => queue.stats().batches));
    const before = batches();
    await jest.advanceTimersByTimeAsync(waiting.queue.maxDelay + 3);
    // It has left, or another of the same lane has taken the slot.
    if (batches() === before) expect(waiting.queue.stats().waiting).toBe(0);
  }
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function groupBy<T>(values: T[], key: (value: T) => unknown): T[][] {
  return [...new Set(values.map(key))].map((one) => values.filter((value) => key(value) === one));
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
