import type { Frame, QueueFrame } from '../frame.js';
import { Connection, type State } from './connection.js';
import { create } from './elements.js';
import { type Block, freeze, type QueueHistory } from './history.js';
import { writeLegend } from './legend.js';
import palette from './palette.css';
import { Playback } from './playback.js';
import { checkShares, type Share, type Shares, sharesOf } from './shares.js';
import { Stage } from './stage.js';
import stageStyle from './stage.css';
import { onThemeChange, readTheme, type Theme } from './theme.js';
import { type Noun, nounOf } from './words.js';
import { Zoom } from './zoom.js';

/** Milliseconds between two drawings, and where less movement is wanted. */
const DRAWING = { usual: 30, reduced: 1000 };

const OWN_STYLE = `
:host {
  display: block;
  container-type: inline-size;
  color: var(--ink);
}
.bar {
  display: grid;
  grid-template: 'sentence sentence' auto 'legend pause' auto / 1fr auto;
  align-items: start;
  gap: 0 1rem;
}
.bar .sentence {
  grid-area: sentence;
}
.bar .legend {
  grid-area: legend;
}
.bar button {
  grid-area: pause;
}
@container (width < 34rem) {
  .bar {
    grid-template: 'sentence pause' auto 'legend legend' auto / 1fr auto;
    gap: 0.375rem 1rem;
  }
  .bar button {
    margin-top: 0.25rem;
  }
}
`;

/** What the event `frame` of the element brings. */
export interface FrameDetail {
  readonly frame: Frame;
  /** The queue that is shown, once there is one of its name. */
  readonly queue: QueueFrame | undefined;
}

/**
 * `<batching-timeline queue="Digits.classify" unit="digit">`: the timeline of one queue, in a page of the application's own. Its
 * events `state` and `frame` tell how its connection is, and what has come; its property `shares` says whose inputs are in a batch.
 */
class BatchingTimeline extends HTMLElement {
  static readonly observedAttributes = ['queue', 'unit'];

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
  /** Aborts when it is taken out of its page. */
  #attached: AbortController | undefined;
  #shares: Shares | undefined;

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
    bar.append(sentence, this.#pause, this.#legend);
    root.append(this.#stagePlace, bar);
    this.#stage = new Stage(root, () => {
      this.isPaused = true;
    });
    this.#stage.sharesOf = (block) => this.#sharesOf(block);
    this.#pause.addEventListener('click', () => {
      this.isPaused = !this.isPaused;
    });
    this.isPaused = false;
  }

  connectedCallback(): void {
    // Set before this module was loaded, it would hide the property.
    if (Object.hasOwn(this, 'shares')) {
      const { shares } = this;
      delete (this as { shares?: unknown }).shares;
      this.shares = shares;
    }
    this.#readTheme();
    this.#attached = new AbortController();
    onThemeChange(() => {
      this.#readTheme();
    }, this.#attached.signal);
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
    this.#attached?.abort();
    cancelAnimationFrame(this.#drawing);
  }

  attributeChangedCallback(name: string): void {
    if (name === 'unit') {
      this.#stage.noun = this.#noun;
      this.#writeLegend();
      return;
    }
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

  /**
   * Whose the inputs of each batch are: shown as parts of its block, and named in its sentence.
   *
   * @throws TypeError or RangeError for what is no such thing, or has more than 4 names
   */
  get shares(): Shares | undefined {
    return this.#shares;
  }

  set shares(value: Shares | undefined) {
    this.#shares = checkShares(value);
    this.#writeLegend();
  }

  get #noun(): Noun {
    return nounOf(this.getAttribute('unit') ?? '');
  }

  /** A function of the page that throws is reported once, and not asked again. */
  #sharesOf(block: Block): Share[] {
    try {
      return sharesOf(this.#shares, block, this.#history?.latest.node ?? '');
    } catch (error) {
      this.shares = undefined;
      reportError(error);
      return [];
    }
  }

  get #history(): QueueHistory | undefined {
    return [...this.#playback.histories.queues.values()].find(({ latest }) => latest.name === this.queue);
  }

  #readTheme(): void {
    this.#theme = readTheme(this);
    this.#writeLegend();
  }

  #writeLegend(): void {
    if (!this.#theme) return;
    writeLegend(this.#legend, this.#theme, { input: this.#noun[0], shares: this.#shares?.names });
  }

  #receive(frame: Frame): void {
    const { isNew, isRestarted } = this.#playback.receive(frame);
    if (!isNew) return;
    if (isRestarted) {
      this.isPaused = false;
      // The batches of another process have the same numbers.
      this.#stage.forget();
    }
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
