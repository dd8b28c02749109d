import { BadRequestException, NotFoundException } from '@nestjs/common';
import type { BatchQueue } from '../core/batch-queue.js';
import { show } from '../core/checks.js';
import type { Dispatch } from '../core/dispatch/dispatch-policy.js';
import { DISPATCHES, KNOBS, type Knobs, LIMITS } from './frame.js';

/** Settings of one queue that a viewer has asked for; what is missing stays as it is. */
export interface Change {
  readonly queue: string;
  /** `null` is no limit, here and below. */
  readonly batchSize?: number | null;
  readonly maxDelay?: number | null;
  readonly dispatch?: Dispatch;
}

/** The part of a queue that is changed. */
type Changeable = Pick<
  BatchQueue<unknown, unknown>,
  'hasBatches' | 'stats' | 'batchSize' | 'maxDelay' | 'setDispatch'
>;

/**
 * @param body of the request, parsed
 * @param initialOf returns the settings that a queue had at the start: what it had it may have again, beyond the limits too
 * @throws BadRequestException with what was expected and what came
 */
export function checkChange(body: unknown, initialOf: (queue: string) => Knobs | null = () => null): Change {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new BadRequestException(`expected a JSON object with queue and settings, got ${show(body)}`);
  }
  const { queue, ...settings } = body as Record<string, unknown>;
  if (typeof queue !== 'string') {
    throw new BadRequestException(`queue: expected the name of a queue, got ${show(queue)}`);
  }
  const names = Object.keys(settings);
  const unknown = names.find((name) => !(KNOBS as readonly string[]).includes(name));
  if (unknown !== undefined || names.length === 0) {
    throw new BadRequestException(
      `expected one or more of ${KNOBS.join(', ')}, got ${show(unknown ?? 'none')}`,
    );
  }
  const { batchSize, maxDelay, dispatch } = settings;
  const initial = initialOf(queue);
  const isOther = (name: 'batchSize' | 'maxDelay') => name in settings && settings[name] !== initial?.[name];
  const { least, most } = LIMITS.batchSize;
  if (isOther('batchSize') && !(Number.isInteger(batchSize) && isWithin(batchSize, LIMITS.batchSize))) {
    throw new BadRequestException(
      `batchSize: expected an integer of ${least} to ${most}, got ${show(batchSize)}`,
    );
  }
  if (isOther('maxDelay') && !isWithin(maxDelay, LIMITS.maxDelay)) {
    const { least, most } = LIMITS.maxDelay;
    throw new BadRequestException(
      `maxDelay: expected ${least} to ${most} milliseconds, got ${show(maxDelay)}`,
    );
  }
  if ('dispatch' in settings && !DISPATCHES.includes(dispatch as Dispatch)) {
    throw new BadRequestException(`dispatch: expected ${DISPATCHES.join(' or ')}, got ${show(dispatch)}`);
  }
  return body as Change;
}

/**
 * Changes the settings of a queue.
 *
 * @returns what has changed, for the log: `batchSize 64 → 32`
 * @throws NotFoundException if there is no such queue, BadRequestException if it has no such settings
 */
export function applyChange(queue: Changeable | undefined, change: Change): string[] {
  if (!queue) throw new NotFoundException(`no queue is called ${show(change.queue)}`);
  if (!queue.hasBatches) {
    const why = 'calls run one at a time, or on other nodes';
    throw new BadRequestException(`${change.queue} has no settings of batches here: its ${why}`);
  }
  const { options: before } = queue.stats();
  if (change.batchSize !== undefined) queue.batchSize = change.batchSize ?? Infinity;
  if (change.maxDelay !== undefined) queue.maxDelay = change.maxDelay ?? Infinity;
  if (change.dispatch !== undefined) queue.setDispatch(change.dispatch);
  const { options: after } = queue.stats();
  return KNOBS.filter((name) => before[name] !== after[name]).map(
    (name) => `${name} ${before[name]} → ${after[name]}`,
  );
}

function isWithin(value: unknown, { least, most }: { least: number; most: number }): boolean {
  return typeof value === 'number' && value >= least && value <= most;
}
