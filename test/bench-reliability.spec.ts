import { cpus } from 'node:os';
import { describe, expect, it } from '@jest/globals';
import { recoveries, RequestTimes, sharesOfOthers } from '../bench/reliability-times.js';

describe('The times of npm run bench reliability', () => {
  it('are counted from when requests were due, and from when they were sent', () => {
    const times = new RequestTimes();
    for (let index = 0; index < 200; index++) times.add(10 * index, 10 * index + 5, 10 * index + 25 + index);
    const { requests, refused, sinceDue, sinceSent } = times.by(() => 'all').get('all') ?? {};
    expect({ requests, refused }).toEqual({ requests: 200, refused: 0 });
    expect(sinceDue).toEqual({ p50: 124, p99: 222, longest: 224 });
    expect(sinceSent).toEqual({ p50: 119, p99: 217, longest: 219 });
  });

  it('are those of a group, by when requests were due', () => {
    const times = new RequestTimes();
    for (const due of [100, 900, 1100, 2500]) times.add(due, due, due + 7);
    const seconds = times.by((due) => (due < 2000 ? Math.floor(due / 1000) : undefined));
    expect([...seconds].map(([second, { requests }]) => [second, requests])).toEqual([
      [0, 2],
      [1, 1],
    ]);
  });

  it('count a refusal as infinitely late', () => {
    const times = new RequestTimes();
    for (let index = 0; index < 100; index++) times.add(0, 0, index < 2 ? Infinity : 10);
    expect(times.by(() => 0).get(0)).toMatchObject({
      requests: 100,
      refused: 2,
      sinceDue: { p50: 10, p99: Infinity, longest: 10 },
    });
  });

  it('tell how long it takes until two seconds in a row are well', () => {
    const p99s = new Map([10, 10, 500, 90, 500, 90, 90, 90, 500, 500].map((p99, second) => [second, p99]));
    expect(recoveries([500, 2500], p99s, 100)).toEqual([0, 2.5]);
    // Not before the end, and not before the next.
    expect(recoveries([8000, 8500], p99s, 100)).toEqual([Infinity, Infinity]);
    // A second without an answer is not well.
    p99s.delete(5);
    expect(recoveries([2500], p99s, 100)).toEqual([3.5]);
  });
});

it('The share of the CPUs that others take is what is used less what our processes use', () => {
  const at = [0, 1000, 2000];
  const timesOf = (...used: number[]) => used.map((each, index) => ({ at: at[index] ?? NaN, used: each }));
  const all = timesOf(5000, 5000 + 1000 * cpus().length, 5000 + 1500 * cpus().length);
  const [one, other] = [timesOf(0, 200, 500), timesOf(70, 370, 370)];
  const [first, second] = sharesOfOthers(all, [one, other]);
  expect(first).toBeCloseTo(1 - 0.5 / cpus().length);
  expect(second).toBeCloseTo(0.5 - 0.3 / cpus().length);
});
