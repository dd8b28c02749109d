import { type Knobs, LIMITS, type QueueFrame } from '../frame.js';
import { address, changeSettings, readProposal, writeProposal } from './settings.js';
import { create, find, show } from './elements.js';
import { nameOf } from './words.js';
import { Trials } from './trials.js';

/** What the sliders step through: the number fields take any value between. */
const STEPS = {
  batchSize: [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024],
  maxDelay: [0, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000],
};

type Numeric = keyof typeof STEPS;

/** Milliseconds after a change in which frames may still show what was before it. */
const STALE = 1000;

/** The knobs of a queue, and how it did with the settings that were tried. */
export class Tuning {
  readonly #form: HTMLFormElement;
  readonly #proposal: HTMLElement;
  readonly #problem: HTMLElement;
  readonly #trials: Trials;
  #knobs: Knobs | undefined;
  /** Until when the knobs stay as they were set here, by the page's time. */
  #ownUntil = 0;
  #initial: Knobs | null = null;

  constructor(
    private readonly place: HTMLElement,
    private readonly name: string,
  ) {
    this.#form = find(place, 'form', HTMLFormElement);
    this.#proposal = find(place, '.proposal', HTMLElement);
    this.#problem = find(place, '.problem', HTMLElement);
    this.#form.setAttribute('aria-label', `Settings of ${name}`);
    this.#trials = new Trials(find(place, '.trials', HTMLElement), (knobs) => {
      void this.#change(knobs);
    });
    for (const numeric of ['batchSize', 'maxDelay'] as const) this.#connect(numeric);
    this.#form.addEventListener('change', ({ target }) => {
      const { name: radio, value } = target as HTMLInputElement;
      if (radio.startsWith('dispatch')) void this.#change({ dispatch: value as Knobs['dispatch'] });
    });
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
    });
    for (const radio of this.#radios) radio.name = `dispatch of ${name}`;
    find(this.#form, '.reset', HTMLButtonElement).addEventListener('click', () => {
      if (this.#initial) void this.#change(this.#initial);
    });
  }

  /** @param tune whether the server takes changes */
  update(
    { settings, initial, figures }: QueueFrame,
    { tune, isPaused }: { tune: boolean; isPaused: boolean },
  ): void {
    if (!isPaused) this.#trials.record(settings, figures);
    const isTunable = tune && initial !== null;
    this.#form.hidden = !isTunable;
    this.place.hidden = !isTunable && this.#trials.count < 2;
    if (!isTunable) return;
    this.#initial = initial;
    if (performance.now() < this.#ownUntil) return;
    const isFirst = this.#knobs === undefined;
    const knobs: Knobs = {
      batchSize: settings.batchSize,
      maxDelay: settings.maxDelay,
      dispatch: settings.dispatch,
    };
    const isNew = JSON.stringify(knobs) !== JSON.stringify(this.#knobs);
    this.#knobs = knobs;
    if (isFirst) this.#propose();
    if (!isNew) return;
    this.#show(knobs);
    if (!isFirst)
      writeProposal(this.name, JSON.stringify(knobs) === JSON.stringify(initial) ? undefined : knobs);
  }

  get #radios(): HTMLInputElement[] {
    return [...this.#form.querySelectorAll<HTMLInputElement>('input[type=radio]')];
  }

  #connect(numeric: Numeric): void {
    const field = find(this.#form, `input[name=${numeric}]`, HTMLInputElement);
    const slider = find(this.#form, `input[name=${numeric}Step]`, HTMLInputElement);
    const label = find(field.parentElement ?? this.#form, 'label', HTMLLabelElement);
    const { least, most } = LIMITS[numeric];
    const steps = STEPS[numeric];
    field.id = `${numeric} of ${this.name}`;
    label.htmlFor = field.id;
    field.min = String(least);
    field.max = String(most);
    slider.max = String(steps.length - 1);
    slider.setAttribute('aria-label', `${label.textContent}, in steps`);
    slider.addEventListener('input', () => {
      field.value = String(steps[slider.valueAsNumber]);
      slider.setAttribute('aria-valuetext', field.value);
    });
    slider.addEventListener('change', () => {
      void this.#change({ [numeric]: steps[slider.valueAsNumber] });
    });
    field.addEventListener('change', () => {
      if (field.reportValidity()) void this.#change({ [numeric]: field.valueAsNumber });
    });
  }

  #show({ batchSize, maxDelay, dispatch }: Knobs): void {
    for (const [numeric, value] of Object.entries({ batchSize, maxDelay })) {
      const field = find(this.#form, `input[name=${numeric}]`, HTMLInputElement);
      const slider = find(this.#form, `input[name=${numeric}Step]`, HTMLInputElement);
      const steps = STEPS[numeric as Numeric];
      field.value = value === null ? '' : String(value);
      field.placeholder = value === null ? 'no limit' : '';
      const step = steps.findLastIndex((each) => each <= (value ?? Infinity));
      slider.value = String(Math.max(0, step));
      slider.setAttribute('aria-valuetext', value === null ? 'no limit' : String(value));
    }
    for (const radio of this.#radios) radio.checked = radio.value === dispatch;
  }

  /** Settings in the page's address are shown and not applied: a link must not change a server. */
  #propose(): void {
    const proposal = readProposal(this.name);
    if (!proposal) return;
    const apply = create('button', 'Apply');
    apply.type = 'button';
    apply.addEventListener('click', () => {
      this.#proposal.hidden = true;
      void this.#change(proposal);
    });
    this.#proposal.replaceChildren(`From the link: ${nameOf(proposal)} `, apply);
    this.#proposal.hidden = false;
  }

  async #change(change: Partial<Knobs>): Promise<void> {
    show(this.#problem, '');
    this.#ownUntil = performance.now() + STALE;
    if (this.#knobs) this.#show({ ...this.#knobs, ...change });
    try {
      await changeSettings(`${address()}/settings`, this.name, change);
      this.#ownUntil = performance.now() + STALE;
    } catch (error) {
      this.#ownUntil = 0;
      show(this.#problem, (error as Error).message);
      if (this.#knobs) this.#show(this.#knobs);
    }
  }
}
