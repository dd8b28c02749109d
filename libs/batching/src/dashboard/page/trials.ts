import type { Figures, Knobs } from '../frame.js';
import { create, find, write } from './elements.js';
import { perSecond } from './figures.js';
import { integer, milliseconds, nameOf } from './words.js';

/** Milliseconds that settings must have been in force before their figures are noted. */
const SETTLED = 1500;
/** Settings that are remembered. */
const MOST = 12;
const PLOT = { width: 300, height: 150, left: 40, bottom: 20, top: 8, right: 10 };

export interface Trial {
  readonly name: string;
  readonly knobs: Knobs;
  rate: number;
  p99: number;
}

/** What was measured with which settings: the figures of a setting are those of the last time that it was in force. */
export class Trials {
  readonly #trials = new Map<string, Trial>();
  #current = '';
  #drawn = '';

  /** @param onUse called with settings that are to be used again */
  constructor(
    private readonly place: HTMLElement,
    private readonly onUse: (knobs: Knobs) => void,
  ) {}

  get count(): number {
    return this.#trials.size;
  }

  record({ batchSize, maxDelay, dispatch }: Knobs, figures: Figures): void {
    const knobs = { batchSize, maxDelay, dispatch };
    this.#current = nameOf(knobs);
    if (figures.inputs > 0 && figures.span >= SETTLED) {
      const trial = {
        name: this.#current,
        knobs,
        rate: perSecond(figures.inputs, figures.span),
        p99: figures.total.p99,
      };
      // The order is that of the last use.
      this.#trials.delete(this.#current);
      this.#trials.set(this.#current, trial);
      const [oldest] = this.#trials.keys();
      if (this.#trials.size > MOST && oldest !== undefined) this.#trials.delete(oldest);
    }
    this.#draw();
  }

  #draw(): void {
    const trials = [...this.#trials.values()];
    const shown = JSON.stringify([
      this.#current,
      ...trials.map(({ name, rate, p99 }) => [name, integer(rate), milliseconds(p99)]),
    ]);
    if (shown === this.#drawn) return;
    this.#drawn = shown;
    this.#drawTable(trials);
    drawPlot(find(this.place, 'svg', SVGSVGElement), trials, this.#current);
  }

  /** Rows are kept, so that a button that has the focus keeps it. */
  #drawTable(trials: readonly Trial[]): void {
    const body = find(this.place, 'tbody', HTMLTableSectionElement);
    const known = new Map([...body.rows].map((row) => [row.dataset.name, row]));
    for (const { name, knobs, rate, p99 } of trials) {
      let row = known.get(name);
      known.delete(name);
      if (!row) {
        row = create('tr');
        row.dataset.name = name;
        const use = create('button', 'Use');
        use.type = 'button';
        use.setAttribute('aria-label', `Use ${name}`);
        use.addEventListener('click', () => {
          this.onUse(knobs);
        });
        const cell = create('td');
        cell.append(use);
        row.append(create('th', name), create('td', '', 'rate'), create('td', '', 'p99'), cell);
        find(row, 'th', HTMLElement).setAttribute('scope', 'row');
        body.append(row);
      }
      row.classList.toggle('current', name === this.#current);
      write(find(row, '.rate', HTMLElement), integer(rate));
      write(find(row, '.p99', HTMLElement), milliseconds(p99));
    }
    for (const row of known.values()) row.remove();
  }
}

/** Throughput over latency: better is higher, and further left. */
export function drawPlot(svg: SVGSVGElement, trials: readonly Trial[], current: string): void {
  const { width, height, left, bottom, top, right } = PLOT;
  const most = {
    rate: nice(Math.max(...trials.map(({ rate }) => rate), 1)),
    p99: nice(Math.max(...trials.map(({ p99 }) => p99), 1)),
  };
  const x = (p99: number) => left + (p99 / most.p99) * (width - left - right);
  const y = (rate: number) => height - bottom - (rate / most.rate) * (height - bottom - top);
  const parts = [
    element('path', { class: 'axis', d: `M${left} ${top}V${height - bottom}H${width - right}` }),
    text(left - 4, y(most.rate) + 4, integer(most.rate), 'end'),
    text(left - 4, y(0), '0', 'end'),
    text(x(most.p99), height - 6, milliseconds(most.p99), 'end'),
    text(left, height - 6, 'p99', 'start'),
  ];
  for (const { name, rate, p99 } of trials) {
    const isCurrent = name === current;
    const point = element('circle', {
      class: isCurrent ? 'point current' : 'point',
      cx: x(p99),
      cy: y(rate),
      r: isCurrent ? 5 : 3.5,
    });
    const title = element('title', {});
    title.textContent = `${name}: ${integer(rate)} inputs/s, p99 ${milliseconds(p99)}`;
    point.append(title);
    parts.push(point);
  }
  svg.setAttribute('aria-label', `${trials.length} settings tried; the table has their figures`);
  svg.replaceChildren(...parts);
}

/** The next of 1, 2, 5, 10, … */
function nice(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10);
}

function text(x: number, y: number, content: string, anchor: string): SVGElement {
  const label = element('text', { x, y, 'text-anchor': anchor });
  label.textContent = content;
  return label;
}

function element(name: string, attributes: Record<string, string | number>): SVGElement {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, String(value));
  return made;
}
