import { describe, expect, it } from '@jest/globals';
import { progressBar } from './progress-bar.js';

function draw(isTTY: boolean): string {
  let written = '';
  const write = (text: string) => {
    written += text;
    return true;
  };
  // The cursor is moved by node:readline, which asks for no more than this.
  const bar = progressBar('{bar} {value} of {total} | {name}', { write, isTTY } as never);
  bar.start(4, 0, { name: 'first' });
  bar.update(3, { name: 'last' });
  bar.increment();
  bar.stop();
  return written;
}

describe('progressBar', () => {
  it('draws on a terminal', () => {
    const written = draw(true);
    expect(written).toContain('0 of 4 | first');
    expect(written).toContain('4 of 4 | last');
    expect(written).toMatch(/\n$/);
  });

  it('writes nothing elsewhere', () => {
    expect(draw(false)).toBe('');
  });

  it('does not change the settings of the terminal, even if the program is interrupted', () => {
    // Modes of the terminal, such as a hidden cursor or no wrapping.
    expect(draw(true)).not.toContain('\x1B[?');
  });
});
