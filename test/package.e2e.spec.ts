import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { published } from '../scripts/published.js';
import { publishedReadme } from '../scripts/published-readme.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const built = join(root, 'dist/libs/batching');

const namesOfCore = [
  ...['BatchQueue', 'BatchResultError', 'BatchTimeoutError', 'BatchingError', 'DeadlineError'],
  ...[
    'InputCostError',
    'Lane',
    'MissingResultError',
    'QueueFullError',
    'ServiceStoppedError',
    'SessionClosedError',
    'SessionFullError',
    'SessionInterruptedError',
    'TooManyInputsError',
  ],
  ...['asBatchedService', 'asService', 'createSession'],
];
const names = [
  ...namesOfCore,
  ...['BatchedService', 'BatchingExceptionFilter', 'BatchingModule', 'BatchingRegistry', 'InjectBatched'],
  ...[
    'NoNodeError',
    'PayloadError',
    'PayloadSizeError',
    'RedeliveryError',
    'RemoteError',
    'RemoteQueueError',
  ],
  ...['SerialService', 'TransportError', 'getBatchedToken'],
];

/** The package as it would be published, copied into the node_modules of a project that has little else there. */
describe('the package nest-batching', () => {
  let alone: string;
  let withNest: string;
  let withAll: string;

  beforeAll(async () => {
    alone = await makeProject();
    withNest = await makeProject('@nestjs', 'reflect-metadata', 'rxjs');
    const ofAll = ['prom-client', '@opentelemetry', 'ioredis', 'msgpackr', '@nats-io'];
    withAll = await makeProject('@nestjs', 'reflect-metadata', 'rxjs', ...ofAll);
  });

  afterAll(async () => {
    for (const project of [alone, withNest, withAll]) await rm(project, { recursive: true });
  });

  async function makeProject(...packages: string[]): Promise<string> {
    const project = await mkdtemp(join(tmpdir(), 'nest-batching-'));
    await mkdir(join(project, 'node_modules'));
    await cp(built, join(project, 'node_modules/nest-batching'), { recursive: true });
    for (const name of packages) {
      await symlink(join(root, 'node_modules', name), join(project, 'node_modules', name));
    }
    return project;
  }

  async function run(project: string, program: string, type = 'module'): Promise<unknown> {
    const args = [`--input-type=${type}`, '--eval', program];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: project });
    // Node 20 warns that `require` of an ES module, as all of Nest 12 is, is experimental.
    expect(
      stderr.replaceAll(
        /^\(.*(ExperimentalWarning: Support for loading ES Module|--trace-warnings).*\n/gm,
        '',
      ),
    ).toBe('');
    return JSON.parse(stdout) as unknown;
  }

  const formats = [
    { format: 'import', type: 'module', load: (name: string) => `await import('${name}')` },
    { format: 'require', type: 'commonjs', load: (name: string) => `require('${name}')` },
  ];

  describe.each(formats)('by $format', ({ type, load }) => {
    const namesOf = (project: string, name: string) =>
      run(project, `console.log(JSON.stringify(Object.keys(${load(name)}).sort()))`, type);

    it('gives its public names without TensorFlow or anything else that is optional', async () => {
      expect(await namesOf(withNest, 'nest-batching')).toEqual(names.sort());
    });

    it('gives the queue alone where there is no Nest', async () => {
      expect(await namesOf(alone, 'nest-batching/core')).toEqual(namesOfCore.sort());
      await expect(namesOf(alone, 'nest-batching')).rejects.toThrow("'@nestjs/common'");
    });

    it('gives the helpers of nest-batching/testing where there is neither Nest nor a test runner', async () => {
      expect(await namesOf(alone, 'nest-batching/testing')).toEqual(
        [
          ...['BatchInvariantError', 'ManualQueue', 'assertBatches', 'createTestBatched'],
          ...['MemoryBroker', 'MemoryTransport', 'memoryTransport'],
          ...['expectBatchInvariant', 'fakeBatched', 'fakeModel', 'recordBatches'],
        ].sort(),
      );
    });

    it('gives the names of nest-batching/tfjs without TensorFlow, and no others', async () => {
      expect(await namesOf(withNest, 'nest-batching/tfjs')).toEqual(
        expect.arrayContaining(['TfjsModule', 'InjectTfjsModel', 'InjectModel', 'TfjsModel']),
      );
      await expect(namesOf(withNest, 'nest-batching/core/batch-queue.js')).rejects.toThrow(
        'ERR_PACKAGE_PATH_NOT_EXPORTED',
      );
    });

    it('batches', async () => {
      const program = `
        const { asBatchedService } = ${load('nest-batching/core')};
        const square = asBatchedService(3, 1)((xs) => xs.map((x) => x * x));
        Promise.all([0, 1, 2, 3].map((x) => square(x))).then((squares) => console.log(JSON.stringify(squares)));`;
      expect(await run(alone, program, type)).toEqual([0, 1, 4, 9]);
    });
  });

  it('starts a web node without the model, a runtime for it and a broker that answers', async () => {
    const program = `
      await import('reflect-metadata');
      const { Module } = await import('@nestjs/common');
      const { NestFactory } = await import('@nestjs/core');
      const { BatchedService, BatchingModule, BatchingRegistry } = await import('nest-batching');
      const { InjectTfjsModel } = await import('nest-batching/tfjs');
      const { redisTransport } = await import('nest-batching/redis');
      class DigitClassifier {
        classify() { throw new Error('not here'); }
      }
      const { prototype } = DigitClassifier;
      BatchedService(4, 1)(prototype, 'classify', Object.getOwnPropertyDescriptor(prototype, 'classify'));
      InjectTfjsModel('digits')(DigitClassifier, undefined, 0);
      class WebNode {}
      const transport = redisTransport({ url: 'redis://127.0.0.1:1', awayTimeout: 100 });
      Module({ imports: [BatchingModule.forRoot({ transport, remote: [DigitClassifier] })] })(WebNode);
      const app = await NestFactory.createApplicationContext(WebNode, { logger: false });
      const registry = app.get(BatchingRegistry);
      const code = await registry.view(DigitClassifier).classify(1).catch((error) => error.code);
      const { connected } = registry.transport();
      await app.close();
      console.log(JSON.stringify({ queues: registry.list(), code, connected }));`;
    expect(await run(withAll, program)).toEqual({
      queues: ['DigitClassifier.classify'],
      code: 'ERR_BATCHING_TRANSPORT',
      connected: false,
    });
  });

  it('gives both formats the same names', async () => {
    const folders = ['.', ...published.entryPoints].map((folder) => `'${folder}'`).join(', ');
    const program = `
      const { createRequire } = await import('node:module');
      const { join } = await import('node:path');
      const require = createRequire(process.cwd() + '/index.js');
      const differing = [];
      for (const folder of [${folders}]) {
        const name = join('nest-batching', folder);
        const [first, second] = [await import(name), require(name)].map((each) => Object.keys(each).sort().join());
        if (first !== second) differing.push(name);
      }
      console.log(JSON.stringify(differing));`;
    expect(await run(withAll, program)).toEqual([]);
  });

  it('needs prom-client for nest-batching/prometheus alone', async () => {
    await expect(run(withNest, "await import('nest-batching/prometheus')")).rejects.toThrow("'prom-client'");
  });

  it('needs ioredis and msgpackr for nest-batching/redis alone', async () => {
    await expect(run(withNest, "await import('nest-batching/redis')")).rejects.toThrow("'ioredis'");
  });

  it('needs @nats-io and msgpackr for nest-batching/nats alone', async () => {
    await expect(run(withNest, "await import('nest-batching/nats')")).rejects.toThrow("'@nats-io/");
  });

  it.each(['module', 'commonjs'])('loads nest-batching/redis and nest-batching/nats as %s', async (type) => {
    const load = type === 'module' ? 'await import' : 'require';
    const program = ['redis', 'nats']
      .map((name) => `Object.keys(${load}('nest-batching/${name}'))`)
      .join(', ');
    expect(await run(withAll, `console.log(JSON.stringify([${program}]))`, type)).toEqual([
      ['redisTransport'],
      ['natsTransport'],
    ]);
  });

  it('has its command where npm looks for it, ready to be executed', async () => {
    const manifest = JSON.parse(await readFile(join(built, 'package.json'), 'utf8')) as {
      version: string;
      bin: Record<string, string>;
    };
    const command = join(built, manifest.bin['nest-batching'] ?? '');
    const { stdout } = await promisify(execFile)(command, ['--version']);
    expect(stdout).toBe(`${manifest.version}\n`);
  });

  it('has its entry points, the licence and the changes, and no address as long as it has none', async () => {
    const manifest = JSON.parse(await readFile(join(built, 'package.json'), 'utf8')) as {
      version: string;
      exports: object;
    };
    expect(Object.keys(manifest.exports)).toEqual([
      '.',
      ...published.entryPoints.map((name) => `./${name}`),
      './package.json',
    ]);
    for (const file of ['LICENSE', 'CHANGELOG.md', 'README.md']) {
      expect((await stat(join(built, file))).size).toBeGreaterThan(500);
    }
    const hasAddress = published.repositoryUrl !== '';
    for (const field of ['repository', 'homepage', 'bugs']) expect(field in manifest).toBe(hasAddress);
    expect(await readFile(join(built, 'README.md'), 'utf8')).toBe(
      publishedReadme(
        await readFile(join(root, 'README.md'), 'utf8'),
        published.repositoryUrl,
        manifest.version,
      ),
    );
  });

  it.each(['', 'https://example.org/owner/name'])(
    'has no relative link in its README (%p)',
    async (address) => {
      const readme = publishedReadme(await readFile(join(root, 'README.md'), 'utf8'), address, '1.2.3');
      const relative = [...readme.matchAll(/\]\((?!https?:|#)[^)]*\)|(?:src|srcset)="(?!https?:)[^"]*"/g)];
      expect(relative.map(([link]) => link)).toEqual([]);
      expect(readme).not.toContain('<!--');
      expect(readme.includes(`${address}/blob/v1.2.3/docs/contract.md`)).toBe(address !== '');
      expect(readme.includes(`${address}/raw/v1.2.3/docs/images/`)).toBe(address !== '');
    },
  );
});
