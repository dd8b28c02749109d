import { REASONS } from '../frame.js';
import { MOST_SHARES } from './shares.js';

export interface Paint {
  readonly fill: string;
  /** Of the pattern, and of text on the fill. */
  readonly on: string;
}

/** The colours in force: light, dark, or those that the system forces. */
export interface Theme {
  readonly ground: string;
  readonly card: string;
  readonly ink: string;
  readonly quiet: string;
  readonly line: string;
  readonly bad: string;
  readonly accent: string;
  /** In the order of `REASONS`. */
  readonly reasons: readonly Paint[];
  readonly shares: readonly Paint[];
}

/** @param element that has the palette */
export function readTheme(element: Element = document.documentElement): Theme {
  const style = getComputedStyle(element);
  const isForced = matchMedia('(forced-colors: active)').matches;
  const of = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    ground: of('ground'),
    card: of('card'),
    ink: of('ink'),
    quiet: of('quiet'),
    line: of('line'),
    bad: of('bad'),
    accent: of('accent'),
    reasons: REASONS.map((reason) => ({ fill: of(reason), on: of(`on-${reason}`) })),
    shares: Array.from({ length: MOST_SHARES }, (_, index) => index + 1).map((number) =>
      // A page may choose them, and need not know of forced colours.
      isForced
        ? { fill: of('ink'), on: of('card') }
        : { fill: of(`share-${number}`), on: of(`on-share-${number}`) },
    ),
  };
}

/** Calls back when the theme has changed, until the signal aborts. */
export function onThemeChange(call: () => void, signal?: AbortSignal): void {
  for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) {
    matchMedia(query).addEventListener('change', call, { signal });
  }
}

const SIZE = 8;

/** The number of the pattern of the first share; those of the reasons begin at 0. */
export const SHARE_PATTERN = REASONS.length;

/**
 * A pattern, so that a reason or share can be recognised without its colour: plain, stripes, dots and crosses are reasons; lines
 * across, lines down, both, and rings are shares.
 */
export function patternOf(
  context: CanvasRenderingContext2D,
  kind: number,
  { fill, on }: Paint,
  scale: number,
): CanvasPattern | string {
  const tile = document.createElement('canvas');
  tile.width = tile.height = SIZE * scale;
  const pen = tile.getContext('2d');
  if (!pen) return fill;
  pen.scale(scale, scale);
  pen.fillStyle = fill;
  pen.fillRect(0, 0, SIZE, SIZE);
  pen.strokeStyle = pen.fillStyle = on;
  pen.globalAlpha = 0.75;
  pen.lineWidth = 1.25;
  if (kind === 1) line(pen, [-2, 2, 2, -2], [-2, 10, 10, -2], [6, 10, 10, 6]);
  if (kind === 2)
    for (const [x, y] of [
      [2, 2],
      [6, 6],
    ] as const)
      pen.fillRect(x - 0.9, y - 0.9, 1.8, 1.8);
  if (kind === 3) line(pen, [4, 1, 4, 7], [1, 4, 7, 4]);
  if (kind === SHARE_PATTERN || kind === SHARE_PATTERN + 2) line(pen, [0, 4, 8, 4]);
  if (kind === SHARE_PATTERN + 1 || kind === SHARE_PATTERN + 2) line(pen, [4, 0, 4, 8]);
  if (kind === SHARE_PATTERN + 3) {
    pen.beginPath();
    pen.arc(4, 4, 2, 0, 2 * Math.PI);
    pen.stroke();
  }
  const pattern = context.createPattern(tile, 'repeat');
  pattern?.setTransform(new DOMMatrix().scale(1 / scale));
  return pattern ?? fill;
}

function line(pen: CanvasRenderingContext2D, ...lines: [number, number, number, number][]): void {
  for (const [fromX, fromY, toX, toY] of lines) {
    pen.beginPath();
    pen.moveTo(fromX, fromY);
    pen.lineTo(toX, toY);
    pen.stroke();
  }
}
