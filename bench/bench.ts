import { availableParallelism, cpus } from 'node:os';
import { benchAutoscale } from './autoscale.js';
import { benchCompare } from './compare.js';
import { benchEvents } from './events.js';
import { benchHttp } from './http.js';
import { benchInference, inferenceBackends } from './inference.js';
import { benchLookup } from './lookup.js';
import { benchMicrophones } from './microphones.js';
import { benchQueue } from './queue.js';
import { benchRealtime } from './realtime.js';
import { benchReliability } from './reliability.js';
import { benchScheduling } from './scheduling.js';
import { benchServing, servingOptions } from './serving.js';
import { benchSoak } from './soak.js';
import { benchStreams } from './streams.js';
import { benchTransports } from './transports.js';

/**
 * `npm run bench [queue] [events] [soak] [http [quick]] [lookup] [scheduling] [realtime [quick]] [inference [quick] [backend…]]
 * [serving] [autoscale [quick]] [transports [quick | long]] [reliability [quick]] [streams [quick]] [microphones [quick]]`: what a queue costs per
 * input, what it leaves behind after ten million, what it does for HTTP traffic and for a database, how well batches are
 * timed, in a simulation and in real time, what networks give on each backend (or on those that are named), and what is left of it
 * over HTTP, and what rules for the number of replicas miss and cost, and what inputs cost between processes,
 * what is lost in ten minutes of everything that goes wrong,
 * what streams whose steps share batches write, and how many microphones are heard in real time. `quick`: too little to judge by, to see that it works. Every
 * table compares in one run, checks the results it got, and ends with ratios. `npm run bench compare <commit>` compares this
 * working tree with a commit: `compare.ts`.
 */
const [first, ...others] = process.argv.slice(2);
console.log(
  `Node ${process.version}, ${availableParallelism()} cores, ${cpus()[0]?.model ?? 'unknown processor'}`,
);
if (first === 'compare') await benchCompare(others);
else await bench(process.argv.slice(2));

async function bench(names: readonly string[]): Promise<void> {
  const backends = inferenceBackends.filter((backend) => names.includes(backend));
  const quick = names.includes('quick');
  const benches = {
    queue: benchQueue,
    events: benchEvents,
    soak: benchSoak,
    http: () => benchHttp(quick),
    lookup: benchLookup,
    scheduling: benchScheduling,
    realtime: () => benchRealtime(quick),
    inference: () => {
      const byDefault = quick ? ['onnx-cpu', 'wasm'] : inferenceBackends;
      return benchInference(backends.length > 0 ? backends : byDefault, quick);
    },
    autoscale: () => benchAutoscale(quick),
    serving: () => benchServing(names),
    reliability: () => benchReliability(quick),
    transports: () => benchTransports(quick ? 'quick' : names.includes('long') ? 'long' : 'usual'),
    streams: () => benchStreams(quick),
    microphones: () => benchMicrophones(quick),
  };
  const known = [
    ...Object.keys(benches),
    ...(names.includes('inference') ? inferenceBackends : []),
    ...(names.includes('serving') ? servingOptions : []),
    ...([
      'http',
      'realtime',
      'inference',
      'autoscale',
      'transports',
      'reliability',
      'streams',
      'microphones',
    ].some((name) => names.includes(name))
      ? ['quick']
      : []),
    ...(names.includes('transports') ? ['long'] : []),
  ];
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    console.error(
      `no such bench: ${unknown.join(', ')}; expected some of: ${known.join(', ')}, or compare <commit>`,
    );
    process.exitCode = 1;
    return;
  }
  for (const [name, run] of Object.entries(benches)) {
    if (names.length === 0 || names.includes(name)) await run();
  }
}
