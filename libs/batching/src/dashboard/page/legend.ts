import { create } from './elements.js';
import { type Paint, patternOf, SHARE_PATTERN, type Theme } from './theme.js';
import { REASON_WORDS } from './words.js';

/**
 * What patterns, colours and marks mean.
 *
 * @param input what an input is called
 * @param shares names of the shares
 */
export function writeLegend(
  list: HTMLElement,
  theme: Theme,
  { input = 'input', shares = [] }: { input?: string; shares?: readonly string[] } = {},
): void {
  const swatch = (words: string, kind: number, paint: Paint | undefined) =>
    item(words, (pen, scale) => {
      if (!paint) return;
      pen.fillStyle = patternOf(pen, kind, paint, scale);
      pen.fillRect(0, 0, 28, 14);
    });
  const reasons = REASON_WORDS.map((words, index) => swatch(words, index, theme.reasons[index]));
  const parts = shares.map((name, index) => swatch(name, SHARE_PATTERN + index, theme.shares[index]));
  const tail = item('waited', (pen) => {
    pen.globalAlpha = 0.4;
    pen.fillStyle = theme.reasons[0]?.fill ?? theme.quiet;
    pen.fillRect(0, 9, 28, 3);
  });
  const dots = item(`waiting ${input}`, (pen) => {
    pen.fillStyle = theme.quiet;
    for (const x of [7, 14, 21]) {
      pen.beginPath();
      pen.arc(x, 7, 2.4, 0, 2 * Math.PI);
      pen.fill();
    }
  });
  const running = item('running', (pen) => {
    pen.globalAlpha = 0.6;
    pen.fillStyle = theme.reasons[0]?.fill ?? theme.quiet;
    pen.fillRect(0, 0, 28, 14);
  });
  const error = item('error', (pen) => {
    pen.fillStyle = theme.bad;
    pen.fillRect(0, 7, 28, 3);
    pen.beginPath();
    pen.moveTo(9, 0);
    pen.lineTo(19, 0);
    pen.lineTo(14, 7);
    pen.fill();
  });
  list.replaceChildren(...parts, ...reasons, running, tail, dots, error);
}

function item(words: string, draw: (pen: CanvasRenderingContext2D, scale: number) => void): HTMLLIElement {
  const scale = devicePixelRatio;
  const canvas = create('canvas');
  canvas.width = 28 * scale;
  canvas.height = 14 * scale;
  canvas.setAttribute('aria-hidden', 'true');
  const pen = canvas.getContext('2d');
  pen?.scale(scale, scale);
  if (pen) draw(pen, scale);
  const entry = create('li');
  entry.append(canvas, words);
  return entry;
}
