import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const source = fileURLToPath(new URL('../libs/batching/src/dashboard/page', import.meta.url));

/**
 * Writes the dashboard's page with its script and its style inside, and the module of the element `<batching-timeline>`, so that
 * whoever mounts the dashboard needs no build step.
 *
 * @param folder of the compiled modules that serve it
 */
export async function buildPage(folder: string): Promise<void> {
  const parts = {
    script: await bundle('main.ts', 'iife'),
    style: ['palette.css', 'stage.css', 'style.css'].map(read).join('\n'),
  };
  writeFileSync(join(folder, 'timeline.js'), await bundle('element.ts', 'esm'));
  const html = read('index.html');
  const page = html.replaceAll(/<(script|style)><\/\1>/g, (_, name: keyof typeof parts) => {
    const text = parts[name];
    if (text.includes(`</${name}`)) throw new Error(`the dashboard's ${name} would end early`);
    return `<${name}>\n${text}</${name}>`;
  });
  writeFileSync(join(folder, 'page.html'), page);
}

async function bundle(file: string, format: 'iife' | 'esm'): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(source, file)],
    bundle: true,
    write: false,
    format,
    target: 'es2022',
    charset: 'utf8',
    legalComments: 'none',
    loader: { '.css': 'text' },
  });
  return outputFiles[0]?.text ?? '';
}

function read(file: string): string {
  return readFileSync(join(source, file), 'utf8');
}

// As a program: an application that is compiled together with the library has a copy of those modules.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const folder of process.argv.slice(2)) await buildPage(folder);
}
