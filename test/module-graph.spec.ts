import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { published } from '../scripts/published.js';

/** The built library, where an `import` is one that loads: the compiler drops those of types alone. */
const built = fileURLToPath(new URL('../dist/libs/batching', import.meta.url));

const isWorker = (file: string) => /^(inference|tfjs|onnx)\/worker\//.test(file);
const isCommand = (file: string) => /^(cli|link)\//.test(file);

/** What an entry point loads beyond Node's own modules; what it needs later, it loads when it is used. */
const packages: Partial<Record<string, string[]>> = {
  '.': ['@nestjs/common', '@nestjs/core', 'rxjs'],
  core: [],
  testing: [],
  tfjs: ['@nestjs/common', '@nestjs/core'],
  onnx: ['@nestjs/common', '@nestjs/core'],
  redis: ['ioredis', 'msgpackr'],
  nats: ['@nats-io/jetstream', '@nats-io/transport-node', 'msgpackr'],
  prometheus: ['@nestjs/common', '@nestjs/core', 'prom-client'],
  opentelemetry: ['@nestjs/common', '@nestjs/core', '@opentelemetry/api'],
  terminus: ['@nestjs/common', '@nestjs/core', '@nestjs/terminus'],
  dashboard: ['@nestjs/common'],
};

describe.each([
  {
    format: 'ES modules',
    folder: '.',
    loads: /^(?:import|export)\b(?:[^;']*\bfrom)? '([^']+)';$|\bimport\('([^']+)'\)/gm,
  },
  { format: 'CommonJS modules', folder: 'cjs', loads: /\brequire\("([^"]+)"\)|\bimport\("([^"]+)"\)/g },
])('the $format of the built library', ({ folder, loads }) => {
  const root = join(built, folder);
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.js') && !file.startsWith('cjs/'),
  );

  /** For each module of the library, what it loads: its modules by their paths in the library, and the packages. */
  const imports = new Map(
    files.map((file) => {
      const found = [...readFileSync(join(root, file), 'utf8').matchAll(loads)];
      const own = found.map(([, fixed = '', dynamic = '']) => fixed || dynamic);
      const others = found.map(([, fixed = '']) => fixed);
      return [
        file,
        {
          own: own.filter((path) => path.startsWith('.')).map((path) => join(dirname(file), path)),
          packages: others.filter((path) => path !== '' && !/^(\.|node:)/.test(path)),
        },
      ] as const;
    }),
  );

  /** All that a module loads, directly or through others, with itself. */
  function loadedBy(file: string, seen = new Set<string>()): Set<string> {
    if (seen.has(file)) return seen;
    seen.add(file);
    for (const path of imports.get(file)?.own ?? []) loadedBy(path, seen);
    return seen;
  }

  it('are found, with what they load', () => {
    expect([...imports.values()].flatMap(({ own }) => own).filter((path) => !files.includes(path))).toEqual(
      [],
    );
    expect([...loadedBy('tfjs/tfjs.module.js')]).toContain('inference/main/inference-thread.js');
  });

  it.each(['.', ...published.entryPoints])('load for the entry point %s these packages alone', (entry) => {
    const loaded = [...loadedBy(join(entry, 'index.js'))];
    expect(loaded.length).toBeGreaterThan(1);
    const found = new Set(loaded.flatMap((file) => imports.get(file)?.packages ?? []));
    expect([...found].sort()).toEqual(packages[entry]);
  });

  it('load nothing of the inference worker in the main thread', () => {
    const main = files.filter((file) =>
      /^(inference\/(main|protocol)\/|(tfjs|onnx)\/[^/]*$|index\.js$)/.test(file),
    );
    expect(main.filter((file) => [...loadedBy(file)].some(isWorker))).toEqual([]);
  });

  it('load nothing of another runtime', () => {
    for (const [runtime, other] of [
      ['tfjs', 'onnx'],
      ['onnx', 'tfjs'],
    ] as const) {
      const loaded = files
        .filter((file) => file.startsWith(`${runtime}/`))
        .flatMap((file) => [...loadedBy(file)]);
      expect(loaded.filter((file) => file.startsWith(`${other}/`))).toEqual([]);
    }
  });

  it('load the core without Nest, and no command', () => {
    const core = files.filter((file) => file.startsWith('core/')).flatMap((file) => [...loadedBy(file)]);
    expect(core.filter((file) => !file.startsWith('core/'))).toEqual([]);
    const others = files.filter((file) => !isCommand(file)).flatMap((file) => [...loadedBy(file)]);
    expect(others.filter(isCommand)).toEqual([]);
  });

  it('have no circles', () => {
    const circles = files.filter((file) =>
      (imports.get(file)?.own ?? []).some((path) => loadedBy(path).has(file)),
    );
    expect(circles).toEqual([]);
  });

  // What is started by its path, workers and the command, is there once, as ES modules.
  if (folder === '.') {
    it('load nothing of the main thread in the inference worker', () => {
      const loaded = files.filter(isWorker).flatMap((file) => [...loadedBy(file)]);
      expect(
        loaded.filter((file) => /^(inference\/main\/|nest\/|tfjs\/tfjs\.|onnx\/onnx[.-]m)/.test(file)),
      ).toEqual([]);
      for (const worker of ['tfjs/worker/tfjs-worker.js', 'onnx/worker/onnx-worker.js']) {
        expect([...loadedBy(worker)].filter(isWorker).length).toBeGreaterThan(3);
      }
    });
  } else {
    it('have no file of a worker or the command', () => {
      expect(files.filter((file) => isWorker(file) || isCommand(file))).toEqual([]);
    });
  }
});
