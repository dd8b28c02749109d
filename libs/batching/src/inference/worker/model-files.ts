import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname, relative, sep } from 'node:path';
import { ModelFileError } from '../errors.js';
import type { ModelChecksums } from '../protocol/model-description.js';

/** The files that one load of a model reads: their checksums, and whether they have changed since. */
export class ModelFiles {
  /** The stamps (`stampOf`) of the files before they were read, by path. */
  readonly #stamps = new Map<string, string>();
  readonly #checksums = new Map<string, string>();
  readonly #folder: string;

  /** @param path the model's folder, or a file in it */
  constructor(path: string) {
    this.#folder = isFolderNow(path) ? path : dirname(path);
  }

  /** SHA-256 of each file in hexadecimal, by its path relative to the model's folder. */
  get checksums(): ModelChecksums {
    const named = [...this.#checksums].map(([file, checksum]) => [this.#nameOf(file), checksum] as const);
    return Object.fromEntries(named.toSorted(([one], [other]) => (one < other ? -1 : 1)));
  }

  #nameOf(file: string): string {
    return relative(this.#folder, file).split(sep).join('/');
  }

  /**
   * Reads a file.
   *
   * @throws {ModelFileError}
   */
  async read(file: string): Promise<Buffer> {
    await this.watch(file);
    try {
      const content = await readFile(file);
      this.#checksums.set(file, createHash('sha256').update(content).digest('hex'));
      return content;
    } catch (cause) {
      throw unreadable(file, cause);
    }
  }

  /** Records a file, and its checksum, that the runtime itself reads. */
  async hash(file: string): Promise<void> {
    await this.watch(file);
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
    this.#checksums.set(file, hash.digest('hex'));
  }

  /**
   * Records the stamp of a path. Called before the file is read, so that a change during the read is noticed.
   */
  async watch(path: string): Promise<void> {
    this.#stamps.set(path, await stampOf(path));
  }

  /** Whether a recorded file has been written, removed or created since. */
  async changed(): Promise<boolean> {
    const now = await Promise.all([...this.#stamps.keys()].map(stampOf));
    return [...this.#stamps.values()].some((stamp, i) => stamp !== now[i]);
  }
}

/**
 * Changes with the file. For a folder it only says that it exists: the files in it have stamps of their own.
 */
async function stampOf(path: string): Promise<string> {
  try {
    const stats = await stat(path, { bigint: true });
    if (stats.isDirectory()) return 'folder';
    return [stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' ');
  } catch {
    return 'missing';
  }
}

function isFolderNow(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** @param cause the error of reading the file */
export function unreadable(file: string, cause: unknown): ModelFileError {
  const why =
    (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'is missing' : `cannot be read: ${String(cause)}`;
  return new ModelFileError(`${file} ${why}`, { cause });
}
