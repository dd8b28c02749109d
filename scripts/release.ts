import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { published } from './published.js';

/**
 * `npm run release`: checks, builds, packs, tags and publishes the version that `libs/batching/package.json` names.
 * `-- --dry-run` goes all the way up to the tag, also where a release would be refused, and prints the commands that would
 * follow. Both end with 1 where something keeps the version from being released.
 *
 * The published package carries a statement of its provenance, which npm can make only in the CI of the repository's host.
 */

const root = fileURLToPath(new URL('..', import.meta.url));
const built = join(root, 'dist/libs/batching');

const { values: options } = parseArgs({ options: { 'dry-run': { type: 'boolean', default: false } } });
const manifest = readFileSync(join(root, 'libs/batching/package.json'), 'utf8');
const { version } = JSON.parse(manifest) as { version: string };
const tag = `v${version}`;

const obstacles = [...whatIsInTheWay()];
for (const obstacle of obstacles) console.error(`nest-batching ${version} cannot be released: ${obstacle}`);
if (obstacles.length > 0) process.exitCode = 1;
if (obstacles.length === 0 || options['dry-run']) release();

function* whatIsInTheWay(): Generator<string> {
  if (published.repositoryUrl === '') {
    yield 'scripts/published.ts has no repositoryUrl, of which repository, homepage, bugs and the links of the README are made';
  }
  const changes = ask('git', 'status', '--porcelain');
  if (changes !== '') yield `the working tree has changes that are not committed:\n${changes}`;
  if (ask('git', 'tag', '--list', tag) !== '') yield `there is a tag ${tag} already`;
  const changelog = readFileSync(join(root, 'CHANGELOG.md'), 'utf8');
  const heading = /^## (?!Unreleased$)\[?([^\]\s]+)/m.exec(changelog)?.[1];
  if (heading !== version) {
    yield `the newest version in CHANGELOG.md is ${heading ?? 'none'}; expected a heading \`## ${version} - <date>\``;
  }
  const unreleased = /^## Unreleased\n([\s\S]*?)(?=^## |(?![\s\S]))/m.exec(changelog)?.[1]?.trim();
  if (unreleased) yield 'CHANGELOG.md still has changes under Unreleased';
}

function release(): void {
  const folder = mkdtempSync(join(tmpdir(), 'nest-batching-release-'));
  try {
    run('npm', 'run', 'build');
    run('npm', 'pack', built, '--pack-destination', folder); // prints what is in it
    const tarball = join(folder, `nest-batching-${version}.tgz`);
    run('npm', 'exec', '--', 'attw', tarball);
    run('npm', 'exec', '--', 'publint', tarball, '--strict');
    run('npm', 'run', 'api', '--', '--check');
    for (const command of [
      ['git', 'tag', '--annotate', tag, '--message', `nest-batching ${version}`],
      ['git', 'push', 'origin', tag],
      ['npm', 'publish', tarball],
    ]) {
      if (options['dry-run']) console.log(`would run: ${inShell(command)}`);
      else run(...(command as [string, ...string[]]));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(program: string, ...args: string[]): void {
  console.log(`$ ${inShell([program, ...args])}`);
  execFileSync(program, args, { cwd: root, stdio: 'inherit' });
}

function ask(program: string, ...args: string[]): string {
  return execFileSync(program, args, { cwd: root, encoding: 'utf8' }).trimEnd();
}

function inShell(command: string[]): string {
  return command.map((word) => (word.includes(' ') ? `'${word}'` : word)).join(' ');
}
