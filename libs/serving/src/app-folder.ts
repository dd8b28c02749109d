import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where an application's own files are, such as its pages. The same from its source and from `dist`. */
export function appFolder(name: string): string {
  return join(repositoryFolder(dirname(fileURLToPath(import.meta.url))), 'apps', name);
}

/** The same of a library. */
export function libraryFolder(name: string): string {
  return join(repositoryFolder(dirname(fileURLToPath(import.meta.url))), 'libs', name);
}

/** The nearest folder above with a package.json; there is only one. */
function repositoryFolder(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : repositoryFolder(dirname(folder));
}
