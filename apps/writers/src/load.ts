import { randomNumbers } from '@app/figures';
import type { Order } from './writer.js';

const PROMPTS = ['The whale ', 'Call me ', 'Captain Ahab ', 'The sea was ', 'Queequeg '];
const LEAST_LENGTH = 16;
const MOST_LENGTH = 512;

/** Texts of uneven length to measure with: half of them are shorter than 91 characters. The same seed gives the same ones. */
export function unevenTexts(count: number, seed: number): Order[] {
  const random = randomNumbers(seed);
  return Array.from({ length: count }, () => ({
    prompt: PROMPTS[Math.floor(random() * PROMPTS.length)] ?? '',
    temperature: 0.7,
    seed: Math.floor(random() * 2 ** 32),
    length: Math.round(LEAST_LENGTH * (MOST_LENGTH / LEAST_LENGTH) ** random()),
  }));
}
