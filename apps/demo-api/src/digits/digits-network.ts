import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { getOnnxModelToken, type OnnxModel, type OnnxModelOptions } from 'nest-batching/onnx';
import { getTfjsModelToken, type TfjsModel, type TfjsModelOptions } from 'nest-batching/tfjs';
import { appFolder } from '../app-folder.js';

/** What training has left: the network, the checksums of its files, and what it answers to a picture of a seven. */
const path = join(appFolder, 'models', 'digits');

/** Token of the network that reads digits, on the runtime that `BACKEND` names. */
export const DIGITS_NETWORK = 'the network that reads digits';

export type DigitsNetwork = TfjsModel | OnnxModel;

/** The network that reads digits: 28×28 bytes to the scores of 0–9. */
export function digits(): TfjsModelOptions {
  const { checksums, selfTest } = knownAnswers();
  return { name: 'digits', path, checksums, selfTest };
}

/** The same network for ONNX Runtime. */
export function digitsOnnx(): OnnxModelOptions {
  const { onnxChecksums, selfTest } = knownAnswers();
  return { name: 'digits', path: join(path, 'digits.onnx'), checksums: onnxChecksums, selfTest };
}

/** The token of the loaded network. */
export function digitsToken(backend: string): string {
  return backend === 'onnx' ? getOnnxModelToken('digits') : getTfjsModelToken('digits');
}

interface KnownAnswers extends Pick<TfjsModelOptions, 'checksums' | 'selfTest'> {
  onnxChecksums?: OnnxModelOptions['checksums'];
}

/** Empty where training has left nothing: the module says which file is missing. */
function knownAnswers(): KnownAnswers {
  if (!existsSync(path)) return {};
  return JSON.parse(readFileSync(join(path, 'self-test.json'), 'utf8')) as KnownAnswers;
}
