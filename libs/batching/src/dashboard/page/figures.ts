import { type Figures, type QueueFrame, REASONS } from '../frame.js';
import { decimal, integer, milliseconds, percent, plural, REASON_WORDS } from './words.js';

/** One figure with what it is made of. */
export interface Figure {
  readonly name: string;
  readonly value: string;
  readonly note: string;
  readonly isBad?: boolean;
}

/** All figures of a queue. They are of one window, but for those that say `now`. */
export function figuresOf({ figures, waiting, runningBatches, settings }: QueueFrame): Figure[] {
  const { inputs, batches, errors, total, busy, span } = figures;
  const { full, timeout, stopped, aborted } = figures.drops;
  const dropped = full + timeout + stopped;
  const left = aborted + figures.aborted;
  const of = (count: number, word: string) => (count > 0 ? [`${integer(count)} ${word}`] : []);
  const isEmpty = inputs === 0;
  const limit =
    settings.maxQueued === null ? 'room for any number' : `room for ${integer(settings.maxQueued)}`;
  return [
    { name: 'Inputs/s', value: decimal(perSecond(inputs, span)), note: `${integer(inputs)} ended` },
    {
      name: 'Batches/s',
      value: decimal(perSecond(batches, span)),
      note: isEmpty ? 'no batch' : `${decimal(inputs / batches)} inputs each`,
    },
    {
      name: 'Latency p99',
      value: isEmpty ? '–' : milliseconds(total.p99),
      note: isEmpty ? 'no input' : `p50 ${milliseconds(total.p50)}`,
    },
    {
      name: 'Slots busy',
      value: busy === null ? '–' : percent(busy),
      note: `${plural(runningBatches, 'batch', 'batches')} now`,
    },
    { name: 'Waiting now', value: integer(waiting), note: limit },
    {
      name: 'Errors',
      value: integer(errors),
      note: isEmpty ? 'no input' : `${percent(errors / inputs)} of inputs`,
      isBad: errors > 0,
    },
    {
      name: 'Dropped',
      value: integer(dropped),
      note:
        [...of(full, 'full'), ...of(timeout, 'too late'), ...of(stopped, 'stopped')].join(', ') ||
        'never ran',
      isBad: dropped > 0,
    },
    {
      name: 'Callers left',
      value: integer(left),
      note:
        [...of(aborted, 'waiting'), ...of(figures.aborted, 'running')].join(', ') || 'by their own signal',
    },
  ];
}

/** What window all figures are of. */
export function describeWindow({ span, isSinceChange }: Figures): string {
  const seconds = span < 1000 ? 'the last moment' : `the last ${Math.round(span / 1000)} s`;
  return `All figures: ${seconds}${isSinceChange ? ', since the settings were changed' : ''}`;
}

export function describeSplit({ wait, run, total, inputs }: Figures): string {
  if (inputs === 0) return 'Mean latency: no input';
  const parts = `waited ${milliseconds(wait.mean)} + ran ${milliseconds(run.mean)}`;
  const tails = `p99 ${milliseconds(wait.p99)} and ${milliseconds(run.p99)}`;
  return `Mean latency ${milliseconds(total.mean)} = ${parts} (${tails})`;
}

export function describeReasons({ reasons, batches }: Figures): string {
  if (batches === 0) return 'Why batches left: no batch';
  const shares = REASONS.flatMap((_, reason) => {
    const count = reasons[reason] ?? 0;
    return count > 0 ? [`${REASON_WORDS[reason] ?? ''} ${percent(count / batches)}`] : [];
  });
  return `Why batches left: ${shares.join(', ')}`;
}

export function perSecond(count: number, span: number): number {
  return span > 0 ? (1000 * count) / span : 0;
}
