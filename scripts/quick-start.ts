import { readFileSync } from 'node:fs';

/**
 * The files of the README's quick start, by their paths in the reader's project: its blocks of TypeScript behind a comment
 * `<!-- compile: file <path> -->`, which `test/docs.spec.ts` compiles.
 *
 * @throws Error if one of those is missing that make an application and its tests
 */
export function quickStart(): Map<string, string> {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const blocks = readme.matchAll(/^<!-- compile: file (\S+) -->\n+```ts\n([\s\S]*?)^```$/gm);
  const files = new Map([...blocks].map(([, path = '', code = '']) => [path, code]));
  for (const path of ['src/app.module.ts', 'test/app.e2e-spec.ts']) {
    if (!files.has(path)) {
      throw new Error(
        `README.md: expected a block with the comment <!-- compile: file ${path} -->, found none`,
      );
    }
  }
  return files;
}
