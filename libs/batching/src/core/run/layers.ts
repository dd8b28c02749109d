import type { KeyedBatchFunction } from '../batch-function.js';
import type { Clock } from '../clock.js';
import { checked, type CheckOptions } from './checked.js';
import { isolating } from './isolating.js';
import type { Run } from './run.js';
import { TimeLimit } from './time-limited.js';

interface LayerOptions extends CheckOptions {
  readonly runTimeout: number;
  readonly isolateErrors: boolean;
}

/**
 * Wraps the batch function. From the inside out: its results are checked; each run has the time limit
 * `runTimeout`; if a run fails, `isolateErrors` searches for the inputs at fault, by runs with a time limit
 * each.
 */
export function inLayers<Input, Result>(
  batchFunction: KeyedBatchFunction<Input, Result>,
  options: LayerOptions,
  clock: Clock,
): { run: Run<Input>; timeLimit: TimeLimit } {
  const { name, runTimeout, isolateErrors } = options;
  const timeLimit = new TimeLimit(name, runTimeout, clock);
  const limited = timeLimit.layer(checked(batchFunction, options));
  return { run: isolateErrors ? isolating(limited) : limited, timeLimit };
}
