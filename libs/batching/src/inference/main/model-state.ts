import { inspect } from 'node:util';
import { ModelInputError, StateLimitError } from '../errors.js';
import { lengthOf, type TensorValues } from '../protocol/batch-layout.js';
import type { StateBefore } from '../protocol/batch-states.js';
import type { ModelDescription } from '../protocol/model-description.js';
import { checkInput, type NamedModelInput } from './model-input.js';

/**
 * The state of a stream that stays in an inference worker: a handle, which `step` of its model takes. It never changes: a
 * step returns another one for the state after it, so a step may be repeated.
 *
 * Dispose of it when it is not needed any more, as `createSession` does. One that is collected as garbage is disposed of, too.
 * It cannot leave its process: over a transport the call rejects with a `PayloadError`.
 */
export class ModelState implements Disposable {
  // A property of its own, so that a structured clone, which would be an empty object, is refused.
  /** Frees what the worker keeps. May be called again. */
  readonly dispose: () => void;

  /** @internal Use `openState` of the model. */
  constructor(dispose: () => void) {
    this.dispose = dispose;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @throws TypeError always: what JSON can hold of it is no state */
  toJSON(): never {
    throw new TypeError(
      'a ModelState cannot leave its process: over a transport, use a state that travels, or keep the stream on the node of its model',
    );
  }
}

/** What is known of a state. */
export interface StateRecord {
  /** The worker that keeps it; `undefined` for the first state of a stream, which any worker can begin with. */
  readonly worker: number | undefined;
  readonly before: StateBefore;
  isDisposed: boolean;
}

/** Milliseconds for which states that are not needed any more wait for a batch that takes the news of them along. */
const DROP_DELAY = 100;
/** Most states that wait so. */
const MOST_DROPPED = 1000;

/** The states of the streams of one model, in all workers. */
export class ModelStates {
  readonly #records = new WeakMap<ModelState, StateRecord>();
  readonly #collected = new FinalizationRegistry<StateRecord>((record) => {
    this.#dispose(record);
  });
  /** By worker, states that are not needed any more and that it still has. */
  readonly #dropped = new Map<number, number[]>();
  /** By worker, the number of states that it keeps. */
  readonly #kept = new Map<number, number>();
  #timer: NodeJS.Timeout | undefined;
  #live = 0;
  #next = 0;

  /**
   * @param maxStates most first states at once; twice as many in all, as a stream has two during a step
   * @param drop tells a worker
   */
  constructor(
    private readonly name: string,
    private readonly description: ModelDescription,
    private readonly maxStates: number,
    private readonly drop: (worker: number, states: readonly number[]) => void,
  ) {}

  /** Those that were opened, or returned by a step, and not disposed of. */
  get live(): number {
    return this.#live;
  }

  /** Number of states that the worker keeps. */
  keptBy(worker: number): number {
    return this.#kept.get(worker) ?? 0;
  }

  /**
   * @param initial its tensors by name; default: zeros
   * @throws {StateLimitError | ModelInputError}
   */
  open(initial?: NamedModelInput): ModelState {
    if (this.#live >= this.maxStates) throw new StateLimitError(this.name, this.maxStates);
    return this.#add({ worker: undefined, before: initial && this.#read(initial), isDisposed: false });
  }

  /**
   * @param index of the step, for the message
   * @throws {ModelInputError} for what is no state of this model, or was disposed of
   * @throws {StateLimitError} if streams keep states that they no longer need
   */
  recordOf(state: unknown, index: number): StateRecord {
    const record = state instanceof ModelState ? this.#records.get(state) : undefined;
    if (!record || record.isDisposed) {
      const what = record
        ? 'that has been disposed of'
        : state instanceof ModelState
          ? 'of another model, or of another application'
          : 'that is no ModelState: open one with openState()';
      throw new ModelInputError(this.name, index, undefined, `has a state ${what}`);
    }
    if (this.#live >= 2 * this.maxStates) throw new StateLimitError(this.name, 2 * this.maxStates);
    return record;
  }

  /** @returns the numbers of as many new states */
  number(count: number): number[] {
    return Array.from({ length: count }, () => ++this.#next);
  }

  /** A worker keeps a new state. */
  kept(worker: number, before: number): ModelState {
    this.#kept.set(worker, this.keptBy(worker) + 1);
    return this.#add({ worker, before, isDisposed: false });
  }

  /** @returns the states that the worker may drop with the batch that is sent to it now */
  takeDropped(worker: number): number[] {
    const dropped = this.#dropped.get(worker) ?? [];
    this.#dropped.delete(worker);
    return dropped;
  }

  /** The numbers of the first state, in the types that the worker takes. */
  #read(initial: NamedModelInput): TensorValues[] {
    const { inputs, state = {} } = this.description;
    const tensors = inputs.filter(({ name }) => name in state);
    const values = checkInput(this.name, { ...this.description, inputs: tensors }, initial, 0);
    return tensors.map(({ dtype, ...tensor }, i) => {
      const numbers = (values[i] ?? []) as ArrayLike<number | boolean>;
      const length = lengthOf(tensor);
      if (dtype === 'bool') return Uint8Array.from({ length }, (_, k) => (numbers[k] ? 1 : 0));
      // Copies, as the caller may use its memory again.
      return (dtype === 'int32' ? Int32Array : Float32Array).from(numbers as ArrayLike<number>);
    });
  }

  #add(record: StateRecord): ModelState {
    this.#live += 1;
    const state = new ModelState(() => {
      this.#collected.unregister(record);
      this.#dispose(record);
    });
    this.#records.set(state, record);
    this.#collected.register(state, record, record);
    return state;
  }

  #dispose(record: StateRecord): void {
    if (record.isDisposed) return;
    record.isDisposed = true;
    this.#live -= 1;
    const { worker, before } = record;
    if (worker === undefined) return;
    this.#kept.set(worker, this.keptBy(worker) - 1);
    const dropped = this.#dropped.get(worker) ?? [];
    dropped.push(before as number);
    this.#dropped.set(worker, dropped);
    if (dropped.length >= MOST_DROPPED) this.drop(worker, this.takeDropped(worker));
    else if (!this.#timer) this.#timer = setTimeout(this.#dropAll, DROP_DELAY).unref();
  }

  readonly #dropAll = (): void => {
    this.#timer = undefined;
    for (const worker of [...this.#dropped.keys()]) this.drop(worker, this.takeDropped(worker));
  };
}

/** @throws {TypeError | RangeError} for invalid options `state` and `maxStates` */
export function checkStateOptions(
  subject: (option: string) => string,
  state: unknown,
  maxStates: unknown,
): void {
  if (state !== undefined) {
    const isState =
      typeof state === 'object' &&
      state !== null &&
      !Array.isArray(state) &&
      Object.keys(state).length > 0 &&
      Object.values(state).every((output) => typeof output === 'string');
    if (!isState) throw new TypeError(`${subject('state')} must name outputs by inputs: { h: 'nextH' }`);
  }
  if (maxStates === undefined) return;
  if (state === undefined) throw new TypeError(`${subject('maxStates')} is for models with the option state`);
  if (!(Number.isSafeInteger(maxStates) && Number(maxStates) >= 1)) {
    throw new RangeError(`${subject('maxStates')} must be an integer from 1; it is ${inspect(maxStates)}`);
  }
}
