import { type Block, type QueueHistory, waitingAt } from './history.js';
import type { Share } from './shares.js';
import { type Paint, patternOf, SHARE_PATTERN, type Theme } from './theme.js';
import { integer } from './words.js';

const AXIS = 18;
const TAIL = 5;
const DOT = 7;
/** Milliseconds in which a dot falls into its block. */
const FALL = 200;
/** Dots that fall into one block, at most, and batches in the picture from which on none fall: too many to follow. */
const DOTS = { ofBlock: 12, batches: 120 };

/** CSS pixels below which no pattern can be seen, and that a block has at least. */
const NARROW = { plain: 4, least: 1.5 };
/** CSS pixels of a block with shares that still show why it left, at most. */
const SPINE = 6;

/** What is drawn, and how. */
export interface Scene {
  readonly history: QueueHistory;
  /** The server's time at the right edge. */
  readonly end: number;
  /** Milliseconds from the left edge to the right. */
  readonly span: number;
  readonly theme: Theme;
  /** Whether dots may fall. */
  readonly isMoving: boolean;
  readonly selected: number | undefined;
  readonly sharesOf: (block: Block) => readonly Share[];
}

type Fill = CanvasPattern | string;

interface Shape {
  readonly block: Block;
  readonly x: number;
  readonly width: number;
  readonly y: number;
  readonly height: number;
  /** Top and bottom of its row, which is easier to hit than a low block. */
  readonly row: readonly [number, number];
}

interface Dot {
  readonly id: number;
  readonly since: number;
  readonly share: number;
}

/** Height of the timeline of a queue, in CSS pixels. */
export function heightFor(slots: number): number {
  return slots * rowHeight(slots) + AXIS + 8;
}

function rowHeight(slots: number): number {
  return [0, 104, 80, 56, 46][slots] ?? Math.max(18, Math.round(190 / slots));
}

/** Draws the batches of one queue: a row for each slot, time from left to right, and on the right what waits now. */
export class Timeline {
  #shapes: Shape[] = [];
  #dots: Dot[] = [];
  #fallen = 0;
  /** Inputs of a batch that is as high as its row. */
  #most = 1;
  #patterns: { readonly theme: Theme; readonly scale: number; readonly fills: Fill[] } | undefined;

  draw(context: CanvasRenderingContext2D, width: number, height: number, scale: number, scene: Scene): void {
    const { theme, history, end, span } = scene;
    const { slots } = history.latest;
    const left = 26;
    const right = width - Math.min(76, Math.max(44, width / 10));
    const x = (time: number) => right - ((end - time) / span) * (right - left);
    const fills = this.#fills(context, theme, scale);
    context.clearRect(0, 0, width, height);
    context.font = '500 11px ui-sans-serif, system-ui, sans-serif';
    drawAxis(context, { left, right, width, height, span, theme });
    this.#shapes = this.#place(scene, { left, x });
    for (const shape of this.#shapes) drawTail(context, shape, x, left, theme);
    for (const shape of this.#shapes) drawBlock(context, shape, { scene, fills, left, right });
    drawRows(context, { slots, left, right, theme, most: this.#most });
    this.#drawWaiting(context, { scene, right, width, height });
    context.fillStyle = theme.ink;
    context.fillRect(right, 2, 1, height - AXIS - 2);
    if (this.#shapes.length === 0) {
      const text = `no batch in the last ${Math.round(span / 1000)} s`;
      const [middle, room] = [(left + right) / 2, context.measureText(text).width + 12];
      // Lines of the axis would run through the words.
      context.clearRect(middle - room / 2, (height - AXIS) / 2 - 9, room, 18);
      context.fillStyle = theme.quiet;
      context.textAlign = 'center';
      context.textBaseline = 'middle';
      context.fillText(text, middle, (height - AXIS) / 2);
    }
  }

  /** The block at a place on the canvas, or near it. */
  at(x: number, y: number): Block | undefined {
    let best: Shape | undefined;
    let least = 6;
    for (const shape of this.#shapes) {
      if (y < shape.row[0] || y > shape.row[1]) continue;
      const distance = Math.max(0, shape.x - x, x - shape.x - shape.width);
      if (distance > least) continue;
      [best, least] = [shape, distance];
    }
    return best?.block;
  }

  /** Where a block is on the canvas. */
  find(id: number): Shape | undefined {
    return this.#shapes.find(({ block }) => block.id === id);
  }

  /** The block that an arrow key leads to, among those that are shown. */
  step(from: number | undefined, key: string): Block | undefined {
    const blocks = this.#shapes
      .map(({ block }) => block)
      .sort((a, b) => a.start - b.start || a.slot - b.slot);
    const place = blocks.findIndex(({ id }) => id === from);
    const current = blocks[place];
    if (key === 'Home') return blocks[0];
    if (key === 'End' || !current) return blocks.at(-1);
    if (key === 'ArrowLeft') return blocks[place - 1] ?? current;
    if (key === 'ArrowRight') return blocks[place + 1] ?? current;
    const slot = current.slot + (key === 'ArrowUp' ? -1 : 1);
    const distance = ({ start }: Block) => Math.abs(start - current.start);
    const inRow = blocks.filter((block) => block.slot === slot);
    return inRow.reduce<Block>(
      (best, block) => (distance(block) < distance(best) ? block : best),
      inRow[0] ?? current,
    );
  }

  #fills(context: CanvasRenderingContext2D, theme: Theme, scale: number): Fill[] {
    if (this.#patterns?.theme !== theme || this.#patterns.scale !== scale) {
      const paints = [...theme.reasons, ...theme.shares];
      const fills = paints.map((paint, kind) => patternOf(context, kind, paint, scale));
      this.#patterns = { theme, scale, fills };
    }
    return this.#patterns.fills;
  }

  #place({ history, end, span }: Scene, { left, x }: { left: number; x: (time: number) => number }): Shape[] {
    const { ended, started, latest } = history;
    const from = end - span;
    const ids = new Set(ended.map(({ id }) => id));
    const shown = [...ended, ...started.filter(({ id }) => !ids.has(id))].filter(
      (block) => block.start <= end && block.end >= from && block.slot < latest.slots,
    );
    this.#most = heightOf(history);
    const height = rowHeight(latest.slots);
    const shapes = shown.map((block): Shape => {
      const bottom = 4 + (block.slot + 1) * height - TAIL - 4;
      const begin = Math.max(left, x(block.start));
      const size = block.size / block.count;
      const tall = Math.max(4, (size / this.#most) * (height - TAIL - 8));
      return {
        block,
        x: begin,
        width: Math.max(NARROW.least, x(Math.min(block.end, end)) - begin - 0.75),
        y: bottom - tall,
        height: tall,
        row: [bottom - height + TAIL + 4, bottom + TAIL + 4],
      };
    });
    return oneForEachPixel(shapes);
  }

  /** Inputs that wait, as dots in a lane of their own; those of a batch that leaves fall into its block. */
  #drawWaiting(
    context: CanvasRenderingContext2D,
    { scene, right, width, height }: { scene: Scene; right: number; width: number; height: number },
  ): void {
    const { end, theme, history, isMoving } = scene;
    const columns = Math.floor((width - right - 10) / DOT);
    const rows = Math.floor((height - AXIS - 6) / DOT);
    const count = Math.round(waitingAt(history, end));
    context.fillStyle = theme.quiet;
    for (let dot = 0; dot < Math.min(count, columns * rows); dot++) {
      drawDot(
        context,
        right + 8 + (dot % columns) * DOT,
        height - AXIS - 6 - Math.floor(dot / columns) * DOT,
      );
    }
    context.textAlign = 'right';
    context.textBaseline = 'alphabetic';
    context.fillStyle = theme.ink;
    context.fillText(columns < 9 ? integer(count) : `${integer(count)} waiting`, width, height - 4);
    if (!isMoving) {
      this.#dots = [];
      this.#fallen = end;
      return;
    }
    this.#dropDots(end);
    context.fillStyle = theme.ink;
    for (const { id, since, share } of this.#dots) {
      const shape = this.find(id);
      if (!shape) continue;
      const progress = ((end - since) / FALL) ** 2;
      const fromX = right + 10 + share * (width - right - 16);
      const fromY = Math.max(8, shape.row[0]);
      const toY = shape.y + 4;
      drawDot(context, fromX + (shape.x + 2 - fromX) * progress, fromY + (toY - fromY) * progress);
    }
  }

  #dropDots(end: number): void {
    // Not those of a past that is only now looked at.
    const since = Math.max(this.#fallen, end - 100);
    this.#fallen = end;
    this.#dots = this.#dots.filter((dot) => end - dot.since < FALL && end >= dot.since);
    if (this.#shapes.length > DOTS.batches) return;
    for (const { block } of this.#shapes) {
      if (block.start <= since || block.start > end || block.count > 1) continue;
      const count = Math.min(block.size, DOTS.ofBlock);
      for (let dot = 0; dot < count; dot++) {
        this.#dots.push({ id: block.id, since: end + dot * 6 - 6 * count, share: (dot + 0.5) / count });
      }
    }
  }
}

/**
 * Of the narrowest blocks that begin on the same pixel of a row, keeps one, with errors if there is one, else the highest: there can
 * be thousands, which nobody could tell apart and a slow machine could not draw.
 */
function oneForEachPixel(shapes: readonly Shape[]): Shape[] {
  const kept = new Map<number | Shape, Shape>();
  for (const shape of shapes) {
    const { block, width, x } = shape;
    const key = width > NARROW.least ? shape : block.slot + 100 * Math.floor(x);
    const other = kept.get(key);
    const rank = ({ block: { errors }, height }: Shape) => (errors > 0 ? Infinity : height);
    if (!other || rank(shape) > rank(other)) kept.set(key, shape);
  }
  return [...kept.values()];
}

function drawAxis(
  context: CanvasRenderingContext2D,
  {
    left,
    right,
    height,
    span,
    theme,
  }: { left: number; right: number; width: number; height: number; span: number; theme: Theme },
): void {
  const step = span > 12_000 ? 5000 : span > 5000 ? 2000 : 500;
  context.textBaseline = 'alphabetic';
  context.textAlign = 'center';
  for (let ago = 0; ago < span; ago += step) {
    const x = Math.round(right - (ago / span) * (right - left));
    if (x - left < 24) break;
    context.fillStyle = theme.line;
    context.fillRect(x, 2, 1, height - AXIS);
    context.fillStyle = theme.quiet;
    context.fillText(ago === 0 ? 'now' : `−${ago / 1000} s`, x, height - 4);
  }
}

/** The next power of two above the batches of the last seconds, so that the scale seldom changes, but no more than `batchSize`. */
function heightOf({ ended, started, latest }: QueueHistory): number {
  let most = 1;
  for (const blocks of [ended, started])
    for (const { size, count } of blocks) most = Math.max(most, size / count);
  const rounded = 2 ** Math.ceil(Math.log2(most));
  return Math.max(most, Math.min(rounded, latest.settings.batchSize ?? Infinity));
}

function drawRows(
  context: CanvasRenderingContext2D,
  {
    slots,
    left,
    right,
    theme,
    most,
  }: { slots: number; left: number; right: number; theme: Theme; most: number },
): void {
  const height = rowHeight(slots);
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  for (let slot = 0; slot < slots; slot++) {
    const bottom = 4 + (slot + 1) * height;
    context.fillStyle = theme.line;
    context.fillRect(left, bottom - TAIL - 4, right - left, 1);
    context.fillStyle = theme.quiet;
    if (height < 40) continue;
    context.fillText(integer(most), left - 4, bottom - height + 8);
    context.fillText('0', left - 4, bottom - TAIL - 6);
  }
}

function drawTail(
  context: CanvasRenderingContext2D,
  { block, y, height, x: begin }: Shape,
  x: (time: number) => number,
  left: number,
  theme: Theme,
): void {
  const from = Math.max(left, x(block.start - block.waited));
  if (begin - from < 0.5) return;
  context.globalAlpha = 0.4;
  context.fillStyle = theme.reasons[block.reason]?.fill ?? theme.quiet;
  context.fillRect(from, y + height + 2, begin - from, TAIL - 2);
  context.globalAlpha = 1;
}

function drawBlock(
  context: CanvasRenderingContext2D,
  shape: Shape,
  { scene, fills, left, right }: { scene: Scene; fills: Fill[]; left: number; right: number },
): void {
  const { block, x, y, width, height } = shape;
  const { theme, selected, end } = scene;
  const paint = theme.reasons[block.reason];
  if (!paint) return;
  const isRunning = block.end > end;
  context.fillStyle = (width < NARROW.plain ? undefined : fills[block.reason]) ?? paint.fill;
  context.globalAlpha = isRunning ? 0.6 : 1;
  context.fillRect(x, y, width, height);
  const parts = partsOf(shape, scene, fills);
  for (const part of parts) {
    context.clearRect(part.x, part.y, part.width, part.height);
    context.fillStyle = part.fill;
    context.fillRect(part.x, part.y + 1, part.width, part.height - 1);
  }
  context.globalAlpha = 1;
  if (block.errors > 0) drawError(context, x, y, width, theme);
  if (block.id === selected) {
    context.strokeStyle = theme.ink;
    context.lineWidth = 2;
    context.strokeRect(x - 2, y - 2, width + 4, height + 4);
  }
  if (width < NARROW.plain) return;
  for (const part of parts) drawCount(context, part);
  if (parts.length > 0) return;
  const text = block.count > 1 ? `${integer(block.count)}×` : integer(block.size);
  const room = context.measureText(text).width;
  if (width >= room + 6 && height >= 15) {
    drawLabel(context, text, { x: x + width / 2, y: y + height / 2, room, paint });
  } else if (width >= room && x > left && x + width <= right) {
    context.textAlign = 'center';
    context.textBaseline = 'bottom';
    context.fillStyle = theme.ink;
    context.fillText(text, x + width / 2, y - 1);
  }
}

interface Part {
  readonly count: number;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly fill: Fill;
  readonly paint: Paint;
}

/** The shares of a block from below, beside a spine in the colour of its reason; what is of others keeps that colour. */
function partsOf({ block, x, y, width, height }: Shape, { theme, sharesOf }: Scene, fills: Fill[]): Part[] {
  const spine = Math.min(SPINE, width / 4);
  let bottom = y + height;
  return sharesOf(block).flatMap(({ index, count }) => {
    const paint = theme.shares[index];
    if (!paint) return [];
    const tall = (height * count) / block.size;
    bottom -= tall;
    const fill = (width < 2 * NARROW.plain ? undefined : fills[SHARE_PATTERN + index]) ?? paint.fill;
    return [{ count, x: x + spine, y: bottom, width: width - spine, height: tall, fill, paint }];
  });
}

/** If there is room for it. */
function drawCount(context: CanvasRenderingContext2D, part: Part): void {
  const { count, x, y, width, height, paint } = part;
  const text = integer(count);
  const room = context.measureText(text).width;
  if (width < room + 4 || height < 15) return;
  drawLabel(context, text, { x: x + width / 2, y: y + height / 2, room, paint });
}

/** On a plate of the plain colour, as a pattern would make it hard to read. */
function drawLabel(
  context: CanvasRenderingContext2D,
  text: string,
  { x, y, room, paint }: { x: number; y: number; room: number; paint: Paint },
): void {
  context.fillStyle = paint.fill;
  context.fillRect(x - room / 2 - 2, y - 7, room + 4, 14);
  context.fillStyle = paint.on;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.fillText(text, x, y + 0.5);
}

/** A cap with a wedge on it: seen without its colour. */
function drawError(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  theme: Theme,
): void {
  context.fillStyle = theme.card;
  context.fillRect(x, y, width, 4);
  context.fillStyle = theme.bad;
  context.fillRect(x, y, width, 3);
  context.beginPath();
  context.moveTo(x + width / 2 - 5, y - 8);
  context.lineTo(x + width / 2 + 5, y - 8);
  context.lineTo(x + width / 2, y);
  context.fill();
}

function drawDot(context: CanvasRenderingContext2D, x: number, y: number): void {
  context.beginPath();
  context.arc(x, y, 2.4, 0, 2 * Math.PI);
  context.fill();
}
