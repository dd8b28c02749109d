import { Injectable } from '@nestjs/common';
import { BatchedService, type SessionResult, type SessionStep } from 'nest-batching';
import { InjectOnnxModel, type OnnxModel } from 'nest-batching/onnx';

/** Samples per second. */
export const RATE = 16_000;
/** Samples of one frame, which lasts 32 ms. */
export const FRAME = 512;
/** Milliseconds of one frame. */
export const FRAME_TIME = (1000 * FRAME) / RATE;

/** What the network remembers of one microphone. */
export interface VoiceState {
  /** The last samples of the frame before. */
  readonly context: Float32Array;
  /** Of its recurrent layer. */
  readonly lstm: Float32Array;
}

/** What the network says of one frame. */
export interface Heard {
  /** The probability of speech, from 0 to 1. */
  readonly speech: number;
  /** How many frames were in the batch. */
  readonly together: number;
}

/** The state before the first frame. */
export function silence(): VoiceState {
  return { context: new Float32Array(64), lstm: new Float32Array(256) };
}

/** Silero's voice detector: is there speech in a frame, by what was heard before it? */
@Injectable()
export class VoiceDetector {
  constructor(@InjectOnnxModel('voice') private readonly model: OnnxModel) {}

  /** The next frame of each of many microphones; the batch knows nothing of sessions. */
  @BatchedService(64, 4)
  async hear(
    steps: readonly SessionStep<Float32Array, VoiceState>[],
  ): Promise<SessionResult<Heard, VoiceState>[]> {
    const results = await this.model.predict(steps.map(({ input, state }) => ({ samples: input, ...state })));
    return results.map(({ speech, nextContext, nextLstm }) => ({
      output: { speech: Number(speech?.[0]), together: steps.length },
      state: { context: nextContext as Float32Array, lstm: nextLstm as Float32Array },
    }));
  }
}
