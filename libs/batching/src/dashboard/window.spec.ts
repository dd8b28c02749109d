import { describe, expect, it } from '@jest/globals';
import { type Run, Window } from './window.js';

const noDrops = { aborted: 0, timeout: 0, full: 0, stopped: 0 };
const totals = (busy = 0, drops = {}) => ({ busy, drops: { ...noDrops, ...drops } });
const run = (leftAt: number, more: Partial<Run> = {}): Run => ({
  leftAt,
  size: 2,
  results: 2,
  aborted: 0,
  reason: 0,
  waits: [1, 3],
  ran: 10,
  ...more,
});

describe('Window', () => {
  it('has figures that agree with each other', () => {
    const window = new Window(1000, totals(0, { full: 5, aborted: 1 }));
    window.record(run(1000));
    window.record(run(1000, { size: 4, results: 1, aborted: 1, reason: 3, waits: [0, 0, 8, 8], ran: 20 }));
    const figures = window.figures(1500, totals(400, { full: 7, aborted: 2 }), 2);
    expect(figures).toMatchObject({
      span: 500,
      isSinceChange: false,
      batches: 2,
      inputs: 6,
      results: 3,
      errors: 2,
      aborted: 1,
      reasons: [1, 0, 0, 1],
      drops: { full: 2, aborted: 1, timeout: 0, stopped: 0 },
      busy: 0.4,
    });
    expect(figures.inputs).toBe(figures.results + figures.errors + figures.aborted);
    expect(figures.wait.mean).toBeCloseTo(20 / 6);
    expect(figures.run.mean).toBeCloseTo(100 / 6);
    expect(figures.total.mean).toBeCloseTo(figures.wait.mean + figures.run.mean);
    // Within 3 %, as all quantiles of this library.
    expect(figures.total.p50 / 20).toBeCloseTo(1, 1);
    expect(figures.total.p99 / 28).toBeCloseTo(1, 1);
  });

  it('is of the last ten seconds, for batches and drops alike', () => {
    const window = new Window(0, totals());
    for (let now = 0; now <= 30_000; now += 100) {
      window.advance(now, totals(now, { full: now / 100 }));
      window.record(run(now));
    }
    const figures = window.figures(30_000, totals(30_000, { full: 300 }), 1);
    expect(figures.span).toBeGreaterThanOrEqual(9000);
    expect(figures.span).toBeLessThanOrEqual(10_000);
    expect(figures.batches).toBe(figures.span / 100 + 1);
    expect(figures.drops.full).toBe(figures.span / 100);
    expect(figures.busy).toBe(1);
  });

  it('begins anew when settings change, without the batches that had left before', () => {
    const window = new Window(0, totals());
    window.record(run(0));
    window.restart(500, totals(10, { full: 3 }));
    window.record(run(499));
    window.record(run(500));
    const figures = window.figures(800, totals(10, { full: 4 }), Infinity);
    expect(figures).toMatchObject({ span: 300, isSinceChange: true, batches: 1, busy: null });
    expect(figures.drops.full).toBe(1);
  });

  it('forgets after ten seconds that settings have changed', () => {
    const window = new Window(0, totals());
    window.restart(500, totals());
    for (let now = 500; now < 12_500; now += 500) window.advance(now, totals());
    expect(window.figures(12_500, totals(), 1).isSinceChange).toBe(false);
  });

  it('has zeros where nothing happened', () => {
    const figures = new Window(0, totals()).figures(0, totals(), 1);
    expect(figures).toMatchObject({ inputs: 0, busy: null, total: { mean: 0, p50: 0, p99: 0 } });
  });
});
