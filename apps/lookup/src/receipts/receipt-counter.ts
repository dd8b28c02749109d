import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ApiError, StartError } from '@app/serving';
import { Injectable, Logger, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { BatchingRegistry, SerialService } from 'nest-batching';
import type { Member } from '../members/member.js';

export interface Receipt {
  /** One more than that of the receipt before: bookkeepers want no gap and no number twice. */
  receipt: number;
  /** The number of the member that has paid. */
  member: number;
}

/**
 * Numbers receipts. The last number is in a file, which is read, added to and written: three steps, between which another
 * call must not begin, or both hand out the same number. `@SerialService()` sees to that within this process; a
 * second process needs a file of its own.
 */
@Injectable()
export class ReceiptCounter implements OnModuleInit, OnApplicationShutdown {
  #file: FileHandle | undefined;

  constructor(
    private readonly path: string,
    private readonly registry: BatchingRegistry,
  ) {}

  /** @throws {StartError} when the file cannot be used, or holds something else than a number */
  async onModuleInit(): Promise<void> {
    let file: FileHandle | undefined;
    try {
      await mkdir(dirname(this.path), { recursive: true });
      file = await open(this.path, constants.O_RDWR | constants.O_CREAT);
      await this.#read(file);
    } catch (cause) {
      await file?.close();
      if (cause instanceof StartError) throw cause;
      throw new StartError(
        `${this.path} cannot be opened and written: ${(cause as Error).message}.\n` +
          'Allow it for the file and its folder, or set DATA_FOLDER to another folder.',
        { cause },
      );
    }
    this.#file = file;
  }

  @SerialService()
  async next({ id }: Member): Promise<Receipt> {
    const file = this.#file;
    if (!file) throw new Error('the receipt counter is not open');
    const receipt = (await this.#read(file)) + 1;
    try {
      // In place: a number never becomes shorter.
      await file.write(String(receipt), 0);
      // A number that was handed out stays so, whatever happens to the machine.
      await file.datasync();
    } catch (cause) {
      new Logger(ReceiptCounter.name).error(`A receipt failed: ${(cause as Error).message}`);
      throw new ApiError(503, 'ERR_RECEIPT', 'The receipt could not be written. Try again.', { cause });
    }
    return { receipt, member: id };
  }

  async onApplicationShutdown(): Promise<void> {
    await this.registry.stop();
    await this.#file?.close();
  }

  /** The last number; 0 in a new file. */
  async #read(file: FileHandle): Promise<number> {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(32), position: 0 });
    const text = buffer.toString('utf8', 0, bytesRead).trim();
    if (/^\d{0,15}$/.test(text)) return Number(text);
    throw new StartError(
      `${this.path}: expected the number of the last receipt, got ${JSON.stringify(text)}. ` +
        'Write the number into it, or delete it to begin with 1.',
    );
  }
}
