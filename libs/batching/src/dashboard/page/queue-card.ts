import { REASONS } from '../frame.js';
import { create, find, write } from './elements.js';
import { describeReasons, describeSplit, describeWindow, figuresOf } from './figures.js';
import { type Block, freeze, type QueueHistory } from './history.js';
import type { Theme } from './theme.js';
import { heightFor, Timeline } from './timeline.js';
import { Tuning } from './tuning.js';
import { describeBlock, describeSettings, integer, milliseconds, REASON_WORDS } from './words.js';

const HINT = 'Point at a batch, tap it, or use the arrow keys on the timeline.';
const ROWS = 20;

/** What the page as a whole shows now. */
export interface Look {
  readonly end: number;
  readonly span: number;
  readonly theme: Theme;
  readonly isMoving: boolean;
}

/** The part of the page that shows one queue. */
export class QueueCard {
  readonly section: HTMLElement;
  readonly timeline = new Timeline();
  readonly #canvas: HTMLCanvasElement;
  readonly #tip: HTMLElement;
  readonly #sentence: HTMLElement;
  readonly #figures: HTMLElement;
  readonly #rows: HTMLElement;
  readonly #details: HTMLDetailsElement;
  readonly #tuning: Tuning;
  /** What was there when the page was paused. */
  #frozen: QueueHistory | undefined;
  #selected: Block | undefined;
  #pointer: { readonly x: number; readonly y: number } | undefined;
  #isVisible = true;
  #look: Look | undefined;

  /** @param onKey called before an arrow key moves the selection: what moves by itself cannot be stepped through */
  constructor(
    private readonly history: QueueHistory,
    onKey: () => void,
  ) {
    const { name } = history.latest;
    const template = find(document, '#queue', HTMLTemplateElement);
    this.section = find(template.content.cloneNode(true) as DocumentFragment, 'section', HTMLElement);
    this.#canvas = find(this.section, 'canvas', HTMLCanvasElement);
    this.#tip = find(this.section, '.tip', HTMLElement);
    this.#sentence = find(this.section, '.sentence', HTMLElement);
    this.#figures = find(this.section, '.figures', HTMLElement);
    this.#details = find(this.section, 'details', HTMLDetailsElement);
    this.#rows = find(this.#details, 'tbody', HTMLElement);
    write(find(this.section, 'h2', HTMLElement), name);
    write(this.#sentence, HINT);
    this.section.setAttribute('aria-label', name);
    this.#canvas.setAttribute(
      'aria-label',
      `Timeline of the batches of ${name}; arrow keys go from one to the next`,
    );
    find(this.#details, '.scroll', HTMLElement).setAttribute('aria-label', `Last batches of ${name}`);
    this.#tuning = new Tuning(find(this.section, '.tuning', HTMLElement), name);
    this.#listen(onKey);
    new IntersectionObserver((entries) => {
      this.#isVisible = entries.at(-1)?.isIntersecting ?? true;
    }).observe(this.section);
  }

  /** What is shown: what is there now, or was when the page was paused. */
  get shown(): QueueHistory {
    return this.#frozen ?? this.history;
  }

  /** Keeps what is shown as it is, or shows what is there now. */
  pause(isPaused: boolean): void {
    this.#frozen = isPaused ? freeze(this.history) : undefined;
  }

  /** Writes the figures; those of a paused page stay as they are. */
  update(now: number, { tune, hasNodes }: { tune: boolean; hasNodes: boolean }): void {
    const { latest } = this.history;
    const isPaused = this.#frozen !== undefined;
    this.#tuning.update(latest, { tune, isPaused });
    if (isPaused) return;
    const { figures, sentTo } = latest;
    this.section.classList.toggle('remote', sentTo !== null);
    write(find(this.section, '.settings', HTMLElement), describeSettings(latest, hasNodes));
    write(find(this.section, '.span', HTMLElement), describeWindow(figures));
    this.#writeFigures();
    write(find(this.section, '.split .bar-title', HTMLElement), describeSplit(figures));
    write(find(this.section, '.reasons .bar-title', HTMLElement), describeReasons(figures));
    const grow = (selector: string, share: number) => {
      find(this.section, selector, HTMLElement).style.flexGrow = String(share);
    };
    grow('[data-part=wait]', figures.wait.mean);
    grow('[data-part=run]', figures.run.mean);
    REASONS.forEach((reason, index) => {
      grow(`.reasons [data-reason=${reason}]`, figures.reasons[index] ?? 0);
    });
    if (this.#details.open) this.#writeTable(now);
  }

  set isStale(value: boolean) {
    this.section.classList.toggle('stale', value);
  }

  draw(look: Look): void {
    this.#look = look;
    if (!this.#isVisible) return;
    const history = this.shown;
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
    this.paint(context, width, height, scale);
    this.#moveTip();
  }

  /** Draws the timeline as it is now on any canvas. */
  paint(
    context: CanvasRenderingContext2D,
    width: number,
    height: number,
    scale: number,
    timeline = this.timeline,
  ): void {
    if (!this.#look) return;
    const history = this.shown;
    const hovered = this.#pointer && this.timeline.at(this.#pointer.x, this.#pointer.y);
    const selected = (hovered ?? this.#selected)?.id;
    timeline.draw(context, width, height, scale, { ...this.#look, history, selected });
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
    this.#details.addEventListener('toggle', () => {
      if (this.#look) this.#writeTable(this.#look.end);
    });
  }

  #select(block: Block | undefined): void {
    this.#selected = block;
    write(this.#sentence, block ? describeBlock(block, this.#look?.end ?? 0) : HINT);
  }

  #moveTip(): void {
    const block = this.#pointer && this.timeline.at(this.#pointer.x, this.#pointer.y);
    this.#tip.hidden = !block;
    if (!block || !this.#look) return;
    write(this.#tip, describeBlock(block, this.#look.end));
    const place = this.timeline.find(block.id);
    const room = this.#canvas.clientWidth - this.#tip.offsetWidth;
    const x = (place?.x ?? 0) + (place?.width ?? 0) / 2 - this.#tip.offsetWidth / 2;
    this.#tip.style.translate = `${Math.max(0, Math.min(room, x))}px ${(place?.y ?? 0) - 34}px`;
  }

  #writeFigures(): void {
    for (const { name, value, note, isBad } of figuresOf(this.history.latest)) {
      let group = this.#figures.querySelector<HTMLElement>(`[data-name="${name}"]`);
      if (!group) {
        group = create('div');
        group.dataset.name = name;
        group.append(create('dt', name), create('dd', '', 'value'), create('dd', '', 'note'));
        this.#figures.append(group);
      }
      group.classList.toggle('bad', isBad ?? false);
      write(find(group, '.value', HTMLElement), value);
      write(find(group, '.note', HTMLElement), note);
    }
  }

  #writeTable(now: number): void {
    const { ended } = this.shown;
    const rows = ended
      .slice(-ROWS)
      .reverse()
      .map((block) => {
        const row = create('tr');
        const ago = milliseconds(Math.max(0, Math.round(now - block.end)));
        const { slot, count, size, reason, waited, ran, errors } = block;
        for (const cell of [
          ...[`${ago} ago`, String(slot + 1), integer(count), integer(size), REASON_WORDS[reason] ?? ''],
          ...[milliseconds(waited), milliseconds(ran), integer(errors)],
        ]) {
          row.append(create('td', cell));
        }
        return row;
      });
    this.#rows.replaceChildren(...rows);
  }
}
