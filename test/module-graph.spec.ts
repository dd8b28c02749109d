import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';

/** The built library, where an `import` is one that loads: the compiler drops those of types alone. */
const root = fileURLToPath(new URL('../dist/libs/batching', import.meta.url));

const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.js'));

/** For each module of the library, those that it loads, by their paths in the library. */
const imports = new Map(
  files.map((file) => {
    const source = readFileSync(join(root, file), 'utf8');
    const found = source.matchAll(/^(?:import|export)\b[^;']*'(\.[^']+)';$|\bimport\('(\.[^']+)'\)/gm);
    const paths = [...found].map(([, path = '', dynamic = '']) => join(dirname(file), path || dynamic));
    return [file, paths] as const;
  }),
);

/** All that a module loads, directly or through others, with itself. */
function loadedBy(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const path of imports.get(file) ?? []) loadedBy(path, seen);
  return seen;
}

const isWorker = (file: string) => /^(inference|tfjs)\/worker\//.test(file);

describe('the modules of the built library', () => {
  it('are found, with what they load', () => {
    expect([...imports.values()].flat().filter((path) => !files.includes(path))).toEqual([]);
    expect([...loadedBy('tfjs/tfjs.module.js')]).toContain('inference/main/inference-thread.js');
    expect([...loadedBy('tfjs/worker/tfjs-worker.js')].filter(isWorker).length).toBeGreaterThan(3);
  });

  it('load nothing of the inference worker in the main thread', () => {
    const main = files.filter((file) => /^(inference\/(main|protocol)\/|tfjs\/[^/]*$|index\.js$)/.test(file));
    expect(main.filter((file) => [...loadedBy(file)].some(isWorker))).toEqual([]);
  });

  it('load nothing of the main thread in the inference worker', () => {
    const loaded = files.filter(isWorker).flatMap((file) => [...loadedBy(file)]);
    expect(loaded.filter((file) => /^(inference\/main\/|nest\/|tfjs\/tfjs\.)/.test(file))).toEqual([]);
  });

  it('load the core without Nest, and no command', () => {
    const core = files.filter((file) => file.startsWith('core/')).flatMap((file) => [...loadedBy(file)]);
    expect(core.filter((file) => !file.startsWith('core/'))).toEqual([]);
    const others = files.filter((file) => !/^(cli|link)\//.test(file)).flatMap((file) => [...loadedBy(file)]);
    expect(others.filter((file) => /^(cli|link)\//.test(file))).toEqual([]);
  });

  it('have no circles', () => {
    const circles = files.filter((file) =>
      (imports.get(file) ?? []).some((path) => loadedBy(path).has(file)),
    );
    expect(circles).toEqual([]);
  });
});
