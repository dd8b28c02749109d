import { figuresOf, describeReasons, describeSplit, describeWindow } from './figures.js';
import type { QueueCard } from './queue-card.js';
import type { Theme } from './theme.js';
import { heightFor, Timeline } from './timeline.js';
import { describeSettings } from './words.js';

const WIDTH = 1200;
const EDGE = 28;
const SCALE = 2;
/** Around the timeline of a queue: title above it, figures below. */
const ABOVE = 64;
const BELOW = 124;

/** The queues as they are shown, with their settings, timelines and figures, as one picture. */
export function drawPicture(cards: readonly QueueCard[], theme: Theme): HTMLCanvasElement {
  const heights = cards.map(({ shown }) => ABOVE + heightFor(shown.latest.slots) + BELOW);
  const canvas = document.createElement('canvas');
  canvas.width = WIDTH * SCALE;
  canvas.height = (heights.reduce((sum, height) => sum + height, 0) + EDGE) * SCALE;
  const pen = canvas.getContext('2d');
  if (!pen) throw new Error('the browser has no canvas');
  pen.scale(SCALE, SCALE);
  pen.fillStyle = theme.card;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  let top = EDGE;
  cards.forEach((card, index) => {
    drawQueue(pen, card, top, theme);
    top += heights[index] ?? 0;
  });
  return canvas;
}

function drawQueue(pen: CanvasRenderingContext2D, card: QueueCard, top: number, theme: Theme): void {
  const { latest } = card.shown;
  const inner = WIDTH - 2 * EDGE;
  const write = (text: string, x: number, y: number, font: string, colour: string) => {
    pen.textAlign = 'left';
    pen.textBaseline = 'alphabetic';
    pen.font = `${font} ui-sans-serif, system-ui, sans-serif`;
    pen.fillStyle = colour;
    pen.fillText(text, x, y);
  };
  write(latest.name, EDGE, top + 18, '600 20px', theme.ink);
  write(describeSettings(latest, false), EDGE, top + 40, '400 14px', theme.quiet);
  const height = heightFor(latest.slots);
  const timeline = document.createElement('canvas');
  timeline.width = inner * SCALE;
  timeline.height = height * SCALE;
  const context = timeline.getContext('2d');
  if (context) {
    context.scale(SCALE, SCALE);
    card.stage.paint(context, { width: inner, height, scale: SCALE, history: card.shown }, new Timeline());
    pen.drawImage(timeline, EDGE, top + ABOVE - 8, inner, height);
  }
  const figures = figuresOf(latest);
  const below = top + ABOVE + height + 16;
  figures.forEach(({ name, value }, index) => {
    const x = EDGE + (index * inner) / figures.length;
    write(name, x, below, '400 12px', theme.quiet);
    write(value, x, below + 24, '600 20px', theme.ink);
  });
  const { figures: all } = latest;
  const lines = [describeSplit(all), describeReasons(all), describeWindow(all)];
  write(lines.join(' · '), EDGE, below + 54, '400 13px', theme.quiet);
}

/** Copies the picture, or saves it as a file where the page may not write to the clipboard. @returns what it did */
export async function giveAway(canvas: HTMLCanvasElement): Promise<string> {
  const blob = await new Promise<Blob | null>((resolve) => {
    canvas.toBlob(resolve, 'image/png');
  });
  if (!blob) throw new Error('the browser made no picture');
  try {
    await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
    return 'Copied as a picture.';
  } catch {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = 'batching.png';
    link.click();
    setTimeout(() => {
      URL.revokeObjectURL(link.href);
    }, 10_000);
    return 'Saved as a file, batching.png.';
  }
}
