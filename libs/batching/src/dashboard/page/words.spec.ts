import { describe, expect, it } from '@jest/globals';
import type { Figures, QueueFrame } from '../frame.js';
import { describeReasons, describeSplit, describeWindow, figuresOf } from './figures.js';
import type { Block } from './history.js';
import { decimal, describeBlock, describeSettings, milliseconds, nameOf, nounOf, percent } from './words.js';

const block: Block = {
  id: 1,
  slot: 0,
  start: 100,
  end: 120,
  waited: 16,
  size: 64,
  reason: 0,
  errors: 1,
  count: 1,
  ran: 20,
};

describe('A batch in words', () => {
  it('is a sentence', () => {
    expect(describeBlock(block, 500)).toBe('64 inputs, full, waited 16 ms, ran 20 ms, 1 error');
    expect(describeBlock({ ...block, size: 1, reason: 2, errors: 0, waited: 0.4, ran: 3.14 }, 500)).toBe(
      '1 input, slot free, waited 0.40 ms, ran 3.1 ms',
    );
    expect(describeBlock({ ...block, end: Infinity, errors: 0 }, 130)).toBe(
      '64 inputs, full, waited 16 ms, has run for 30 ms',
    );
    expect(describeBlock({ ...block, count: 41, size: 2624, reason: 3, ran: 16.4, errors: 2 }, 500)).toBe(
      '2,624 inputs in 41 batches, mostly drained, waited 16 ms at most, ran 0.40 ms each, 2 errors',
    );
  });

  it('says whose the inputs are, in the words of the application', () => {
    const noun = nounOf('tile');
    const shares = [
      { index: 0, name: 'photo 1', count: 12 },
      { index: 1, name: 'photo 2', count: 4 },
    ];
    const of = (size: number, more: object) => describeBlock({ ...block, size, errors: 0 }, 500, more);
    expect(of(16, { noun, shares })).toBe('12 tiles of photo 1, 4 of photo 2, full, waited 16 ms, ran 20 ms');
    expect(of(18, { noun, shares })).toMatch(/^12 tiles of photo 1, 4 of photo 2, 2 of others, full,/);
    expect(of(1, { noun, shares: [{ index: 0, name: 'photo 1', count: 1 }] })).toMatch(
      /^1 tile of photo 1, full,/,
    );
    expect(of(16, { noun })).toMatch(/^16 tiles, full,/);
    expect(nounOf('query  queries')).toEqual(['query', 'queries']);
    expect(nounOf(' ')).toEqual(['input', 'inputs']);
  });

  it.each([
    [0, '0 ms'],
    [0.042, '0.04 ms'],
    [0.999, '1.0 ms'],
    [9.94, '9.9 ms'],
    [9.96, '10 ms'],
    [999.4, '999 ms'],
    [999.6, '1.0 s'],
    [12_345, '12 s'],
  ])('%f milliseconds are %s', (value, words) => {
    expect(milliseconds(value)).toBe(words);
  });

  it('has numbers with as many places as they need', () => {
    expect([0, 0.04, 9.94, 1234.5].map(decimal)).toEqual(['0', '0.0', '9.9', '1,235']);
    expect([0, 0.004, 0.0994, 0.5, 1].map(percent)).toEqual(['0 %', '0.4 %', '9.9 %', '50 %', '100 %']);
  });
});

const figures: Figures = {
  span: 4000,
  isSinceChange: true,
  batches: 10,
  inputs: 200,
  results: 190,
  errors: 7,
  aborted: 3,
  reasons: [6, 0, 4, 0],
  drops: { aborted: 2, timeout: 1, full: 4, stopped: 0 },
  wait: { mean: 4, p50: 3, p99: 9 },
  run: { mean: 12, p50: 12, p99: 15 },
  total: { mean: 16, p50: 15, p99: 22 },
  busy: 0.25,
};
const queue = {
  node: 'host:1',
  name: 'Digits.classify',
  sentTo: null,
  state: 'started',
  settings: { batchSize: 64, maxDelay: 5, dispatch: 'adaptive', concurrency: 1, maxQueued: 10_000 },
  waiting: 12,
  running: 5,
  runningBatches: 1,
  figures,
} as unknown as QueueFrame;

describe('Figures', () => {
  it('are of one window, and tell drops, errors and callers that left apart', () => {
    const of = Object.fromEntries(
      figuresOf(queue).map(({ name, value, note }) => [name, `${value} (${note})`]),
    );
    expect(of).toEqual({
      'Inputs/s': '50 (200 ended)',
      'Batches/s': '2.5 (20 inputs each)',
      'Latency p99': '22 ms (p50 15 ms)',
      'Slots busy': '25 % (1 batch now)',
      'Waiting now': '12 (room for 10,000)',
      Errors: '7 (3.5 % of inputs)',
      Dropped: '5 (4 full, 1 too late)',
      'Callers left': '5 (2 waiting, 3 running)',
    });
    expect(describeWindow(figures)).toBe('All figures: the last 4 s, since the settings were changed');
    expect(describeSplit(figures)).toBe('Mean latency 16 ms = waited 4 ms + ran 12 ms (p99 9 ms and 15 ms)');
    expect(describeReasons(figures)).toBe('Why batches left: full 60 %, slot free 40 %');
  });

  it('say what there is none of', () => {
    const none = { ...figures, span: 0, batches: 0, inputs: 0, errors: 0, busy: null, isSinceChange: false };
    const values = figuresOf({ ...queue, figures: none }).map(({ value }) => value);
    expect(values.slice(0, 4)).toEqual(['0', '0', '–', '–']);
    expect(describeSplit(none)).toBe('Mean latency: no input');
    expect(describeReasons(none)).toBe('Why batches left: no batch');
    expect(describeWindow(none)).toBe('All figures: the last moment');
  });

  it('stand beside the settings', () => {
    expect(describeSettings(queue, false)).toBe(
      'at most 64 in a batch · wait at most 5 ms · adaptive · 1 slot',
    );
    const boundless = { batchSize: null, maxDelay: null, concurrency: null, maxQueued: null } as const;
    expect(
      describeSettings({ ...queue, state: 'stopping', settings: { ...queue.settings, ...boundless } }, true),
    ).toBe('batches of any size · no longest wait · adaptive · any number of slots · stopping · on host:1');
    expect(describeSettings({ ...queue, sentTo: ['gpu-1', 'gpu-2'] }, true)).toBe(
      'sent to other nodes, whose dashboards show its batches · served by gpu-1, gpu-2 · 5 inputs on the way',
    );
    expect(describeSettings({ ...queue, sentTo: [] }, true)).toContain('no node serves it');
    expect(nameOf(queue.settings)).toBe('64 · 5 ms · adaptive');
  });
});
