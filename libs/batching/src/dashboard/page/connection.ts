import type { Frame } from '../frame.js';

/** Milliseconds without a frame after which the connection is taken for dead; one comes every second at least. */
const SILENCE = 5000;
/** Milliseconds before the first try to connect again, and between two tries at most. */
const RETRY = { first: 1000, most: 15_000 };

export type State = 'connecting' | 'live' | 'lost' | 'refused';

/**
 * The stream of frames, opened again whenever it is lost, with ever longer pauses. A hidden page gives its connection back: a
 * browser opens six to a server and no more.
 */
export class Connection {
  #source: EventSource | undefined;
  #timer: number | undefined;
  #pause = RETRY.first;
  readonly #end = new AbortController();

  constructor(
    private readonly url: string,
    private readonly onFrame: (frame: Frame) => void,
    private readonly onState: (state: State) => void,
  ) {
    const { signal } = this.#end;
    document.addEventListener(
      'visibilitychange',
      () => {
        if (document.hidden) this.#close();
        else this.#open();
      },
      { signal },
    );
    addEventListener(
      'online',
      () => {
        this.#open();
      },
      { signal },
    );
    if (!document.hidden) this.#open();
  }

  /** Ends it for good. */
  end(): void {
    this.#end.abort();
    this.#close();
  }

  #open(): void {
    this.#close();
    const source = new EventSource(this.url);
    this.#source = source;
    source.onmessage = ({ data }: MessageEvent<string>) => {
      this.#pause = RETRY.first;
      this.#after(SILENCE, () => {
        this.#lose('lost');
      });
      this.onState('live');
      this.onFrame(JSON.parse(data) as Frame);
    };
    source.onerror = () => {
      // An answer that is no stream of events closes it for good.
      this.#lose(source.readyState === EventSource.CLOSED ? 'refused' : 'lost');
    };
    this.#after(SILENCE, () => {
      this.#lose('lost');
    });
  }

  #close(): void {
    this.#source?.close();
    this.#source = undefined;
    clearTimeout(this.#timer);
  }

  #lose(state: State): void {
    this.#close();
    this.onState(state);
    if (document.hidden) return;
    this.#after(this.#pause, () => {
      this.#open();
    });
    this.#pause = Math.min(RETRY.most, 2 * this.#pause);
  }

  #after(milliseconds: number, call: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(call, milliseconds);
  }
}
