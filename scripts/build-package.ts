import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transform } from 'esbuild';
import { buildPage } from './build-page.js';
import { published } from './published.js';
import { publishedReadme } from './published-readme.js';

/**
 * Makes a package of the ES modules that `nest build batching` has compiled: CommonJS modules with their types in `cjs/`, the
 * dashboard's page in one file, the manifest with all entry points, README, CHANGELOG and LICENSE.
 */

const root = fileURLToPath(new URL('..', import.meta.url));
const built = join(root, 'dist/libs/batching');
const { entryPoints, repositoryUrl } = published;

interface Manifest {
  version: string;
  [field: string]: unknown;
}

await buildPage(join(built, 'dashboard'));
await buildCommonJs();
const manifest = publishedManifest();
writeJson(join(built, 'package.json'), manifest);
const readme = readFileSync(join(root, 'README.md'), 'utf8');
writeFileSync(join(built, 'README.md'), publishedReadme(readme, repositoryUrl, manifest.version));
for (const file of ['CHANGELOG.md', 'LICENSE']) copyFileSync(join(root, file), join(built, file));
chmodSync(join(built, 'cli/cli.js'), 0o755);

/**
 * The command and the code of inference workers are started by their path, and the module for browsers is sent from there, so
 * they are ES modules in both formats.
 */
function isFoundByPath(file: string): boolean {
  return /^(cli|link)\/|(^|\/)worker\/|^dashboard\/timeline\.js$/.test(file.replaceAll(sep, '/'));
}

async function buildCommonJs(): Promise<void> {
  const files = readdirSync(built, { recursive: true, encoding: 'utf8' }).filter(
    (file) => /\.(js|d\.ts)$/.test(file) && !/^cjs[/\\]/.test(file) && !isFoundByPath(file),
  );
  const cjs = join(built, 'cjs');
  await Promise.all(
    files.map(async (file) => {
      mkdirSync(dirname(join(cjs, file)), { recursive: true });
      // Declarations read the same in both formats: `"type": "commonjs"` beside them makes the difference.
      if (file.endsWith('.d.ts')) cpSync(join(built, file), join(cjs, file));
      else writeFileSync(join(cjs, file), await toCommonJs(file));
    }),
  );
  writeJson(join(cjs, 'package.json'), { type: 'commonjs' });
}

async function toCommonJs(file: string): Promise<string> {
  const source = readFileSync(join(built, file), 'utf8');
  // The address of the ES module that it was made of: what it names relative to itself, a worker's file, is there alone.
  const path = relative(dirname(join('cjs', file)), file).replaceAll(sep, '/');
  const address = `const importMetaUrl = require('node:url').pathToFileURL(require('node:path').join(__dirname, '${path}')).href;`;
  const { code, warnings } = await transform(source, {
    format: 'cjs',
    platform: 'node',
    target: 'node20.19',
    // An ES module that a user's code needs, as a model's own, is imported, where `require` may not load it.
    supported: { 'dynamic-import': true },
    define: { 'import.meta.url': 'importMetaUrl' },
    banner: `'use strict';\n${source.includes('import.meta.url') ? address : ''}`,
    sourcefile: file,
  });
  if (warnings.length > 0 || /\bimport\.meta\b/.test(code)) {
    throw new Error(`${file} cannot be a CommonJS module: ${warnings[0]?.text ?? 'it uses import.meta'}`);
  }
  return code;
}

function publishedManifest(): Manifest {
  const source = JSON.parse(readFileSync(join(root, 'libs/batching/package.json'), 'utf8')) as Manifest;
  const address = {
    repository: { type: 'git', url: `git+${repositoryUrl}.git`, directory: 'libs/batching' },
    homepage: `${repositoryUrl}#readme`,
    bugs: `${repositoryUrl}/issues`,
  };
  return {
    ...source,
    ...(repositoryUrl === '' ? {} : address),
    main: './cjs/index.js',
    types: './cjs/index.d.ts',
    exports: {
      '.': conditions('index'),
      ...Object.fromEntries(entryPoints.map((name) => [`./${name}`, conditions(`${name}/index`)])),
      './package.json': './package.json',
    },
    // For a compiler that does not read `exports` (`moduleResolution: node10`).
    typesVersions: {
      '*': Object.fromEntries(entryPoints.map((name) => [name, [`./cjs/${name}/index.d.ts`]])),
    },
  };
}

function conditions(module: string): object {
  const format = (folder: string) => ({
    types: `./${folder}${module}.d.ts`,
    default: `./${folder}${module}.js`,
  });
  return { import: format(''), require: format('cjs/') };
}

function writeJson(file: string, value: object): void {
  writeFileSync(file, `${JSON.stringify(value, undefined, 2)}\n`);
}
