import type { Frame } from '../frame.js';
import type { State } from './connection.js';
import { Histories, ServerClock } from './history.js';

/** Milliseconds that the picture is behind the server, so that what is drawn has always arrived: one frame and its way. */
const LAG = 150;

/** What has been received, and the moment of it that is shown. */
export class Playback {
  readonly histories = new Histories();
  readonly #clock = new ServerClock();
  /** The server's time at which it was paused. */
  #pausedAt: number | undefined;
  state: State = 'connecting';

  /** @returns whether the frame was new, and whether it comes from another process, whose times are others */
  receive(frame: Frame): { isNew: boolean; isRestarted: boolean } {
    const { epoch } = this.histories.frame ?? {};
    if (!this.histories.apply(frame)) return { isNew: false, isRestarted: false };
    const isRestarted = epoch !== undefined && epoch !== frame.epoch;
    if (isRestarted) {
      this.#clock.restart();
      this.#pausedAt = undefined;
    }
    this.#clock.update(frame.now, performance.now());
    return { isNew: true, isRestarted };
  }

  get isPaused(): boolean {
    return this.#pausedAt !== undefined;
  }

  set isPaused(value: boolean) {
    this.#pausedAt = value ? this.end : undefined;
  }

  /** The server's time that is shown at the right edge. Without a connection it stands still. */
  get end(): number {
    if (this.#pausedAt !== undefined) return this.#pausedAt;
    const { frame } = this.histories;
    if (!frame) return 0;
    return Math.min(this.#clock.at(performance.now()) - frame.period - LAG, frame.now + 1500);
  }
}
