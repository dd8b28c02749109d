/** From when to when somebody spoke, in seconds from the first frame on. */
export interface Segment {
  readonly from: number;
  readonly to: number;
}

/** Speech begins at this probability, and goes on above the lower one. */
const [BEGIN, GO_ON] = [0.5, 0.35];
/** Seconds of silence that end a segment, and the least of one that counts: a click is no speech. */
const [SILENCE, LEAST] = [0.1, 0.25];

/** Makes segments of the probabilities of one microphone's frames, by the rule of the package silero-vad. */
export class SpeechSegments {
  #frames = 0;
  #from: number | undefined;
  /** Number of the first silent frame since the last one with speech. */
  #silentSince: number | undefined;

  /** @param frameTime seconds of a frame */
  constructor(private readonly frameTime: number) {}

  /** @returns the segment that this frame has ended */
  next(speech: number): Segment | undefined {
    const now = this.#frames;
    this.#frames += 1;
    if (speech >= BEGIN) {
      this.#from ??= now;
      this.#silentSince = undefined;
    }
    if (this.#from === undefined || speech >= GO_ON) return undefined;
    this.#silentSince ??= now;
    if ((now - this.#silentSince) * this.frameTime < SILENCE) return undefined;
    const segment = { from: this.#from * this.frameTime, to: this.#silentSince * this.frameTime };
    this.#from = this.#silentSince = undefined;
    return segment.to - segment.from < LEAST ? undefined : segment;
  }
}
