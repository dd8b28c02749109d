import type { Batched } from 'nest-batching';
import type { RaceLanes } from './race-lanes.js';

/** Milliseconds that a lane runs before its time begins, so that neither is the one that warms up the other. */
export const WARM_UP = 250;
/** The same of the first lane after the start of the server, while V8 compiles: it read half as many digits as in the next race. */
export const FIRST_WARM_UP = 2000;
/** Milliseconds that a lane is measured. */
export const TIME = 2000;
/** Milliseconds between two records. */
export const STEP = 20;
/** Milliseconds between two reports of how far it is. */
const REPORT = 100;

/** What came of one lane. */
export interface LaneResult {
  batchSize: number;
  /** Digits that were read within the time. */
  digits: number;
  /** Digits per second. */
  rate: number;
  /** Digits in a batch, on average. */
  meanBatch: number;
  /** Digits that had been read after each step of the time. */
  read: number[];
}

export interface LaneOptions {
  lane: Batched<RaceLanes>['batched'];
  pictures: readonly Uint8Array[];
  /** Virtual callers; each sends its next digit when it has the answer to the one before. */
  callers: number;
  /** Milliseconds before its time begins. */
  warmUp: number;
  signal: AbortSignal;
  /** Called with the milliseconds that are over, and the digits read in them. */
  onProgress: (elapsed: number, digits: number) => void;
}

/** Has the callers send for the time of a lane, and records when their answers come. */
export async function runLane({
  lane,
  pictures,
  callers,
  warmUp,
  signal,
  onProgress,
}: LaneOptions): Promise<LaneResult> {
  /** When each digit was read. */
  const times: number[] = [];
  const batches = { count: 0, inputs: 0 };
  const start = performance.now() + warmUp;
  const elapsed = () => performance.now() - start;
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const stopListening = lane.queue.onBatch(({ size }) => {
    const time = elapsed();
    if (time < 0 || time >= TIME) return;
    batches.count++;
    batches.inputs += size;
  });
  const report = setInterval(() => {
    onProgress(Math.min(TIME, Math.max(0, elapsed())), times.length);
  }, REPORT);
  const calls = Array.from({ length: callers }, async (_, caller) => {
    const own = pictures.filter((__, index) => index % callers === caller);
    for (;;) {
      for (const picture of own) {
        await lane(picture, { signal: either });
        const time = elapsed();
        if (time >= TIME) return;
        if (time >= 0) times.push(time);
      }
    }
  });
  try {
    await Promise.all(calls);
  } catch (error) {
    // The others would go on to the end of the time.
    failed.abort(error);
    await Promise.allSettled(calls);
    throw error;
  } finally {
    clearInterval(report);
    stopListening();
  }
  return {
    batchSize: lane.queue.batchSize,
    digits: times.length,
    rate: (1000 * times.length) / TIME,
    meanBatch: batches.count === 0 ? 0 : batches.inputs / batches.count,
    read: countAtSteps(times),
  };
}

/** @param times in ascending order */
function countAtSteps(times: readonly number[]): number[] {
  let count = 0;
  return Array.from({ length: TIME / STEP }, (_, step) => {
    const end = (step + 1) * STEP;
    for (let time = times[count]; time !== undefined && time < end; time = times[count]) count++;
    return count;
  });
}
