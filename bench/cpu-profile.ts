import type { Profiler } from 'node:inspector';
import { Session } from 'node:inspector/promises';

type Frame = Profiler.ProfileNode['callFrame'];

/** Where a function of the demo's main thread belongs, in the order of a request's way. */
interface Group {
  name: string;
  /** By the file it stands in. */
  file?: RegExp;
  /** Of those, only the functions of these names. V8's own functions have no file, and Node's have one that begins with `node:`. */
  functions?: RegExp;
}

/** What is no part of the load. */
export const OUTSIDE = 'idle, profiler';
/** What no group is known for. */
const REST = 'native code and the rest';

/** The first that fits counts. */
export const groups: readonly Group[] = [
  { name: 'garbage collection', file: /^$/, functions: /^\(garbage collector\)$/ },
  { name: OUTSIDE, file: /^$/, functions: /^\(idle\)$/ },
  // The profiler's own start and end, and the talk with the bench.
  { name: OUTSIDE, file: /^node:(inspector|internal\/(inspector|child_process))/ },
  { name: 'parse', file: /\/digit-pipes\.js$/, functions: /^(parseJson|checkText)$/ },
  { name: 'validate', file: /\/digit-pipes\.js$/ },
  { name: 'model: hand over, split', file: /\/libs\/batching\/.*\/?(inference|tfjs|onnx)\// },
  { name: 'model: hand over, split', file: /^node:internal\/worker/ },
  { name: 'queue', file: /\/libs\/batching\// },
  { name: 'serialise', file: /\/express\/lib\/response\.js$/, functions: /^(json|stringify)$/ },
  { name: 'serialise', file: /\/fastify\/lib\/reply\.js$/, functions: /serialize/i },
  { name: 'serialise', file: /^$/, functions: /^stringify$/ },
  { name: 'serialise: ETag of Express', file: /\/node_modules\/etag\/|\/express\/lib\/utils\.js$/ },
  { name: 'own code: result, signal', file: /\/apps\/demo-api\// },
  {
    name: 'read the body',
    file: /\/node_modules\/(raw-body|body-parser)\/|\/serving\/src\/body-limits\.js$/,
  },
  { name: 'read the body', file: /\/fastify\/lib\/content-?type-?parser\.js$/i },
  { name: 'bounds, headers, shutdown', file: /\/libs\/serving\/|\/node_modules\/helmet\// },
  {
    name: 'HTTP and sockets of Node',
    file: /^node:(_http|_stream|net$|internal\/(streams|stream_base|http))/,
  },
  { name: 'HTTP and sockets of Node', file: /^$/, functions: /^(write|shutdown|execute|consume|readSt)/ },
  { name: 'framework: Nest', file: /\/node_modules\/(@nestjs|rxjs|reflect-metadata)\// },
  { name: 'framework: Express or Fastify', file: /\/node_modules\// },
];

/** In the order of a request's way. */
export const GROUPS: readonly string[] = [
  'HTTP and sockets of Node',
  'bounds, headers, shutdown',
  'framework: Express or Fastify',
  'framework: Nest',
  'read the body',
  'parse',
  'validate',
  'own code: result, signal',
  'queue',
  'model: hand over, split',
  'serialise',
  'serialise: ETag of Express',
  'garbage collection',
  REST,
];

/** Profiles of this process' main thread, summed by groups. */
export class CpuProfile {
  readonly #session = new Session();

  async start(): Promise<void> {
    this.#session.connect();
    await this.#session.post('Profiler.enable');
    await this.#session.post('Profiler.setSamplingInterval', { interval: 250 });
    await this.#session.post('Profiler.start');
  }

  /** @returns milliseconds by group, what is no part of the load as `OUTSIDE` */
  async stop(): Promise<Record<string, number>> {
    const { profile } = await this.#session.post('Profiler.stop');
    this.#session.disconnect();
    return sumUp(profile);
  }
}

/** Each sample counts for the innermost function whose group is known, so what a group calls in Node counts for the group. */
export function sumUp({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): Record<string, number> {
  const parents = new Map<number, Profiler.ProfileNode>();
  for (const node of nodes) for (const child of node.children ?? []) parents.set(child, node);
  const byNode = new Map(
    nodes.map((node) => {
      let at: Profiler.ProfileNode | undefined = node;
      let name: string | undefined;
      for (; at && name === undefined; at = parents.get(at.id)) name = groupOf(at.callFrame);
      return [node.id, name ?? REST];
    }),
  );
  const sums: Record<string, number> = {};
  samples.forEach((id, i) => {
    const name = byNode.get(id) ?? REST;
    sums[name] = (sums[name] ?? 0) + (timeDeltas[i] ?? 0) / 1000;
  });
  return sums;
}

function groupOf({ url, functionName }: Frame): string | undefined {
  return groups.find(
    ({ file, functions }) => (file?.test(url) ?? true) && (functions?.test(functionName) ?? true),
  )?.name;
}
