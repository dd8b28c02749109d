import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { published } from '../scripts/published.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const built = join(root, 'dist/libs/batching');

const run = async (program: string, ...args: string[]): Promise<string> => {
  const { stdout } = await promisify(execFile)(program, args, { cwd: root, maxBuffer: 2 ** 24 });
  return stdout;
};
const bin = (name: string) => join(root, 'node_modules/.bin', name);

/** The tarball as `npm publish` would send it. */
describe('the tarball of nest-batching', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nest-batching-packed-'));
  let tarball: string;
  let files: string[];

  beforeAll(async () => {
    const packed = await run('npm', 'pack', built, '--json', '--pack-destination', folder);
    const [{ filename, files: all }] = JSON.parse(packed) as [
      { filename: string; files: { path: string }[] },
    ];
    tarball = join(folder, filename);
    files = all.map(({ path }) => path);
  });

  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  it('is as small as the README says', () => {
    const readme = readFileSync(join(root, 'README.md'), 'utf8');
    const said = Number(/at most (\d+) kB packed/.exec(readme)?.[1]);
    expect(statSync(tarball).size / 1000).toBeLessThan(said);
  });

  it('has the licence, the README and the changes, and neither tests nor maps without their sources', () => {
    expect(files).toEqual(expect.arrayContaining(['LICENSE', 'README.md', 'CHANGELOG.md', 'package.json']));
    expect(files.filter((file) => /\.(spec|fixture)\.|\.map$|\.tsbuildinfo$/.test(file))).toEqual([]);
    const mapped = files.filter(
      (file) => file.endsWith('.js') && readFileSync(join(built, file), 'utf8').includes('sourceMappingURL'),
    );
    expect(mapped).toEqual([]);
  });

  it('is found with its types by every way of resolving modules', async () => {
    const { problems } = JSON.parse(await run(bin('attw'), tarball, '--format', 'json')) as {
      problems?: object;
    };
    expect(problems ?? {}).toEqual({});
  });

  it('is what publint expects of a package', async () => {
    expect(await run(bin('publint'), tarball, '--strict')).toContain('All good!');
  });

  it('declares what etc/ says; npm run api writes that anew', async () => {
    expect(await run(bin('tsx'), 'scripts/api-report.ts', '--check')).toBe('');
    // The compiler runs once for each entry point.
  }, 120_000);
});

// Never where it could release something.
(published.repositoryUrl === '' ? it : it.skip)(
  'npm run release refuses while the repository has no address',
  async () => {
    await expect(run(bin('tsx'), 'scripts/release.ts')).rejects.toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('cannot be released: scripts/published.ts has no repositoryUrl'),
    });
  },
);
