interface Listened {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
}

const listened = new WeakMap<AbortSignal, Listened>();

/**
 * Calls `callback` when the signal aborts; returns the way back, which never throws.
 *
 * However many inputs share a signal, it has one listener: Node warns of more than ten, and takes time in proportion
 * to their number for removing one.
 *
 * @throws what the signal's `addEventListener` throws; then nothing is left behind
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const known = listened.get(signal);
  known?.callbacks.add(callback);
  const { callbacks, listener } = known ?? listen(signal, callback);
  return () => {
    if (callbacks.delete(callback) && callbacks.size === 0) unlisten(signal, listener);
  };
}

/** What went wrong, by the signal. Those of old polyfills have no `reason`: then what the platform itself would take. */
export function abortReason(signal: AbortSignal): unknown {
  try {
    const reason: unknown = signal.reason;
    if (reason !== undefined) return reason;
  } catch {
    // One that cannot be read is none.
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

/** A signal that has no way to remove a listener keeps it, for the next input that comes with it. */
function unlisten(signal: AbortSignal, listener: () => void): void {
  try {
    if (typeof signal.removeEventListener !== 'function') return;
    listened.delete(signal);
    signal.removeEventListener('abort', listener);
  } catch {
    // It has no input to call any more.
  }
}
