import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where this application's own files are: the page and the data. The same from `src` and from `dist`. */
export const appFolder = join(repositoryFolder(dirname(fileURLToPath(import.meta.url))), 'apps', 'lookup');

/** The nearest folder above with a package.json; there is only one. */
function repositoryFolder(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : repositoryFolder(dirname(folder));
}
