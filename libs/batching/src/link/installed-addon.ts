import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import {
  findPackage,
  LinkError,
  type LinkOptions,
  MissingPart,
  type Package,
  whatIsMissing,
} from './find-parts.js';

/** The record for `unlinkTensorflow`, a file in the package: it disappears when npm replaces the package. */
interface LinkRecord {
  /** Path of the addon, relative to the package's folder. */
  addon: string;
  sha256: string;
  /** Folders that were created for it, the outer one first. */
  folders: string[];
}

/**
 * Moves the addon to `place`. @returns the path at which the former addon is kept; `undefined` if there was
 * none
 */
export function install(found: Package, built: string, place: string): string | undefined {
  const addon = relative(found.folder, place);
  const missing: string[] = [];
  for (let folder = dirname(addon); !existsSync(join(found.folder, folder)); folder = dirname(folder)) {
    missing.unshift(folder);
  }
  mkdirSync(dirname(place), { recursive: true });
  accessSync(dirname(place), constants.W_OK); // fails before anything is changed
  const earlier = readRecord(found);
  const isOurs = existsSync(place) && earlier?.sha256 === hashOf(place);
  const record: LinkRecord = { addon, sha256: hashOf(built), folders: earlier?.folders ?? missing };
  writeFileSync(recordOf(found), `${JSON.stringify(record, undefined, 2)}\n`);
  const kept = join(found.folder, keptName(addon));
  if (existsSync(place) && !isOurs) renameSync(place, kept);
  renameSync(built, place);
  return existsSync(kept) ? kept : undefined;
}

/**
 * Restores the addon that was there before `linkTensorflow`.
 *
 * @throws {LinkError} if the present addon is not the one that `linkTensorflow` built
 */
export function unlinkTensorflow(options: LinkOptions, write: (text: string) => void): void {
  let found: Package;
  try {
    found = findPackage(options.package);
  } catch (error) {
    throw error instanceof MissingPart ? whatIsMissing([error]) : error;
  }
  const record = readRecord(found);
  if (!record) {
    write(`Nothing to undo: ${found.folder} was not linked by this command\n`);
    return;
  }
  const place = join(found.folder, record.addon);
  if (existsSync(place) && hashOf(place) !== record.sha256) {
    throw new LinkError(
      `${place} is not the addon that this command built; something else has put it there since.\n` +
        'It was left as it is.',
    );
  }
  rmSync(place, { force: true });
  const kept = join(found.folder, keptName(record.addon));
  if (existsSync(kept)) renameSync(kept, place);
  rmSync(recordOf(found));
  for (const folder of record.folders.toReversed()) {
    const made = join(found.folder, folder);
    // A folder that has other files now is kept.
    if (existsSync(made) && readdirSync(made).length === 0) rmdirSync(made);
  }
  write(`${found.name} in ${found.folder} is as it was before it was linked\n`);
}

function recordOf({ folder }: Package): string {
  return join(folder, 'link-tensorflow.json');
}

function readRecord(found: Package): LinkRecord | undefined {
  if (!existsSync(recordOf(found))) return undefined;
  return JSON.parse(readFileSync(recordOf(found), 'utf8')) as LinkRecord;
}

function keptName(addon: string): string {
  return `${addon}.before-link`;
}

function hashOf(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}
