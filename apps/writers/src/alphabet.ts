import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { appFolder } from './app-folder.js';

/** The folder of the network; the worker runs its network.js. */
export const modelFolder = join(appFolder, 'model');

const { vocabulary, units } = JSON.parse(readFileSync(join(modelFolder, 'network.json'), 'utf8')) as {
  vocabulary: string;
  units: number;
};

/** The characters that the network knows; a token is an index into them. */
export const VOCABULARY = vocabulary;
/** Numbers of a state. */
export const UNITS = units;

/** The text with straight quotes and LF, as the network has learned it. */
export function normalize(text: string): string {
  return text.replaceAll(/\r\n?/g, '\n').replaceAll(/[‘’]/g, "'").replaceAll(/[“”]/g, '"');
}

/** The characters of a normalized text that the network does not know, each once. */
export function unknownCharacters(text: string): string[] {
  return [...new Set(text)].filter((character) => !VOCABULARY.includes(character));
}

/** The tokens of a normalized text whose characters are all known. */
export function tokensOf(text: string): number[] {
  return Array.from(text, (character) => VOCABULARY.indexOf(character));
}
