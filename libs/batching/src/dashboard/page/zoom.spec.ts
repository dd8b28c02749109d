import { describe, expect, it } from '@jest/globals';
import type { Block, QueueHistory } from './history.js';
import { Zoom } from './zoom.js';

const history = (starts: number[]): QueueHistory =>
  ({
    ended: starts.map((start) => ({ start, end: start + 5, count: 1 }) as Block),
    started: [],
  }) as unknown as QueueHistory;

describe('Zoom', () => {
  it('shows 20 s while little happens, 2 s while batches follow each other, and does not waver between', () => {
    const zoom = new Zoom();
    expect(zoom.next([history([])], 10_000, 0, false)).toBe(20_000);
    expect(zoom.next([history([9000, 9100, 9200])], 10_000, 0, false)).toBe(20_000);
    expect(zoom.next([history([8500, 8600, 9000, 9100, 9200, 9300])], 10_000, 0, false)).toBe(2000);
    expect(zoom.next([history([9000, 9100, 9200])], 10_000, 0, false)).toBe(2000);
    expect(zoom.next([history([9000])], 10_000, 0, false)).toBe(20_000);
  });

  it('moves there, unless less movement is wanted, or a span was chosen', () => {
    const zoom = new Zoom();
    const busy = [history([9000, 9010, 9020, 9030, 9040, 9050])];
    zoom.next(busy, 10_000, 0, true);
    const first = zoom.next(busy, 10_000, 120, true);
    expect(first).toBeGreaterThan(2000);
    expect(first).toBeLessThan(20_000);
    for (let now = 150; now < 4000; now += 30) zoom.next(busy, 10_000, now, true);
    expect(zoom.span).toBe(2000);
    zoom.chosen = 20_000;
    expect(zoom.next(busy, 10_000, 4000, false)).toBe(20_000);
  });
});
