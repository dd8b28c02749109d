import { DISPATCHES, type Knobs, LIMITS } from '../frame.js';

/** Where the dashboard is, whatever stands before it. */
export function address(): string {
  return location.pathname.replace(/\/+$/, '');
}

/** @throws Error with a sentence, if the server does not take the change */
export async function changeSettings(url: string, queue: string, change: Partial<Knobs>): Promise<void> {
  const body = JSON.stringify({ queue, ...change });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body }).catch(() => {
    throw new Error('Not changed: the server cannot be reached.');
  });
  if (response.ok) return;
  const { message } = (await response.json().catch(() => ({}))) as { message?: unknown };
  const why = typeof message === 'string' ? message : response.statusText;
  throw new Error(`Not changed (${response.status}): ${why}`);
}

/** The settings that the page's address has for a queue: `#Digits.classify=64,5,adaptive`. */
export function readProposal(queue: string): Knobs | undefined {
  const [size, delay, dispatch] = new URLSearchParams(location.hash.slice(1)).get(queue)?.split(',') ?? [];
  const [batchSize, maxDelay] = [Number(size), Number(delay)];
  const known = DISPATCHES.find((each) => each === dispatch);
  const isValid =
    Number.isInteger(batchSize) &&
    isWithin(batchSize, LIMITS.batchSize) &&
    isWithin(maxDelay, LIMITS.maxDelay);
  return known && isValid ? { batchSize, maxDelay, dispatch: known } : undefined;
}

/** Puts the settings of a queue into the page's address, or takes them out. */
export function writeProposal(queue: string, knobs: Knobs | undefined): void {
  const { batchSize, maxDelay, dispatch } = knobs ?? {};
  writeAddress(
    queue,
    batchSize && maxDelay !== null && dispatch ? `${batchSize},${maxDelay},${dispatch}` : undefined,
  );
}

export function readAddress(name: string): string | undefined {
  return new URLSearchParams(location.hash.slice(1)).get(name) ?? undefined;
}

export function writeAddress(name: string, value: string | undefined): void {
  const parameters = new URLSearchParams(location.hash.slice(1));
  if (value === undefined) parameters.delete(name);
  else parameters.set(name, value);
  // A comma may stand in a fragment as it is.
  const hash = parameters.toString().replaceAll('%2C', ',');
  history.replaceState(null, '', hash ? `#${hash}` : location.pathname + location.search);
}

function isWithin(value: number, { least, most }: { least: number; most: number }): boolean {
  return value >= least && value <= most;
}
