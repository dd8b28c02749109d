import { CLOSE, Refusal } from './refusal.js';
import { FRAME } from './voice-detector.js';

/** One message of a client: the number of the frame, counted from 0, and its samples. */
export interface Frame {
  readonly number: number;
  readonly samples: Float32Array;
}

/** Bytes of the number, which comes first. Everything is little-endian, as all browsers' machines are. */
const HEAD = 4;
const [AS_INTEGERS, AS_FLOATS] = [HEAD + 2 * FRAME, HEAD + 4 * FRAME];
/** Most bytes of a message; the server of WebSockets closes a connection that sends more, before it has them all. */
export const MOST_BYTES = AS_FLOATS;

/**
 * Reads a message: four bytes with the number of the frame, then 512 samples, as integers of 16 bits or as floats of
 * 32 bits from -1 to 1. The length says which.
 *
 * @throws {Refusal} for any other length, and for floats that are no finite numbers
 */
export function readFrame(message: Buffer): Frame {
  const { length } = message;
  if (length !== AS_INTEGERS && length !== AS_FLOATS) {
    throw new Refusal(
      'ERR_FRAME_LENGTH',
      CLOSE.invalid,
      `expected ${AS_INTEGERS} bytes (a number and ${FRAME} int16) or ${AS_FLOATS} (float32), got ${length}`,
    );
  }
  const samples = new Float32Array(FRAME);
  // A view of the message might not be aligned.
  for (let i = 0; i < FRAME; i++) {
    samples[i] =
      length === AS_INTEGERS ? message.readInt16LE(HEAD + 2 * i) / 32_768 : message.readFloatLE(HEAD + 4 * i);
  }
  const wrong = samples.findIndex((sample) => !Number.isFinite(sample));
  if (wrong >= 0) {
    throw new Refusal(
      'ERR_FRAME_SAMPLES',
      CLOSE.invalid,
      `expected finite numbers, got ${samples[wrong]} as sample ${wrong}`,
    );
  }
  return { number: message.readUInt32LE(0), samples };
}
