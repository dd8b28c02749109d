/** What the sides of `transports.ts` share: the load, what is seen of it, and the settings. */

export const BATCH_SIZE = 32;
/** Milliseconds that an input of a batch that is not full waits at most. */
export const MAX_DELAY = 2;
/** What a model node has at most: `batchSize · (concurrency + 1)`. */
export const PREFETCH = 2 * BATCH_SIZE;
/** Milliseconds of silence after which a process counts as dead. */
export const REDELIVER_AFTER = 1_000;
/** Milliseconds after which an answer of a system without a timeout of its own counts as lost. */
export const LOST_AFTER = 5 * REDELIVER_AFTER;

export type Role = 'web' | 'model' | 'local';

/** How a process calls, or serves, what the systems compare. */
export interface System {
  /** @returns a function that sends one input and resolves with its answer */
  web(url: string): Promise<Call> | Call;
  /** Has inputs of the web processes run in batches from now on. */
  model(url: string, run: Run): Promise<void> | void;
}
export type Call = (input: Buffer) => Promise<number>;
/** The batch function: the number that each input begins with, after some milliseconds of sleep. */
export type Run = (inputs: readonly Uint8Array[]) => Promise<number[]>;

/** Callers who each send the next input of so many bytes when the answer is there, for so many milliseconds. */
export interface Load {
  callers: number;
  milliseconds: number;
  size: number;
}

export interface Seen {
  answers: number;
  wrong: number;
  /** Calls that ended with an error, by its code or name. */
  errors: Record<string, number>;
  /** Answers within the time; those after it come from fewer and fewer callers. */
  perSecond: number;
  /** Milliseconds. */
  p50: number;
  longest: number;
}

/** What a process has used and done since it started. */
export interface Usage {
  /** Milliseconds of CPU, of all threads. */
  cpu: number;
  batches: number;
  inputs: number;
}

export async function send(call: Call, { callers, milliseconds, size }: Load): Promise<Seen> {
  const latencies: number[] = [];
  const seen: Seen = { answers: 0, wrong: 0, errors: {}, perSecond: 0, p50: 0, longest: 0 };
  let next = 0;
  let inTime = 0;
  const end = performance.now() + milliseconds;
  const caller = async (): Promise<void> => {
    while (performance.now() < end) {
      const number = next++;
      const input = Buffer.alloc(size, 7);
      input.writeUInt32LE(number);
      const sent = performance.now();
      try {
        if ((await call(input)) === number) seen.answers++;
        else seen.wrong++;
      } catch (error) {
        const { code, name } = error as { code?: string; name?: string };
        const kind = code ?? name ?? String(error);
        seen.errors[kind] = (seen.errors[kind] ?? 0) + 1;
      }
      const answered = performance.now();
      if (answered <= end) inTime++;
      latencies.push(answered - sent);
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const sorted = latencies.toSorted((a, b) => a - b);
  return {
    ...seen,
    perSecond: inTime / (milliseconds / 1000),
    p50: sorted[sorted.length >> 1] ?? NaN,
    longest: sorted.at(-1) ?? NaN,
  };
}
