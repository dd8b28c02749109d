import { invariant } from './invariant.js';

/** The inputs submitted between two calls of `drain`, or since the last one. */
export class Epoch {
  /** Inputs of this epoch that have not ended. */
  pending = 0;
  /** Set when a drain waits for these inputs. */
  resolve: (() => void) | undefined = undefined;
  next: Epoch | undefined = undefined;

  /** @param ended called when the last pending input has ended */
  constructor(private readonly ended: () => void) {}

  get isDraining(): boolean {
    return this.resolve !== undefined;
  }

  /** One of its inputs has a result or an error, or was dropped. */
  end(): void {
    this.pending--;
    invariant(this.pending >= 0, 'an input ended twice');
    if (this.pending === 0) this.ended();
  }
}

/**
 * What the pending calls of `drain` wait for: a linked list of epochs.
 *
 * A drain closes the current epoch, and resolves when this epoch and all before it have no pending input. So
 * an input is counted once, however many drains wait for it; drains without a submission between them share
 * one promise; and the list has one item per pending drain, and the current one.
 */
export class Drains {
  readonly #ended = (): void => {
    this.#resolveEnded();
  };
  /** The epoch of inputs submitted now. */
  current = new Epoch(this.#ended);
  /** The first epoch with pending inputs: the head of the list whose tail is `current`. */
  #oldest = this.current;
  /** The promise of the last drain. */
  #drained = Promise.resolve();

  /** @returns a promise that resolves when every input submitted before this call has ended */
  drain(): Promise<void> {
    const epoch = this.current;
    if (epoch.pending > 0) {
      this.#drained = new Promise((resolve) => {
        epoch.resolve = resolve;
      });
      this.current = epoch.next = new Epoch(this.#ended);
    }
    return this.#drained;
  }

  #resolveEnded(): void {
    for (let epoch = this.#oldest; epoch.pending === 0 && epoch.next; epoch = epoch.next) {
      epoch.resolve?.();
      this.#oldest = epoch.next;
    }
  }
}
