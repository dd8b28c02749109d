import { types } from 'node:util';
import { BatchResultError } from '../errors.js';
import { invariant } from '../invariant.js';
import { placeOf, type Run, type Underway } from './run.js';

/**
 * The layer of `isolateErrors`: when a run fails, it runs the two halves of its inputs, and splits those that
 * fail again, down to the inputs at fault. It returns at once, with a promise in every result's place, so
 * that the callers of a half that succeeds need not wait for the end of the search.
 */
export function isolating<Input>(run: Run<Input>): Run<Input> {
  return async (inputs, batch) => {
    // A copy: the function may change its array.
    const all = [...inputs];
    try {
      return await run(inputs, batch);
    } catch (error) {
      if (isWhole(all.length, error, batch)) throw error;
      return new Search(run, all, batch).begin(error);
    }
  };
}

/**
 * Whether the error is that of all inputs, so that no search follows. That is so for a wrong number of
 * results, which a part would not change, and for an aborted batch (`runTimeout` in a part, a hard stop),
 * which is given up as a whole.
 */
function isWhole(size: number, error: unknown, batch: Underway): boolean {
  return size < 2 || error instanceof BatchResultError || batch.isAborted;
}

/**
 * The search for the inputs at fault in one batch. Its runs follow one another, as the batch holds one slot
 * only.
 */
class Search<Input> {
  /** By the index of the input, as are the places. */
  readonly #settle: { resolve: (result: unknown) => void; reject: (error: unknown) => void }[] = [];
  readonly #places: Promise<unknown>[];
  #isGivenUp = false;

  constructor(
    private readonly run: Run<Input>,
    private readonly inputs: readonly Input[],
    private readonly batch: Underway,
  ) {
    this.#places = inputs.map(
      () =>
        new Promise((resolve, reject: (error: unknown) => void) => this.#settle.push({ resolve, reject })),
    );
  }

  begin(error: unknown): readonly Promise<unknown>[] {
    void this.#halve([...this.inputs.keys()], error).then(() => {
      // Places not settled yet are those of inputs whose callers have given up.
      for (const { resolve } of this.#settle) resolve(undefined);
    });
    return this.#places;
  }

  /**
   * Runs the two halves of a part that failed. Inputs whose callers have given up meanwhile count as part of
   * a half, since they may be at fault, but are not run again.
   *
   * @param failed indices of the inputs of the run that failed
   */
  async #halve(failed: number[], error: unknown): Promise<void> {
    if (isWhole(failed.length, error, this.batch)) {
      this.#fail(failed, error);
      return;
    }
    const middle = failed.length >> 1;
    for (const half of [failed.slice(0, middle), failed.slice(middle)]) {
      const awaited = half.filter((index) => this.batch.isAwaited(index));
      if (this.#isGivenUp) return;
      if (awaited.length === 0) continue;
      try {
        await this.#runPart(awaited);
      } catch (cause) {
        await this.#halve(awaited, cause);
      }
    }
  }

  /**
   * Runs the inputs with these indices. Resolves when the promises in their results' places have settled too.
   */
  async #runPart(part: number[]): Promise<void> {
    const results = await this.run(
      part.map((index) => this.inputs[index] as Input),
      new Part(this.batch, part),
    );
    const places = part.map((_, place) => placeOf(results, place));
    part.forEach((index, place) => this.#settle[index]?.resolve(places[place]));
    const ends = await Promise.allSettled(places.filter(types.isPromise));
    const { isAborted, abortReason } = this.batch;
    const isOver = ends.some((end) => end.status === 'rejected' && end.reason === abortReason);
    if (isAborted && isOver) throw abortReason;
  }

  #fail(failed: number[], error: unknown): void {
    this.#isGivenUp = this.batch.isAborted;
    for (const index of this.#isGivenUp ? this.inputs.keys() : failed) this.#settle[index]?.reject(error);
  }
}

/** Some inputs of a batch, with indices of their own. */
class Part implements Underway {
  constructor(
    private readonly batch: Underway,
    private readonly indices: readonly number[],
  ) {}

  get signal(): AbortSignal {
    return this.batch.signal;
  }

  get isAborted(): boolean {
    return this.batch.isAborted;
  }

  get abortReason(): unknown {
    return this.batch.abortReason;
  }

  abort(reason: unknown): void {
    this.batch.abort(reason);
  }

  isAwaited(index: number): boolean {
    return this.batch.isAwaited(this.#inBatch(index));
  }

  keyOf(index: number): unknown {
    return this.batch.keyOf(this.#inBatch(index));
  }

  giveLate(index: number, result: unknown): void {
    this.batch.giveLate(this.#inBatch(index), result);
  }

  #inBatch(index: number): number {
    const place = this.indices[index];
    invariant(place !== undefined, 'a part of a batch is asked for an input that it does not have');
    return place;
  }
}
