import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TfjsModelOptions } from 'nest-batching/tfjs';
import { appFolder } from '../app-folder.js';

/** What training has left: the network, the checksums of its files, and what it answers to a picture of a seven. */
const path = join(appFolder, 'models', 'digits');

/** The network that reads digits: 28×28 bytes to the scores of 0–9. */
export function digits(): TfjsModelOptions {
  return { name: 'digits', path, ...(existsSync(path) ? knownAnswers() : undefined) };
}

function knownAnswers(): Pick<TfjsModelOptions, 'checksums' | 'selfTest'> {
  return JSON.parse(readFileSync(join(path, 'self-test.json'), 'utf8')) as ReturnType<typeof knownAnswers>;
}
