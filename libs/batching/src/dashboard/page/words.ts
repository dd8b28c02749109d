import type { Knobs, QueueFrame } from '../frame.js';
import type { Block } from './history.js';
import type { Share } from './shares.js';

/** Why a batch left, by its number in a frame. */
export const REASON_WORDS = ['full', 'delay over', 'slot free', 'drained'] as const;

/** What inputs are called, one and several of them. */
export type Noun = readonly [one: string, several: string];
const INPUT: Noun = ['input', 'inputs'];

/** One block in a sentence: `64 inputs, full, waited 16 ms, ran 20 ms, 1 error`. */
export function describeBlock(
  block: Block,
  now: number,
  { noun = INPUT, shares = [] }: { noun?: Noun; shares?: readonly Share[] } = {},
): string {
  const { size, reason, waited, errors, count, end, start, ran } = block;
  const why = REASON_WORDS[reason] ?? '';
  const failed = errors === 0 ? [] : [plural(errors, 'error')];
  if (count > 1) {
    const each = `${milliseconds(ran / count)} each`;
    const sizes = `${plural(size, ...noun)} in ${integer(count)} batches`;
    return [sizes, `mostly ${why}`, `waited ${milliseconds(waited)} at most`, `ran ${each}`, ...failed].join(
      ', ',
    );
  }
  const run =
    end === Infinity ? `has run for ${milliseconds(Math.max(0, now - start))}` : `ran ${milliseconds(ran)}`;
  return [describeInputs(size, noun, shares), why, `waited ${milliseconds(waited)}`, run, ...failed].join(
    ', ',
  );
}

/** `16 inputs`, or by shares `12 inputs of photo 1, 3 of photo 2, 1 of others`. */
function describeInputs(size: number, noun: Noun, shares: readonly Share[]): string {
  if (shares.length === 0) return plural(size, ...noun);
  const others = size - shares.reduce((sum, { count }) => sum + count, 0);
  const all = others > 0 ? [...shares, { name: 'others', count: others }] : shares;
  return all
    .map(({ name, count }, place) => `${place === 0 ? plural(count, ...noun) : integer(count)} of ${name}`)
    .join(', ');
}

/** @param words one word, or one and its plural */
export function nounOf(words: string): Noun {
  const [one = '', several = `${one}s`] = words.split(/\s+/).filter(Boolean);
  return one ? [one, several] : INPUT;
}

export function describeSettings(queue: QueueFrame, hasNodes: boolean): string {
  const { settings, state, node, sentTo, running } = queue;
  if (sentTo) {
    const nodes = sentTo.length === 0 ? 'no node serves it' : `served by ${sentTo.join(', ')}`;
    return `sent to other nodes, whose dashboards show its batches · ${nodes} · ${plural(running, 'input')} on the way`;
  }
  const { batchSize, maxDelay, dispatch, concurrency } = settings;
  const slots = concurrency === null ? 'any number of slots' : plural(concurrency, 'slot');
  const parts = [
    batchSize === null ? 'batches of any size' : `at most ${integer(batchSize)} in a batch`,
    maxDelay === null ? 'no longest wait' : `wait at most ${milliseconds(maxDelay)}`,
    dispatch,
    slots,
  ];
  if (state !== 'started') parts.push(state);
  if (hasNodes) parts.push(`on ${node}`);
  return parts.join(' · ');
}

/** Settings in short, to tell trials apart: `64 · 5 ms · adaptive`. */
export function nameOf({ batchSize, maxDelay, dispatch }: Knobs): string {
  return [batchSize ?? '∞', maxDelay === null ? '∞' : milliseconds(maxDelay), dispatch].join(' · ');
}

export function plural(count: number, word: string, words = `${word}s`): string {
  return `${integer(count)} ${count === 1 ? word : words}`;
}

export function integer(value: number): string {
  return Math.round(value).toLocaleString('en');
}

/** A rate or a mean, with as many places as it needs. */
export function decimal(value: number): string {
  if (value === 0) return '0';
  return value < 10 ? value.toFixed(1) : integer(value);
}

/** A time with its unit: `0.42 ms`, `16 ms`, `1.2 s`. */
export function milliseconds(value: number): string {
  if (value >= 9_950) return `${integer(value / 1000)} s`;
  if (value >= 999.5) return `${(value / 1000).toFixed(1)} s`;
  if (value >= 9.95 || Number.isInteger(value)) return `${Math.round(value)} ms`;
  return `${value.toFixed(value < 0.995 ? 2 : 1)} ms`;
}

export function percent(share: number): string {
  const value = 100 * share;
  return `${value > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} %`;
}
