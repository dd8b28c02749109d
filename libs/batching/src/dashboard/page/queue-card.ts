import { REASONS } from '../frame.js';
import { create, find, write } from './elements.js';
import { describeReasons, describeSplit, describeWindow, figuresOf } from './figures.js';
import { freeze, type QueueHistory } from './history.js';
import { type Look, Stage } from './stage.js';
import { Tuning } from './tuning.js';
import { describeSettings, integer, milliseconds, REASON_WORDS } from './words.js';

const ROWS = 20;

/** The part of the page that shows one queue. */
export class QueueCard {
  readonly section: HTMLElement;
  readonly stage: Stage;
  readonly #figures: HTMLElement;
  readonly #rows: HTMLElement;
  readonly #details: HTMLDetailsElement;
  readonly #tuning: Tuning;
  /** What was there when the page was paused. */
  #frozen: QueueHistory | undefined;

  /** @param onKey called before an arrow key moves the selection: what moves by itself cannot be stepped through */
  constructor(
    private readonly history: QueueHistory,
    onKey: () => void,
  ) {
    const { name } = history.latest;
    const template = find(document, '#queue', HTMLTemplateElement);
    this.section = find(template.content.cloneNode(true) as DocumentFragment, 'section', HTMLElement);
    this.stage = new Stage(this.section, onKey);
    this.stage.name = name;
    this.#figures = find(this.section, '.figures', HTMLElement);
    this.#details = find(this.section, 'details', HTMLDetailsElement);
    this.#rows = find(this.#details, 'tbody', HTMLElement);
    write(find(this.section, 'h2', HTMLElement), name);
    this.section.setAttribute('aria-label', name);
    find(this.#details, '.scroll', HTMLElement).setAttribute('aria-label', `Last batches of ${name}`);
    this.#tuning = new Tuning(find(this.section, '.tuning', HTMLElement), name);
    this.#details.addEventListener('toggle', () => {
      this.#writeTable(this.stage.end);
    });
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
    this.stage.draw(look, this.shown);
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
