import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

const built = fileURLToPath(new URL('../dist/libs/batching', import.meta.url));

/** The package as it would be published, from a project that has it in its node_modules. */
describe('the package nest-batching', () => {
  let project: string;

  beforeAll(async () => {
    project = await mkdtemp(join(tmpdir(), 'nest-batching-'));
    await mkdir(join(project, 'node_modules'));
    await symlink(built, join(project, 'node_modules', 'nest-batching'));
  });

  afterAll(() => rm(project, { recursive: true }));

  const run = async (program: string): Promise<unknown> => {
    const args = ['--input-type=module', '--eval', program];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: project });
    return JSON.parse(stdout) as unknown;
  };

  it('gives its public names', async () => {
    expect(
      await run(`console.log(JSON.stringify(Object.keys(await import('nest-batching')).sort()))`),
    ).toEqual(
      [
        ...['BatchQueue', 'BatchResultError', 'BatchTimeoutError', 'BatchedService', 'BatchingError'],
        ...['BatchingExceptionFilter', 'BatchingModule', 'BatchingRegistry', 'InjectBatched'],
        ...[
          'DeadlineError',
          'InputCostError',
          'Lane',
          'QueueFullError',
          'SerialService',
          'ServiceStoppedError',
          'TooManyInputsError',
          'asBatchedService',
          'asService',
        ],
        'getBatchedToken',
      ].sort(),
    );
  });

  it('loads no TensorFlow for the queue alone', async () => {
    const program = `
      import { register } from 'node:module';
      register('data:text/javascript,export async function resolve(specifier, context, next) {' +
        'if (specifier.includes("tensorflow")) throw new Error(specifier); return next(specifier, context) }');
      const { asBatchedService } = await import('nest-batching');
      const square = asBatchedService(3, 1)((xs) => xs.map((x) => x * x));
      console.log(JSON.stringify(await Promise.all([0, 1, 2, 3].map((x) => square(x)))));`;
    expect(await run(program)).toEqual([0, 1, 4, 9]);
  });

  it('gives the names of nest-batching/tfjs, and no others', async () => {
    expect(await run(`console.log(JSON.stringify(Object.keys(await import('nest-batching/tfjs'))))`)).toEqual(
      expect.arrayContaining(['TfjsModule', 'InjectTfjsModel', 'InjectModel', 'TfjsModel']),
    );
    await expect(run(`await import('nest-batching/core/batch-queue.js')`)).rejects.toThrow(
      'ERR_PACKAGE_PATH_NOT_EXPORTED',
    );
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
});
