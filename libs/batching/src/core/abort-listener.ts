/** Registers a callback; the function that it returns removes it again and never throws. */
export const LISTEN = Symbol('nest-batching.listen');

/** A signal of one input alone, of which this library keeps no list: that costs more than all else that is done for an input. */
interface OwnSignal {
  [LISTEN](callback: () => void): () => void;
}

interface Listened {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
}

const listened = new WeakMap<AbortSignal, Listened>();

/**
 * Calls `callback` when the signal aborts.
 *
 * Inputs that share a signal share one listener: Node warns of more than ten listeners, and removing one
 * takes time in proportion to their number.
 *
 * @returns a function that stops listening; it never throws
 * @throws what the signal's `addEventListener` throws; then nothing is registered
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const own = signal as Partial<OwnSignal>;
  if (own[LISTEN]) return own[LISTEN](callback);
  const known = listened.get(signal);
  known?.callbacks.add(callback);
  const { callbacks, listener } = known ?? listen(signal, callback);
  return () => {
    if (callbacks.delete(callback) && callbacks.size === 0) unlisten(signal, listener);
  };
}

/**
 * `signal.reason`, or an `AbortError` where there is none, as in old polyfills, or where reading it throws.
 */
export function abortReason(signal: AbortSignal): unknown {
  try {
    const reason: unknown = signal.reason;
    if (reason !== undefined) return reason;
  } catch {
    // Reading it threw: the same as no reason.
  }
  return new DOMException('This operation was aborted', 'AbortError');
}

function listen(signal: AbortSignal, callback: () => void): Listened {
  const callbacks = new Set([callback]);
  const listener = () => {
    for (const one of callbacks) one();
  };
  signal.addEventListener('abort', listener);
  const entry = { callbacks, listener };
  listened.set(signal, entry);
  return entry;
}

/**
 * A signal without `removeEventListener` keeps its listener, which the next input with that signal then
 * shares.
 */
function unlisten(signal: AbortSignal, listener: () => void): void {
  try {
    if (typeof signal.removeEventListener !== 'function') return;
    listened.delete(signal);
    signal.removeEventListener('abort', listener);
  } catch {
    // The listener stays, and has no callbacks left to call.
  }
}
