import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const source = fileURLToPath(new URL('../libs/batching/src/dashboard/page', import.meta.url));

/**
 * Writes the dashboard's page with its script and its style inside, so that whoever mounts it needs no build step and serves
 * one file.
 *
 * @param folder of the compiled modules that serve it
 */
export async function buildPage(folder: string): Promise<void> {
  const { outputFiles } = await build({
    entryPoints: [join(source, 'main.ts')],
    bundle: true,
    write: false,
    format: 'iife',
    target: 'es2022',
    charset: 'utf8',
    legalComments: 'none',
  });
  const parts = {
    script: outputFiles[0]?.text ?? '',
    style: readFileSync(join(source, 'style.css'), 'utf8'),
  };
  const html = readFileSync(join(source, 'index.html'), 'utf8');
  const page = html.replaceAll(/<(script|style)><\/\1>/g, (_, name: keyof typeof parts) => {
    const text = parts[name];
    if (text.includes(`</${name}`)) throw new Error(`the dashboard's ${name} would end early`);
    return `<${name}>\n${text}</${name}>`;
  });
  writeFileSync(join(folder, 'page.html'), page);
}

// As a program: an application that is compiled together with the library has a copy of those modules.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const folder of process.argv.slice(2)) await buildPage(folder);
}
