import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type DynamicModule, Injectable, Logger, type LoggerService, type LogLevel } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  type BatchingModuleOptions,
  BatchingRegistry,
  SerialService,
} from '../index.js';

@Injectable()
class Digits {
  @BatchedService(64, 5)
  classify(images: string[]): Promise<number[]> {
    return Promise.resolve(images.map((image) => image.length));
  }

  @BatchedService(8, 2, { dispatch: 'eager', runTimeout: 5 })
  async read(texts: string[]): Promise<number[]> {
    const [text = ''] = texts;
    if (text === 'hang') return new Promise(() => undefined);
    if (text === 'short') return [];
    if (text === 'odd') return texts.map(() => new Error('secret place') as never);
    if (text === 'throw') throw new TypeError('the device\nis gone');
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- as libraries do
    if (text === 'list') throw ['secret'];
    return texts.map((each) => each.length);
  }

  @SerialService()
  load(path: string): string {
    return path;
  }
}

/** Collects what the application logs about its queues. */
class Collected implements LoggerService {
  readonly lines: string[] = [];
  log = this.#collect('log');
  warn = this.#collect('warn');
  error = this.#collect('error');

  #collect(level: LogLevel) {
    return (message: unknown, context?: unknown) => {
      if (context === BatchingRegistry.name) this.lines.push(`${level} ${String(message)}`);
    };
  }
}

let logger: Collected;

beforeEach(() => {
  logger = new Collected();
});

afterEach(() => {
  Logger.overrideLogger(['error']);
});

async function start(
  options?: BatchingModuleOptions,
): Promise<{ view: Batched<Digits>; close: () => Promise<void> }> {
  const batching: DynamicModule = BatchingModule.forRoot(options);
  const module = await Test.createTestingModule({ imports: [batching], providers: [Digits] })
    .setLogger(logger)
    .compile();
  await module.init();
  return { view: module.get(BatchingRegistry).view(Digits), close: () => module.close() };
}

describe('the log at start', () => {
  it('has one line per queue: its settings, and where each was set', async () => {
    const app = await start({
      defaults: { dispatch: 'fixed' },
      queues: { 'Digits.read': { batchSize: 128, maxDelay: undefined } },
    });
    expect(logger.lines).toEqual([
      'log Digits.classify: batchSize 64 (decorator), maxDelay 5 ms (decorator), dispatch fixed (forRoot defaults)',
      'log Digits.read: batchSize 128 (forRoot queues), maxDelay 2 ms (decorator), dispatch eager (decorator)',
      'log Digits.load: one call at a time (@SerialService)',
    ]);
    await app.close();
  });

  it('says what is set nowhere', async () => {
    const app = await start();
    expect(logger.lines[0]).toContain('dispatch adaptive (default)');
    await app.close();
  });

  it.each<[LogLevel[], number, number]>([
    [['warn'], 0, 1],
    [['error'], 0, 0],
    [['log', 'warn'], 3, 4],
  ])('is silenced by the levels of Nest: %p', async (levels, atStart, later) => {
    const app = await start();
    await app.close();
    const lines: string[] = [];
    const write = process.stdout.write.bind(process.stdout);
    Logger.overrideLogger(levels);
    process.stdout.write = (text: string | Uint8Array) => {
      if (String(text).includes('BatchingRegistry')) lines.push(String(text));
      return true;
    };
    try {
      const module = await Test.createTestingModule({
        imports: [BatchingModule.forRoot()],
        providers: [Digits],
      })
        .setLogger(Object.assign(new Logger(), {}))
        .compile();
      Logger.overrideLogger(levels);
      await module.init();
      expect(lines).toHaveLength(atStart);
      await module
        .get(BatchingRegistry)
        .view(Digits)
        .read('throw')
        .catch(() => undefined);
      expect(lines).toHaveLength(later);
      await module.close();
    } finally {
      process.stdout.write = write;
    }
  });
});

describe('a batch that fails is logged as a warning', () => {
  it.each([
    ['throw', 'Digits.read: a batch of 2 failed: TypeError: the device is gone'],
    [
      'hang',
      'Digits.read: a batch of 2 failed: BatchTimeoutError: the batch function of Digits.read did not return within 5 ms',
    ],
    [
      'short',
      'Digits.read: a batch of 2 failed: BatchResultError: the batch function of Digits.read must return an array of 2',
    ],
    ['list', 'Digits.read: a batch of 2 failed: an array of 1'],
  ])('%s', async (input, line) => {
    const { view, close } = await start();
    await Promise.allSettled(view.read.submitMany([input, 'private']));
    const warnings = logger.lines.filter((each) => each.startsWith('warn'));
    expect(warnings).toEqual([expect.stringContaining(line)]);
    expect(warnings[0]).not.toMatch(/private|secret|\n/);
    await close();
  });

  it('at most once in 10 s for each queue, the rest as a number when the application closes', async () => {
    const { view, close } = await start();
    for (let count = 0; count < 5; count++) await view.read('throw').catch(() => undefined);
    const warnings = () => logger.lines.filter((line) => line.startsWith('warn'));
    expect(warnings()).toHaveLength(1);
    await close();
    expect(warnings()[1]).toContain('TypeError: the device is gone (and 3 more like it since the last line)');
  });

  it('but not an error in one input’s place, nor a batch whose callers have all gone', async () => {
    const { view, close } = await start();
    await Promise.allSettled([view.read('odd')]);
    await Promise.allSettled([view.read('hang', { timeout: 1 })]);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(logger.lines.filter((line) => line.startsWith('warn'))).toEqual([]);
    await close();
  });
});
