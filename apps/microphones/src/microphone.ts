import { createSession, type Session, SessionFullError } from 'nest-batching';
import type { Configuration } from './configuration.js';
import { type Frame, readFrame } from './frame.js';
import { CLOSE, Refusal } from './refusal.js';
import { type Segment, SpeechSegments } from './speech-segments.js';
import { FRAME_TIME, type Heard, silence, type VoiceDetector, type VoiceState } from './voice-detector.js';
import type { Batched } from 'nest-batching';

/** The answer to one frame. */
export interface Answer extends Heard {
  /** Number of the frame. */
  readonly frame: number;
  /** Milliseconds from the frame's arrival to its answer. */
  readonly took: number;
  /** Speech that this frame has ended. */
  readonly segment?: Segment | undefined;
}

/** One microphone: its frames go through a session, in order, each with the state that the one before has left. */
export class Microphone {
  readonly #session: Session<Float32Array, Heard>;
  readonly #segments = new SpeechSegments(FRAME_TIME / 1000);
  readonly #end = new AbortController();
  readonly #idle: NodeJS.Timeout;
  readonly #leave: () => void;
  readonly #maxPending: number;
  #next = 0;

  /**
   * @param leave gives its place back
   * @param onIdle called when no frame has come for `idleTimeout`
   */
  constructor(
    detector: Batched<VoiceDetector>,
    { maxPending, idleTimeout }: Pick<Configuration, 'maxPending' | 'idleTimeout'>,
    leave: () => void,
    onIdle: (reason: Refusal) => void,
  ) {
    this.#session = createSession<Float32Array, VoiceState, Heard>(detector.hear, {
      initialState: silence,
      signal: this.#end.signal,
      // Each microphone has a turn, however many frames others have sent.
      tenant: this,
      maxPending,
    });
    this.#maxPending = maxPending;
    this.#leave = leave;
    this.#idle = setTimeout(() => {
      onIdle(new Refusal('ERR_MICROPHONE_IDLE', CLOSE.policy, `no frame came for ${idleTimeout / 1000} s`));
    }, idleTimeout);
  }

  get ended(): boolean {
    return this.#end.signal.aborted;
  }

  /** @throws {Refusal} for what is no frame, not the next one, or one too many; or what the network throws */
  async hear(message: unknown): Promise<Answer> {
    const start = performance.now();
    const frame = this.#read(message);
    this.#next += 1;
    this.#idle.refresh();
    try {
      const heard = await this.#session.push(frame.samples);
      const took = performance.now() - start;
      return { frame: frame.number, ...heard, took, segment: this.#segments.next(heard.speech) };
    } catch (error) {
      if (!(error instanceof SessionFullError)) throw error;
      const most = this.#maxPending;
      throw new Refusal(
        'ERR_FRAMES_PENDING',
        CLOSE.policy,
        `expected at most ${most} frames without an answer; wait for answers before you send more`,
      );
    }
  }

  /** Ends the session: what waits gives up its place in the next batch. */
  end(reason: Refusal): void {
    if (this.ended) return;
    clearTimeout(this.#idle);
    this.#leave();
    this.#end.abort(reason);
  }

  #read(message: unknown): Frame {
    if (!Buffer.isBuffer(message)) {
      throw new Refusal('ERR_FRAME_TEXT', CLOSE.unsupported, 'expected a frame as bytes, got text');
    }
    const frame = readFrame(message);
    if (frame.number === this.#next) return frame;
    throw new Refusal('ERR_FRAME_ORDER', CLOSE.policy, `expected frame ${this.#next}, got ${frame.number}`);
  }
}
