import { types } from 'node:util';
import { Alarm } from '../alarm.js';
import { type Clock, LONGEST_TIMER } from '../clock.js';
import { BatchTimeoutError } from '../errors.js';
import { placeOf, type Run, type Underway } from './run.js';

/**
 * The layer of `runTimeout`: if a run, including the promises in its results' places, takes longer, it
 * rejects with a `BatchTimeoutError` and its batch is aborted. `giveLate` gets what the function returns later.
 */
export class TimeLimit {
  /** One for each run that has not ended. */
  readonly #alarms = new Set<Alarm>();

  constructor(
    private readonly queue: string,
    private readonly runTimeout: number,
    private readonly clock: Clock,
  ) {}

  layer<Input>(run: Run<Input>): Run<Input> {
    // No timer can be that long: there is no limit.
    if (this.runTimeout > LONGEST_TIMER) return run;
    return async (inputs, batch) => {
      const returned = run(inputs, batch);
      // Started after the call: a function that blocked the event loop has returned already.
      const { isOver, clear } = this.#start(batch);
      try {
        return limitPlaces(await Promise.race([returned, isOver]), isOver, clear, batch);
      } catch (error) {
        clear();
        void returned.then((late) => {
          for (let index = 0; index < late.length; index++) giveLater(placeOf(late, index), index, batch);
        }, ignore);
        throw error;
      }
    };
  }

  /** Gives every run the full limit again: the clock was replaced or set back, as tests do. */
  restart(now: number): void {
    for (const alarm of this.#alarms) alarm.set(now + this.runTimeout, now);
  }

  /** Stops the alarms from keeping the process alive. */
  unref(): void {
    for (const alarm of this.#alarms) alarm.unref();
  }

  #start(batch: Underway): { isOver: Promise<never>; clear: () => void } {
    let giveUp: (error: BatchTimeoutError) => void;
    const isOver = new Promise<never>((_, reject) => (giveUp = reject));
    isOver.catch(ignore);
    const ring = (): void => {
      this.#alarms.delete(alarm);
      const error = new BatchTimeoutError(this.queue, this.runTimeout, 'hanging');
      batch.abort(error);
      giveUp(error);
    };
    const alarm = new Alarm(this.clock, ring, true);
    const now = this.clock.now();
    alarm.set(now + this.runTimeout, now);
    this.#alarms.add(alarm);
    const clear = (): void => {
      alarm.clear();
      this.#alarms.delete(alarm);
    };
    return { isOver, clear };
  }
}

/**
 * @returns the places; promises among them reject as `isOver` does. `clear` is called when all of them have
 *   settled.
 */
function limitPlaces(
  results: ArrayLike<unknown>,
  isOver: Promise<never>,
  clear: () => void,
  batch: Underway,
): ArrayLike<unknown> {
  const places = Array.from({ length: results.length }, (_, index) => placeOf(results, index));
  void Promise.allSettled(places.filter(types.isPromise)).then(clear);
  return places.map((place, index) => {
    if (!types.isPromise(place)) return place;
    const limited = Promise.race([place, isOver]);
    limited.catch(() => {
      giveLater(place, index, batch);
    });
    return limited;
  });
}

function giveLater(place: unknown, index: number, batch: Underway): void {
  if (types.isPromise(place))
    void place.then((late) => {
      batch.giveLate(index, late);
    }, ignore);
  else batch.giveLate(index, place);
}

function ignore(): void {
  // The callers have got another error already.
}
