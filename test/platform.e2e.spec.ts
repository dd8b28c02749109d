import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';

const root = join(import.meta.dirname, '..');
const sources = join(root, 'libs/batching/src');

/** What holds on POSIX systems alone: folders of their root, users, paths of URLs as those of files, a shell. */
const POSIX_ONLY =
  /['"`]\/(?:bin|dev|etc|home|lib|proc|run|sys|tmp|usr|var)\b|\bget(?:e?[ug]id|groups)\b|\bumask\b|\.pathname\b|['"`]file:\/\/|\bposix\b|['"`](?:ba)?sh['"`]|\bmkfifo\b/;

describe('The library', () => {
  it('works on this platform', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      join(root, 'test/platform.mjs'),
      'wasm',
      'cpu',
    ]);
    const platform = `${process.platform} ${process.arch} ${process.version}: `;
    expect(stdout.trimEnd().split('\n')).toEqual(
      ['core', 'testing', 'Nest, ES modules', 'Nest, CommonJS', 'tfjs, wasm', 'tfjs, cpu'].map(
        (what) => platform + what,
      ),
    );
  });

  it('has no code that is for POSIX systems alone', () => {
    // The command link-tensorflow is for Linux and macOS, and says so on Windows. The next two look for CPUs and GPUs in
    // folders of Linux, and go on where there are none. The dashboard's page runs in a browser.
    const files = readdirSync(sources, { recursive: true, encoding: 'utf8' }).filter(
      (file) =>
        /(?<!\.spec|\.fixture)\.ts$/.test(file) &&
        !/^link\b|^dashboard.page\b|\busable-cpus\.ts$|\bstart-provider\.ts$/.test(file),
    );
    expect(files.length).toBeGreaterThan(50);
    const found = files.flatMap((file) =>
      readFileSync(join(sources, file), 'utf8')
        .split('\n')
        .flatMap((line, at) => (POSIX_ONLY.test(line) ? [`${file}:${at + 1}: ${line.trim()}`] : [])),
    );
    expect(found).toEqual([]);
  });
});
