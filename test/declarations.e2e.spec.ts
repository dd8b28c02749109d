import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What a team's own library exports. All types in its declarations must have names that it can import. */
const source = `
import { applyDecorators, SetMetadata } from '@nestjs/common';
import {
  asBatchedService, asService, BatchedService, BatchingModule, BatchQueue, getBatchedToken, InjectBatched, Lane, SerialService,
} from 'nest-batching';

export class Classifier { async classify(images: readonly string[]) { return images.map((image) => image.length); } }
export const OnGpu = () => BatchedService(64, 5, { concurrency: 2 });
export const OnDevice = () => SerialService();
export const Audited = () => applyDecorators(BatchedService(8, 2), SetMetadata('audited', true));
export const InjectClassifier = () => InjectBatched(Classifier);
export const classifierToken = getBatchedToken(Classifier);
export const square = asBatchedService(3, 100)(async (xs: number[]) => xs.map((x) => x * x));
export const batched = asBatchedService(3, 100);
export const load = asService()(async (path: string) => path.length);
export const queue = new BatchQueue((xs: number[]) => xs.map(String), { batchSize: 1, maxDelay: 0, lane: new Lane() });
export const stats = () => queue.stats();
export const listen = () => queue.onBatch((report) => report);
export const batching = BatchingModule.forRoot({ defaults: { concurrency: 2 } });
`;

describe('the declarations of a library that builds on this one', () => {
  let folder: string;
  const written = new Map<string, string>();
  let diagnostics: string[];

  beforeAll(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), 'nest-batching-declarations-')));
    const modules = join(folder, 'node_modules');
    await mkdir(modules);
    await cp(join(root, 'dist/libs/batching'), join(modules, 'nest-batching'), { recursive: true });
    for (const name of ['@nestjs', '@types', 'rxjs', 'reflect-metadata']) {
      await symlink(join(root, 'node_modules', name), join(modules, name));
    }
    await writeFile(join(folder, 'package.json'), '{ "name": "library", "type": "module" }');
    const file = join(folder, 'library.ts');
    const options: ts.CompilerOptions = {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      strict: true,
      declaration: true,
      emitDeclarationOnly: true,
      experimentalDecorators: true,
      types: ['node'],
      typeRoots: [join(modules, '@types')],
      outDir: join(folder, 'out'),
    };
    const host = ts.createCompilerHost(options);
    const readFile = host.readFile.bind(host);
    const fileExists = host.fileExists.bind(host);
    host.readFile = (path) => (path === file ? source : readFile(path));
    host.fileExists = (path) => path === file || fileExists(path);
    host.writeFile = (path, text) => written.set(path, text);
    host.getCurrentDirectory = () => folder;
    const program = ts.createProgram([file], options, host);
    const emitted = program.emit();
    diagnostics = [...ts.getPreEmitDiagnostics(program), ...emitted.diagnostics].map(({ messageText }) =>
      ts.flattenDiagnosticMessageText(messageText, '\n'),
    );
  }, 120_000);

  afterAll(() => rm(folder, { recursive: true }));

  it('compile: own decorators, applyDecorators(), exported services, queues and modules', () => {
    expect(diagnostics).toEqual([]);
  });

  it('name only what this package exports', () => {
    const text = written.get(join(folder, 'out/library.d.ts')) ?? '';
    expect(text).toContain('OnGpu');
    const names = Array.from(text.matchAll(/["'](nest-batching[^"']*)["']/g), ([, name]) => name);
    expect(new Set(names)).toEqual(new Set(['nest-batching']));
    expect(text).not.toContain('node_modules');
  });

  it('of the package can be read by compilers before 5.7, whose typed arrays take no parameter', () => {
    const dist = join(root, 'dist/libs/batching');
    const files = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((file) =>
      file.endsWith('.d.ts'),
    );
    expect(files.length).toBeGreaterThan(50);
    const found = files.filter((file) =>
      /\b[A-Z]\w+\d+(?:Clamped)?Array</.test(readFileSync(join(dist, file), 'utf8')),
    );
    expect(found).toEqual([]);
  });
});
