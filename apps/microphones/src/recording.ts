import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { appFolder } from '@app/serving';
import { FRAME, RATE } from './voice-detector.js';

/** Bytes before the samples of a WAV file with nothing but these. */
const HEAD = 44;

/** The recording that the microphones of a wall hear: see `recording/README.md`. @returns its frames */
export function readRecording(
  file = join(appFolder('microphones'), 'recording/reading.wav'),
): Float32Array[] {
  const bytes = readFileSync(file);
  const format = [
    bytes.readUInt16LE(20),
    bytes.readUInt16LE(22),
    bytes.readUInt32LE(24),
    bytes.readUInt16LE(34),
  ];
  if (format.join() !== [1, 1, RATE, 16].join()) {
    throw new Error(`${file}: expected PCM, mono, ${RATE} Hz, 16 bits, got ${format.join(', ')}`);
  }
  const frames = Math.floor((bytes.length - HEAD) / (2 * FRAME));
  return Array.from({ length: frames }, (_, frame) =>
    Float32Array.from(
      { length: FRAME },
      (_, i) => bytes.readInt16LE(HEAD + 2 * (frame * FRAME + i)) / 32_768,
    ),
  );
}
