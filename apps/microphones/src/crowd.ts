import { type Batched, createSession, type Session } from 'nest-batching';
import type { Places } from './places.js';
import { FRAME_TIME, type Heard, silence, type VoiceDetector, type VoiceState } from './voice-detector.js';

/** Milliseconds between two looks at which microphones have a frame. */
const TICK = 4;
/** Most frames of one microphone without an answer: more are not pushed, as a sound card would drop them. */
const MOST_PENDING = 8;
/** Frames between the places in the recording at which two neighbours begin. */
const APART = 37;

/** What a crowd has done since the last look. */
export interface CrowdLook {
  readonly microphones: number;
  /** How many of them hear speech. */
  readonly hearing: number;
  /** Frames with an answer. */
  readonly heard: number;
  /** Of these, how many came after the next frame of their microphone. */
  readonly late: number;
  /** Frames that were not pushed, as too many waited. */
  readonly dropped: number;
  /** Mean number of frames in a batch, over the frames; 0 if none was heard. */
  readonly together: number;
  /** Seconds of sound that were heard in a second. */
  readonly realTime: number;
  /** For each microphone, the probability of speech in hundredths. */
  readonly levels: number[];
}

/** Microphones that hear a recording in real time, each from another place on. */
export class Crowd {
  readonly #microphones: Voice[] = [];
  #timer: NodeJS.Timeout | undefined;
  #since = performance.now();
  #counts = { heard: 0, late: 0, dropped: 0, together: 0 };

  constructor(
    private readonly detector: Batched<VoiceDetector>,
    private readonly recording: readonly Float32Array[],
    private readonly places: Places,
  ) {}

  get size(): number {
    return this.#microphones.length;
  }

  /**
   * Lets microphones join or leave.
   *
   * @throws {Refusal} if there are not as many places; those that have joined stay
   */
  resize(count: number): void {
    try {
      while (this.size > count) this.#microphones.pop()?.end();
      while (this.size < count) {
        const index = this.size;
        this.#microphones.push(new Voice(this.detector, this.places.take(), index, this.recording.length));
      }
    } finally {
      clearInterval(this.#timer);
      this.#timer = this.size === 0 ? undefined : setInterval(this.#tick, TICK);
    }
  }

  /** What has happened since the last call. */
  look(): CrowdLook {
    const seconds = (performance.now() - this.#since) / 1000;
    const { heard, late, dropped, together } = this.#counts;
    this.#since = performance.now();
    this.#counts = { heard: 0, late: 0, dropped: 0, together: 0 };
    const levels = this.#microphones.map(({ speech }) => Math.round(100 * speech));
    return {
      microphones: this.size,
      hearing: levels.filter((level) => level >= 50).length,
      heard,
      late,
      dropped,
      together: heard === 0 ? 0 : together / heard,
      realTime: (heard * FRAME_TIME) / 1000 / seconds,
      levels,
    };
  }

  readonly #tick = (): void => {
    const now = performance.now();
    for (const microphone of this.#microphones) {
      for (; microphone.due <= now; microphone.due += FRAME_TIME) this.#push(microphone);
    }
  };

  #push(microphone: Voice): void {
    const frame = this.recording[microphone.next()];
    if (!frame || microphone.session.pending >= MOST_PENDING) {
      this.#counts.dropped += 1;
      return;
    }
    const { due } = microphone;
    microphone.session.push(frame).then(
      ({ speech, together }) => {
        microphone.speech = speech;
        this.#counts.heard += 1;
        this.#counts.together += together;
        if (performance.now() - due > FRAME_TIME) this.#counts.late += 1;
      },
      () => {
        // What waited of a microphone that has left is not lost sound. Of a network that fails, the log says why.
        if (!microphone.ended) this.#counts.dropped += 1;
      },
    );
  }
}

class Voice {
  readonly session: Session<Float32Array, Heard>;
  readonly #left = new AbortController();
  speech = 0;
  /** When its next frame is complete, by `performance.now()`. */
  due: number;
  #frame: number;

  constructor(
    detector: Batched<VoiceDetector>,
    private readonly leave: () => void,
    index: number,
    private readonly frames: number,
  ) {
    this.session = createSession<Float32Array, VoiceState, Heard>(detector.hear, {
      initialState: silence,
      signal: this.#left.signal,
      tenant: this,
    });
    this.#frame = (index * APART) % frames;
    // Spread over a frame, as sound cards know nothing of each other.
    this.due = performance.now() + ((index * APART) % FRAME_TIME);
  }

  get ended(): boolean {
    return this.#left.signal.aborted;
  }

  /** @returns the number of its next frame in the recording */
  next(): number {
    const frame = this.#frame;
    this.#frame = (frame + 1) % this.frames;
    return frame;
  }

  end(): void {
    this.leave();
    this.#left.abort();
  }
}
