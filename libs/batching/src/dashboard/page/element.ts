import type { Frame, QueueFrame } from '../frame.js';
import { Connection, type State } from './connection.js';
import { create } from './elements.js';
import { freeze, type QueueHistory } from './history.js';
import { writeLegend } from './legend.js';
import palette from './palette.css';
import { Playback } from './playback.js';
import { Stage } from './stage.js';
import stageStyle from './stage.css';
import { onThemeChange, readTheme, type Theme } from './theme.js';
import { Zoom } from './zoom.js';

/** Milliseconds between two drawings, and where less movement is wanted. */
const DRAWING = { usual: 30, reduced: 1000 };

const OWN_STYLE = `
:host {
  display: block;
  color: var(--ink);
}
.bar {
  display: flex;
  align-items: flex-start;
  justify-content: space-between;
  gap: 0.5rem 1rem;
}
.bar .legend {
  flex: 1;
}
.bar button {
  flex: none;
}
`;

/** What the event `frame` of the element brings. */
export interface FrameDetail {
  readonly frame: Frame;
  /** The queue that is shown, once there is one of its name. */
  readonly queue: QueueFrame | undefined;
}

/**
 * `<batching-timeline queue="Digits.classify">`: the timeline of one queue, in a page of the application's own. Its events `state`
 * and `frame` tell how its connection is, and what has come.
 */
class BatchingTimeline extends HTMLElement {
  static readonly observedAttributes = ['queue'];

  readonly #playback = new Playback();
  readonly #zoom = new Zoom();
  readonly #reduced = matchMedia('(prefers-reduced-motion: reduce)');
  readonly #pause = create('button', 'Pause');
  readonly #legend = create('ul', '', 'legend');
  readonly #stagePlace = create('div', '', 'stage');
  readonly #stage: Stage;
  #theme: Theme | undefined;
  /** What was there when it was paused. */
  #frozen: QueueHistory | undefined;
  #drawnAt = 0;
  #drawing = 0;
  #connection: Connection | undefined;

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    const style = new CSSStyleSheet();
    style.replaceSync(palette.replaceAll(':root', ':host') + stageStyle + OWN_STYLE);
    root.adoptedStyleSheets = [style];
    const canvas = create('canvas', '', 'timeline');
    canvas.tabIndex = 0;
    canvas.setAttribute('role', 'application');
    const tip = create('p', '', 'tip');
    tip.hidden = true;
    tip.setAttribute('aria-hidden', 'true');
    this.#stagePlace.append(canvas, tip);
    const sentence = create('p', '', 'sentence');
    sentence.setAttribute('role', 'status');
    this.#pause.type = 'button';
    this.#legend.setAttribute('aria-label', 'Legend');
    const bar = create('div', '', 'bar');
    bar.append(this.#legend, this.#pause);
    root.append(this.#stagePlace, sentence, bar);
    this.#stage = new Stage(root, () => {
      this.isPaused = true;
    });
    this.#pause.addEventListener('click', () => {
      this.isPaused = !this.isPaused;
    });
    onThemeChange(() => {
      this.#readTheme();
    });
    this.isPaused = false;
  }

  connectedCallback(): void {
    this.#readTheme();
    this.#connection = new Connection(
      new URL('events', import.meta.url).href,
      (frame) => {
        this.#receive(frame);
      },
      (state) => {
        this.#setState(state);
      },
    );
    this.#drawing = requestAnimationFrame(this.#draw);
  }

  disconnectedCallback(): void {
    this.#connection?.end();
    cancelAnimationFrame(this.#drawing);
  }

  attributeChangedCallback(): void {
    this.isPaused = false;
    this.#stage.name = this.queue;
  }

  /** The name of the queue that is shown. */
  get queue(): string {
    return this.getAttribute('queue') ?? '';
  }

  /** Whether it stands still, as with its button. */
  get isPaused(): boolean {
    return this.#playback.isPaused;
  }

  set isPaused(value: boolean) {
    const history = this.#history;
    this.#playback.isPaused = value;
    this.#frozen = value && history ? freeze(history) : undefined;
    this.#pause.setAttribute('aria-pressed', String(value));
  }

  get #history(): QueueHistory | undefined {
    return [...this.#playback.histories.queues.values()].find(({ latest }) => latest.name === this.queue);
  }

  #readTheme(): void {
    this.#theme = readTheme(this);
    writeLegend(this.#legend, this.#theme);
  }

  #receive(frame: Frame): void {
    const { isNew, isRestarted } = this.#playback.receive(frame);
    if (!isNew) return;
    if (isRestarted) this.isPaused = false;
    const queue = frame.queues.find(({ name }) => name === this.queue);
    this.dispatchEvent(new CustomEvent<FrameDetail>('frame', { detail: { frame, queue } }));
  }

  #setState(state: State): void {
    if (state === this.#playback.state) return;
    this.#playback.state = state;
    this.#stagePlace.classList.toggle('stale', state !== 'live');
    this.dispatchEvent(new CustomEvent<State>('state', { detail: state }));
  }

  readonly #draw = (now: number): void => {
    this.#drawing = requestAnimationFrame(this.#draw);
    const isReduced = this.#reduced.matches;
    if (now - this.#drawnAt < (isReduced ? DRAWING.reduced : DRAWING.usual)) return;
    this.#drawnAt = now;
    const history = this.#frozen ?? this.#history;
    if (!history || !this.#theme) return;
    const { end, isPaused, state } = this.#playback;
    const span = this.#zoom.next([history], end, now, !isReduced);
    const isMoving = !isReduced && !isPaused && state === 'live';
    this.#stage.draw({ end, span, theme: this.#theme, isMoving }, history);
  };
}

customElements.define('batching-timeline', BatchingTimeline);
