import { pathToFileURL } from 'node:url';
import type * as Library from 'nest-batching';
import { measureBacklog, measureHttp, runs, square } from './loads.js';
import { median } from './table.js';

/** What a side of a comparison has reached in one row: million items per second of CPU time, or requests/s. */
export interface SideMessage {
  readonly row: string;
  readonly rate: number;
}

/** Measured in a process of its own for every side and round: what a compiler makes of the same code differs by process. */
const [built = '', kind, quick] = process.argv.slice(2);
const { BatchQueue } = (await import(pathToFileURL(built).href)) as typeof Library;
/** All that a queue costs in the process is CPU time; unlike the time that passes, it leaves out other programs. */
const cpuTime = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const report = (message: SideMessage) => process.send?.(message);

if (kind === 'queue') {
  for (const backlog of quick ? [64, 6_400] : [64, 640, 6_400, 64_000]) {
    const rates: number[] = [];
    // The first two warm the compiler up.
    for (let time = -2; time < 3; time++) {
      const queue = new BatchQueue(square, { batchSize: 64, maxDelay: 1, maxQueued: Infinity });
      const rate = await measureBacklog((input) => queue.submit(input), backlog, cpuTime);
      if (time >= 0) rates.push(rate);
    }
    report({ row: `backlog ${backlog}`, rate: median(rates) });
  }
} else {
  for (const [name, run] of Object.entries(runs)) {
    for (const clients of quick ? [8] : [1, 8, 32, 64]) {
      const { perSecond } = await measureHttp(
        (counted) => {
          const queue = new BatchQueue(counted, { batchSize: 32, maxDelay: 10 });
          return (input) => queue.submit(input);
        },
        run,
        clients,
      );
      report({ row: `${name}, ${clients} client${clients > 1 ? 's' : ''}`, rate: perSecond });
    }
  }
}
process.disconnect();
