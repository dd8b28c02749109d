import type { BatchFunction } from '../batch-function.js';
import type { Clock } from '../clock.js';
import { checked } from './checked.js';
import { isolating } from './isolating.js';
import type { Run } from './run.js';
import { TimeLimit } from './time-limited.js';

interface LayerOptions {
  /** The queue's, for messages. */
  readonly name: string;
  readonly runTimeout: number;
  readonly isolateErrors: boolean;
}

/**
 * The batch function in its layers, from the inside: what it returns is checked; each run has its time limit; a run that
 * fails is searched for the inputs at fault, by runs that have a limit each.
 */
export function inLayers<Input, Result>(
  batchFunction: BatchFunction<Input, Result>,
  { name, runTimeout, isolateErrors }: LayerOptions,
  clock: Clock,
): { run: Run<Input>; timeLimit: TimeLimit } {
  const timeLimit = new TimeLimit(name, runTimeout, clock);
  const limited = timeLimit.layer(checked(batchFunction, name));
  return { run: isolateErrors ? isolating(limited) : limited, timeLimit };
}
