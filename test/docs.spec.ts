import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';

/**
 * The TypeScript of all documents, compiled as they show it, against the built library. What a block needs stands in it;
 * where that would hide the point, an HTML comment before the block says what else belongs to it:
 *
 *     <!-- compile: as quick-start -->      gives the block a name
 *     <!-- compile: after quick-start -->   compiles it behind the block of that name in the same document
 *     <!-- compile: as more, after quick-start -->
 *     <!-- compile: from src/games.ts -->   it is an excerpt of that file, which `npm run types` compiles
 *     <!-- compile: file src/main.ts -->    it is that whole file of the reader's own project, beside the document's other
 *                                           files; those of tests have the globals of Jest
 */
interface Snippet {
  readonly document: string;
  /** The number of its first line in the document. */
  readonly line: number;
  readonly code: string;
  readonly as?: string;
  readonly after?: string;
  readonly from?: string;
  readonly file?: string;
}

const root = fileURLToPath(new URL('..', import.meta.url));
const isDocument = (path: string) => path.endsWith('.md');
const documents = [
  ...readdirSync(root).filter(isDocument),
  ...['apps', 'docs', 'libs'].flatMap((folder) =>
    readdirSync(join(root, folder), { encoding: 'utf8', recursive: true })
      .filter(isDocument)
      .map((path) => join(folder, path)),
  ),
];
const snippets = documents.flatMap((document) =>
  snippetsOf(document, readFileSync(join(root, document), 'utf8')),
);
const globalsOfJest = ['describe', 'it', 'expect', 'beforeAll', 'afterAll']
  .map((name) => ` declare const ${name}: typeof import('@jest/globals').${name};`)
  .join('');
/** What the library and its peers declare, read once. */
const declarations = new Map<string, ts.SourceFile>();
const problems = compile(snippets);

describe('The TypeScript in the documents', () => {
  it('is found', () => {
    expect(new Set(snippets.map(({ document }) => document))).toEqual(
      new Set(documents.filter((document) => /^\s*```ts$/m.test(readFileSync(join(root, document), 'utf8')))),
    );
    expect(snippets.map(({ document }) => document)).toContain('README.md');
  });

  it.each(snippets.map((snippet) => [`${snippet.document}:${snippet.line}`, snippet] as const))(
    '%s compiles',
    (_place, snippet) => {
      expect(problems.get(snippet)).toEqual([]);
    },
  );
});

describe('The check of the documents', () => {
  const of = (...lines: string[]) => [...compile(snippetsOf('some.md', lines.join('\n'))).values()].flat();

  it('names the line of a fault', () => {
    const code = [
      "import { asBatchedService } from 'nest-batching';",
      'asBatchedService(64)((xs: number[]) => xs);',
    ];
    expect(of('# Title', '', '```ts', ...code, '```')).toEqual([
      'some.md:5 Expected 2-3 arguments, but got 1.',
    ]);
    expect(of('```ts', 'const list = [1];', 'list[0].toFixed();', '```')).toEqual([
      "some.md:3 Object is possibly 'undefined'.",
    ]);
    expect(of('```ts', "import 'nest-batching/core/batch.js';", '```')[0]).toMatch(
      /^some.md:2 Cannot find module/,
    );
  });

  it('compiles a block behind the one that it follows, and alone otherwise', () => {
    const first = ['<!-- compile: as first -->', '', '```ts', 'const one = 1;', '```'];
    const second = ['```ts', 'export const two = one + 1;', 'one.toUpperCase();', '```'];
    expect(of(...first, '<!-- compile: after first -->', ...second)).toEqual([
      "some.md:9 Property 'toUpperCase' does not exist on type '1'.",
    ]);
    expect(of(...first, ...second)).toHaveLength(2);
  });

  it('holds an excerpt against its file', () => {
    const excerpt = (code: string) =>
      of('<!-- compile: from docs/examples/retry.ts -->', '```ts', code, '```');
    expect(excerpt('return await run([...inputs], batch);')).toEqual([]);
    expect(excerpt('return run(inputs);')).toEqual(['some.md:3 is not in docs/examples/retry.ts']);
  });

  it('compiles whole files beside each other', () => {
    const service = ['<!-- compile: file src/one.ts -->', '```ts', 'export const one = 1;', '```'];
    const spec = (code: string) =>
      of(
        ...service,
        '<!-- compile: file test/one.spec.ts -->',
        '```ts',
        "import { one } from '../src/one.js';",
        code,
        '```',
      );
    expect(spec("it('is one', () => { expect(one).toBe(1); });")).toEqual([]);
    expect(spec('one.toUpperCase();')).toEqual([
      "some.md:8 Property 'toUpperCase' does not exist on type '1'.",
    ]);
  });

  it('refuses what it does not understand', () => {
    expect(() => of('```typescript', '```')).toThrow('some.md:1: expected ```ts, got ```typescript');
    expect(() => of('<!-- compile: with care -->', '```ts', '```')).toThrow('some.md:1: expected');
    expect(() => of('<!-- compile: as lost -->', 'text')).toThrow('some.md:1: no TypeScript follows');
    expect(() => of('<!-- compile: after none -->', '```ts', '```')).toThrow(
      'some.md:3: no block is called none',
    );
    expect(() => of('```ts', 'text')).toThrow('some.md:1: the block does not end');
  });
});

/** @throws Error, with document and line, for a comment or a fence that cannot be understood */
function snippetsOf(document: string, text: string): Snippet[] {
  const lines = text.split('\n');
  const found: Snippet[] = [];
  let instruction: { at: number; text: string } | undefined;
  let end = -1;
  for (const [at, line] of lines.entries()) {
    if (at <= end) continue;
    const place = `${document}:${at + 1}`;
    const [, fence, language = ''] = /^\s*(```+|~~~+)\s*(\S*)/.exec(line) ?? [];
    if (instruction && line.trim() !== '' && language !== 'ts') {
      throw new Error(`${document}:${instruction.at}: no TypeScript follows this comment`);
    }
    const comment = /^\s*<!-- compile: (.*) -->$/.exec(line)?.[1];
    if (comment !== undefined) instruction = { at: at + 1, text: comment };
    if (fence === undefined) continue;
    end = lines.findIndex((other, index) => index > at && other.trim() === fence);
    if (end < 0) throw new Error(`${place}: the block does not end`);
    if (/^(typescript|[mc]ts|tsx|javascript|[mc]?jsx?)$/i.test(language)) {
      throw new Error(`${place}: expected ${fence}ts, got ${fence}${language}`);
    }
    if (language === 'ts') {
      const code = lines.slice(at + 1, end).join('\n');
      found.push({ document, line: at + 2, code, ...readInstruction(document, instruction) });
      instruction = undefined;
    }
  }
  if (instruction) throw new Error(`${document}:${instruction.at}: no TypeScript follows this comment`);
  return found;
}

function readInstruction(document: string, instruction?: { at: number; text: string }): Partial<Snippet> {
  if (!instruction) return {};
  const pattern =
    /^(?:as (?<as>[\w-]+))?(?:, (?=after))?(?:after (?<after>[\w-]+))?$|^from (?<from>\S+)$|^file (?<file>\S+)$/;
  const groups = pattern.exec(instruction.text)?.groups;
  if (!groups) {
    throw new Error(
      `${document}:${instruction.at}: expected 'as <name>', 'after <name>', 'as <name>, after <name>', 'from <file>' or ` +
        `'file <file>', got '${instruction.text}'`,
    );
  }
  return { ...groups };
}

/** What the compiler says of each. */
function compile(all: readonly Snippet[]): Map<Snippet, string[]> {
  // As if the package itself had these files: so its own `exports` decide what its names mean, and private paths do not exist.
  const folder = join(root, 'dist/libs/batching');
  const modules = new Map(
    all.flatMap((snippet, index) =>
      snippet.from === undefined ? [[pathOf(folder, snippet, index), snippet] as const] : [],
    ),
  );
  const options = compilerOptions();
  const host = ts.createCompilerHost(options);
  const textOf = (path: string) => {
    const snippet = modules.get(path);
    // `export {}` makes a module of it, as every file of a project is.
    if (!snippet) return undefined;
    const globals = path.endsWith('spec.ts') ? globalsOfJest : '';
    return [...chain(snippet, all).map(({ code }) => code), `export {};${globals}`].join('\n');
  };
  const read = host.getSourceFile.bind(host);
  host.fileExists = (path) => modules.has(path) || ts.sys.fileExists(path);
  const folders = new Set([...modules.keys()].map((path) => dirname(path)));
  host.directoryExists = (path) => folders.has(path) || ts.sys.directoryExists(path);
  host.readFile = (path) => textOf(path) ?? ts.sys.readFile(path);
  host.getSourceFile = (path, ...rest) => {
    if (modules.has(path)) return read(path, ...rest);
    const source = declarations.get(path) ?? read(path, ...rest);
    if (source) declarations.set(path, source);
    return source;
  };
  const program = ts.createProgram([...modules.keys()], options, host);
  expect(program.getOptionsDiagnostics()).toEqual([]);

  const said = new Map(all.map((snippet) => [snippet, missing(snippet)]));
  for (const [path, snippet] of modules) {
    const lines = chain(snippet, all).flatMap(({ document, line, code }) =>
      code.split('\n').map((_, index) => `${document}:${line + index}`),
    );
    const source = program.getSourceFile(path);
    for (const { start = 0, messageText } of ts.getPreEmitDiagnostics(program, source)) {
      const place = lines[source?.getLineAndCharacterOfPosition(start).line ?? NaN];
      said.get(snippet)?.push(`${place} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
    }
  }
  return said;
}

function pathOf(folder: string, { document, file }: Snippet, index: number): string {
  return file === undefined
    ? join(folder, `snippet-${index}.ts`)
    : join(folder, `files of ${document}`, file);
}

/** A snippet behind all that it follows. */
function chain(snippet: Snippet, all: readonly Snippet[]): Snippet[] {
  const { document, line, after } = snippet;
  if (after === undefined) return [snippet];
  const before = all.find((other) => other.document === document && other.as === after && other.line < line);
  if (!before) throw new Error(`${document}:${line}: no block is called ${after} before this one`);
  return [...chain(before, all), snippet];
}

/** Says so when an excerpt does not stand in its file; indentation does not count. */
function missing({ document, line, code, from }: Snippet): string[] {
  if (from === undefined) return [];
  const flat = (text: string) => text.replaceAll(/^\s+/gm, '').trim();
  const file = join(root, dirname(document), from);
  if (flat(readFileSync(file, 'utf8')).includes(flat(code))) return [];
  return [`${document}:${line} is not in ${relative(root, file)}`];
}

/** Those of the project, without its paths to the library's sources. A name that only shows what there is may go unused. */
function compilerOptions(): ts.CompilerOptions {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => ts.sys.readFile(path)) as {
    config: { compilerOptions: object };
  };
  const { options, errors } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  expect(errors).toEqual([]);
  return {
    ...options,
    paths: {},
    declaration: false,
    sourceMap: false,
    noUnusedLocals: false,
    noUnusedParameters: false,
  };
}
