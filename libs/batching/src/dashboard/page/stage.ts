import { find, write } from './elements.js';
import type { Block, QueueHistory } from './history.js';
import type { Share } from './shares.js';
import type { Theme } from './theme.js';
import { heightFor, Timeline } from './timeline.js';
import { describeBlock, type Noun } from './words.js';

const HINT = 'Point at a batch, tap it, or use the arrow keys on the timeline.';

/** What the page as a whole shows now. */
export interface Look {
  readonly end: number;
  readonly span: number;
  readonly theme: Theme;
  readonly isMoving: boolean;
}

/** A timeline on a canvas, with a tip for what is pointed at and a sentence for what is selected. */
export class Stage {
  readonly timeline = new Timeline();
  /** What inputs are called. */
  noun: Noun | undefined;
  /** What parts the inputs of a block have. */
  sharesOf: (block: Block) => readonly Share[] = () => [];
  readonly #canvas: HTMLCanvasElement;
  readonly #tip: HTMLElement;
  readonly #sentence: HTMLElement;
  #selected: Block | undefined;
  #pointer: { readonly x: number; readonly y: number } | undefined;
  #isVisible = true;
  #look: Look | undefined;

  /**
   * @param place has the canvas, the tip and the sentence
   * @param onKey called before an arrow key moves the selection: what moves by itself cannot be stepped through
   */
  constructor(place: ParentNode, onKey: () => void) {
    this.#canvas = find(place, '.timeline', HTMLCanvasElement);
    this.#tip = find(place, '.tip', HTMLElement);
    this.#sentence = find(place, '.sentence', HTMLElement);
    write(this.#sentence, HINT);
    this.#listen(onKey);
    new IntersectionObserver((entries) => {
      this.#isVisible = entries.at(-1)?.isIntersecting ?? true;
    }).observe(this.#canvas);
  }

  /** @param queue its name, for screen readers */
  set name(queue: string) {
    this.#canvas.setAttribute(
      'aria-label',
      `Timeline of the batches of ${queue}; arrow keys go from one to the next`,
    );
    this.forget();
  }

  /** Nothing is selected any more. */
  forget(): void {
    this.#select(undefined);
  }

  /** The server's time at the right edge, of the last drawing. */
  get end(): number {
    return this.#look?.end ?? 0;
  }

  draw(look: Look, history: QueueHistory): void {
    this.#look = look;
    if (!this.#isVisible) return;
    const canvas = this.#canvas;
    const height = heightFor(history.latest.slots);
    if (canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
    const scale = devicePixelRatio;
    const width = canvas.clientWidth;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const context = canvas.getContext('2d');
    if (!context) return;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    this.paint(context, { width, height, scale, history });
    this.#tellEnd();
    this.#moveTip();
  }

  /** Draws the timeline as it is now on any canvas. */
  paint(
    context: CanvasRenderingContext2D,
    {
      width,
      height,
      scale,
      history,
    }: { width: number; height: number; scale: number; history: QueueHistory },
    timeline = this.timeline,
  ): void {
    if (!this.#look) return;
    const hovered = this.#pointer && this.timeline.at(this.#pointer.x, this.#pointer.y);
    const selected = (hovered ?? this.#selected)?.id;
    timeline.draw(context, width, height, scale, {
      ...this.#look,
      history,
      selected,
      sharesOf: this.sharesOf,
    });
  }

  #listen(onKey: () => void): void {
    const canvas = this.#canvas;
    canvas.addEventListener('pointermove', ({ offsetX, offsetY, pointerType }) => {
      if (pointerType === 'mouse') this.#pointer = { x: offsetX, y: offsetY };
    });
    canvas.addEventListener('pointerleave', () => {
      this.#pointer = undefined;
    });
    canvas.addEventListener('click', ({ offsetX, offsetY }) => {
      this.#select(this.timeline.at(offsetX, offsetY));
    });
    canvas.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#select(undefined);
      if (!/^(Arrow|Home$|End$)/.test(event.key)) return;
      event.preventDefault();
      onKey();
      this.#select(this.timeline.step(this.#selected?.id, event.key));
    });
  }

  #select(block: Block | undefined): void {
    this.#selected = block;
    write(this.#sentence, block ? this.#describe(block) : HINT);
  }

  /** One that was selected while it ran has another sentence when it has ended. */
  #tellEnd(): void {
    const selected = this.#selected;
    if (selected?.end !== Infinity) return;
    const block = this.timeline.find(selected.id)?.block;
    if (block && block.end < Infinity) this.#select(block);
  }

  #describe(block: Block): string {
    return describeBlock(block, this.end, { noun: this.noun, shares: this.sharesOf(block) });
  }

  #moveTip(): void {
    const block = this.#pointer && this.timeline.at(this.#pointer.x, this.#pointer.y);
    this.#tip.hidden = !block;
    if (!block) return;
    write(this.#tip, this.#describe(block));
    const place = this.timeline.find(block.id);
    const room = this.#canvas.clientWidth - this.#tip.offsetWidth;
    const x = (place?.x ?? 0) + (place?.width ?? 0) / 2 - this.#tip.offsetWidth / 2;
    this.#tip.style.translate = `${Math.max(0, Math.min(room, x))}px ${(place?.y ?? 0) - 34}px`;
  }
}
