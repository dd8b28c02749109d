import { performance } from 'node:perf_hooks';
import autocannon from 'autocannon';
import type { Digit } from '../apps/demo-api/src/digits/digit-classifier.js';
import { loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';

/** What the clients of the serving bench are asked to do, by a message from `serving.ts`. */
export interface Load {
  url: string;
  type: 'JSON' | 'bytes';
  /** Digits in each body. */
  digits: number;
  connections: number;
  /** Requests of a connection that are under way at the same time. */
  pipelining: number;
  /** How long answers are counted. */
  seconds: number;
  /** Whether the server reads the digits. If not, answers are looked at all the same, as that takes time too. */
  isRead: boolean;
}

/**
 * From the first answer until counting begins. Answers come in bursts, a batch at a time: a window that began with one would count
 * one too many.
 */
const RAMP_MS = 120;
/** Seconds after which a load ends although answers were counted for too short a time. */
const TIME_LIMIT = 20;

/** What they saw. */
export interface Seen {
  digitsPerSecond: number;
  /** Share of the time in which the clients' own event loop was busy: near 1, they are the limit. */
  busy: number;
  /** Whether answers came until the end. */
  isComplete: boolean;
  /** Requests that failed, and digits that were not read as what they are. */
  wrong: number;
}

/** A process of its own, so that the server has its event loop for itself. */
process.on('message', (load: Load) => {
  void run(load).then((seen) => process.send?.(seen));
});
process.once('disconnect', () => process.exit());

async function run({
  url,
  type,
  digits: size,
  isRead,
  connections,
  pipelining,
  seconds,
}: Load): Promise<Seen> {
  const first = await firstDigits();
  // autocannon copies all bodies for each connection: of large ones some have to do.
  const bodies = size === 1 ? first.length : 4;
  const starts = Array.from({ length: bodies }, (_, i) => (i * first.length) / bodies);
  let clients: autocannon.Instance | undefined;
  let [answers, wrong, from] = [0, 0, NaN];
  const requests = starts.map((start): autocannon.Request => {
    const digits = Array.from({ length: size }, (_, i) => first[(start + i) % first.length] ?? fail());
    return {
      method: 'POST',
      path: size === 1 ? '/digits' : '/digits/many',
      headers: { 'content-type': type === 'JSON' ? 'application/json' : 'application/octet-stream' },
      body: type === 'JSON' ? jsonOf(digits) : Buffer.concat(digits.map(({ pixels }) => pixels)),
      onResponse: (status, body) => {
        const now = performance.now();
        if (Number.isNaN(from)) from = now + RAMP_MS;
        if (now >= from + seconds * 1000) clients?.stop();
        else if (now >= from) answers++;
        if (status !== 200) {
          wrong += size;
          return;
        }
        const read = [JSON.parse(body) as Digit | Digit[]].flat();
        digits.forEach(({ label }, i) => {
          if (read[i]?.digit !== label && isRead) wrong++;
        });
      },
    };
  });
  const before = performance.eventLoopUtilization();
  const { errors, timeouts } = await new Promise<autocannon.Result>((resolve, reject) => {
    clients = autocannon(
      { url, connections, pipelining, duration: TIME_LIMIT, sampleInt: 50, requests },
      (error: Error | null, result) => {
        if (error) reject(error);
        else resolve(result);
      },
    );
  });
  return {
    digitsPerSecond: (answers * size) / seconds,
    busy: performance.eventLoopUtilization(before).utilization,
    isComplete: performance.now() >= from + seconds * 1000,
    wrong: wrong + errors + timeouts,
  };
}

/** Digits that the network reads right: it misreads none of the first hundred. */
async function firstDigits() {
  return (await loadTestDigits()).slice(0, 64);
}

function jsonOf(digits: readonly { pixels: Uint8Array }[]): string {
  const images = digits.map(({ pixels }) => [...pixels]);
  return JSON.stringify(images.length === 1 ? { pixels: images[0] } : { images });
}

function fail(): never {
  throw new Error('there are no such digits');
}
