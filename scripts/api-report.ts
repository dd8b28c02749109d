import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Extractor, ExtractorConfig, ExtractorLogLevel } from '@microsoft/api-extractor';
import { published } from './published.js';

/**
 * `npm run api`: writes what each entry point of the built library declares to `etc/<entry point>.api.md`, so that a change of
 * the public API is a change of a file. `--check` compares instead, and fails where they differ.
 */

const root = fileURLToPath(new URL('..', import.meta.url));
const built = join(root, 'dist/libs/batching');
const isCheck = process.argv.includes('--check');
const temporary = mkdtempSync(join(tmpdir(), 'nest-batching-api-'));
mkdirSync(join(root, 'etc'), { recursive: true });
try {
  const names = ['index', ...published.entryPoints];
  const differing = names.filter((name) => !report(name));
  const reports = names.map((name) => `${name}.api.md`);
  const stray = readdirSync(join(root, 'etc')).filter((file) => !reports.includes(file));
  for (const file of stray) console.error(`etc/${file} is of no entry point; remove it`);
  if (isCheck && differing.length > 0) {
    console.error(
      `The public API is not what etc/ says (${differing.join(', ')}); npm run build && npm run api`,
    );
  }
  if (stray.length > 0 || (isCheck && differing.length > 0)) process.exitCode = 1;
} finally {
  rmSync(temporary, { recursive: true });
}

/** Returns whether the report was the same already. */
function report(name: string): boolean {
  const entryPoint = name === 'index' ? 'index.d.ts' : `${name}/index.d.ts`;
  const tsconfig = join(temporary, 'tsconfig.json');
  writeFileSync(tsconfig, JSON.stringify(compilerSettings(entryPoint)));
  const result = Extractor.invoke(
    ExtractorConfig.prepare({
      configObject: {
        projectFolder: built,
        mainEntryPointFilePath: join(built, entryPoint),
        compiler: { tsconfigFilePath: tsconfig },
        newlineKind: 'lf',
        apiReport: {
          enabled: true,
          reportFileName: `${name}.api.md`,
          reportFolder: join(root, 'etc'),
          reportTempFolder: temporary,
        },
        messages: { extractorMessageReporting: { default: { logLevel: ExtractorLogLevel.None } } },
      },
      configObjectFullPath: undefined,
      packageJsonFullPath: join(built, 'package.json'),
    }),
    {
      localBuild: !isCheck,
      messageCallback: (message) => {
        message.handled = message.logLevel !== ExtractorLogLevel.Error;
      },
    },
  );
  return !result.apiReportChanged;
}

function compilerSettings(entryPoint: string): object {
  return {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { types: ['node'], typeRoots: [join(root, 'node_modules/@types')], paths: {} },
    files: [join(built, entryPoint)],
    include: [],
  };
}
