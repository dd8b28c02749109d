import { describe, expect, it } from '@jest/globals';
import { type Chart, drawChart } from './draw-chart.js';

const chart: Chart = {
  title: 'Speed & size',
  x: { name: 'size', marks: [1, 10, 100], logarithmic: true },
  y: { name: 'items/s' },
  lines: [
    {
      name: 'ours',
      points: [
        [1, 10],
        [100, 930],
      ],
    },
    {
      name: 'theirs',
      points: [
        [1, 5],
        [100, 700],
      ],
    },
  ],
};

/** What is written at the vertical axis. */
function marks(svg: string): string[] {
  return [...svg.matchAll(/text-anchor="end">(.*?)</g)].map(([, mark]) => mark ?? '');
}

describe('drawChart', () => {
  it('draws the lines over their axes, the first one on top', () => {
    const svg = drawChart(chart);
    expect(svg).toContain('<title>Speed &amp; size</title>');
    expect(marks(svg)).toEqual(['0', '200', '400', '600', '800', '1,000']);
    // From the left of the axis to its right, the middle mark of a logarithmic one in the middle.
    const [theirs = '', ours = ''] = [...svg.matchAll(/d="M([^"]*L[^"]*)" class="line"/g)].map(
      ([, path]) => path,
    );
    expect(ours).toBe('72.0 301.7L680.0 92.0');
    expect(theirs).toBe('72.0 302.9L680.0 144.4');
    expect(svg).toContain('<text x="376.0" y="324" text-anchor="middle">10</text>');
  });

  it('has axes that cover its points and its limit', () => {
    const near = { ...chart, y: { name: 'y', marks: [0, 500] } };
    expect(drawChart(near)).toContain('L680.0 76.0"');
    expect(marks(drawChart({ ...chart, limit: 1500 })).at(-1)).toBe('1,500');
    expect(
      marks(
        drawChart({
          ...chart,
          lines: [
            {
              name: 'flat',
              points: [
                [1, 0],
                [9, 0],
              ],
            },
          ],
        }),
      ),
    ).toEqual(['0', '1']);
    const shares = {
      ...chart,
      lines: [
        {
          name: 'share',
          points: [
            [1, 0.1],
            [9, 1.4],
          ] as const,
        },
      ],
    };
    expect(marks(drawChart(shares))).toEqual(['0', '0.5', '1', '1.5']);
  });

  it('throws for values that it cannot draw', () => {
    const of = (...points: [number, number][]) => ({ ...chart, lines: [{ name: 'one', points }] });
    expect(() => drawChart(of([1, NaN]))).toThrow(new RangeError('items/s: NaN cannot be drawn'));
    expect(() => drawChart(of([0, 1]))).toThrow(new RangeError('size: 0 cannot be drawn'));
    expect(() => drawChart({ ...chart, y: { name: 'y', logarithmic: true } })).toThrow(
      new RangeError('y: a logarithmic axis needs marks'),
    );
    const line = { name: 'one', points: [[1, 1]] as const };
    expect(() => drawChart({ ...chart, lines: [line, line, line, line, line] })).toThrow(
      new RangeError('lines: expected at most 4, got 5'),
    );
  });
});
