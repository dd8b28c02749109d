import { CONFIGURATION } from '@app/serving';
import { Inject, Injectable } from '@nestjs/common';
import type { Configuration } from './configuration.js';
import { CLOSE, Refusal } from './refusal.js';

/** When to try again where all places are taken, in milliseconds: microphones come and go. */
const RETRY_AFTER = 5000;

/** Counts the microphones of this process, so that a crowd is refused before it slows the others down. */
@Injectable()
export class Places {
  #taken = 0;

  constructor(@Inject(CONFIGURATION) private readonly configuration: Pick<Configuration, 'maxMicrophones'>) {}

  get taken(): number {
    return this.#taken;
  }

  /**
   * @returns gives the place back
   * @throws {Refusal} if all are taken
   */
  take(): () => void {
    const { maxMicrophones } = this.configuration;
    if (this.#taken >= maxMicrophones) {
      throw new Refusal(
        'ERR_MICROPHONES_FULL',
        CLOSE.tryLater,
        `all ${maxMicrophones} places are taken; try again in ${RETRY_AFTER / 1000} s`,
        RETRY_AFTER,
      );
    }
    this.#taken += 1;
    let isTaken = true;
    return () => {
      if (isTaken) this.#taken -= 1;
      isTaken = false;
    };
  }
}
