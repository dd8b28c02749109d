import { setTimeout } from 'node:timers/promises';
import type { BatchFunction } from 'nest-batching';

/**
 * Makes a batch function run again, at most `attempts` times in all, while it fails with an error that may pass.
 * Between two runs it waits up to 20 ms, 40 ms, 80 ms …, by chance, so that several servers do not come back together.
 */
export function retry<Input, Result>(
  attempts: number,
  mayPass: (error: unknown) => boolean,
  run: BatchFunction<Input, Result>,
): BatchFunction<Input, Result> {
  return async (inputs, batch) => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await run([...inputs], batch);
      } catch (error) {
        if (attempt === attempts || !mayPass(error) || batch.signal.aborted) throw error;
        await setTimeout(Math.random() * 10 * 2 ** attempt);
      }
    }
  };
}
