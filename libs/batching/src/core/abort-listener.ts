interface Listened {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
}

const listened = new WeakMap<AbortSignal, Listened>();

/**
 * Calls `callback` when the signal aborts; returns the way back.
 *
 * However many inputs share a signal, it has one listener: Node warns of more than ten, and takes time in proportion
 * to their number for removing one.
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const { callbacks, listener } = listened.get(signal) ?? listen(signal);
  callbacks.add(callback);
  return () => {
    if (!callbacks.delete(callback) || callbacks.size > 0) return;
    listened.delete(signal);
    signal.removeEventListener('abort', listener);
  };
}

function listen(signal: AbortSignal): Listened {
  const callbacks = new Set<() => void>();
  const listener = () => {
    for (const callback of callbacks) callback();
  };
  signal.addEventListener('abort', listener);
  const entry = { callbacks, listener };
  listened.set(signal, entry);
  return entry;
}
