import { parseArgs } from 'node:util';
import { type TfjsBackend, tfjsBackends } from 'nest-batching/tfjs';
import { SESSIONS } from './policy-network.js';

/** What the command line says. */
export interface Options {
  readonly seed: number;
  readonly hidden: number;
  readonly backend: TfjsBackend | 'auto';
  /** What to compare full batches with; nothing when the game shall be learned. */
  readonly batchSize: number | undefined;
  readonly out: string;
  /** Port of `GET /metrics`; nothing when none is wanted. */
  readonly metrics: number | undefined;
}

export const HELP = `Plays ${SESSIONS} games of CartPole side by side on one network, which learns from them.

npm run games -- [options]

  --seed N        the same whole number gives the same games again (default 1)
  --hidden N      units in each of the two hidden layers (default 64)
  --backend NAME  ${tfjsBackends.join(', ')}, or auto for the best that works (default wasm)
  --batch-size N  instead of learning, play by turns with batches of ${SESSIONS} and of N, and compare
  --out FOLDER    where the learning curve and the replay are written (default dist/games)
  --metrics PORT  serve GET /metrics on this port of 127.0.0.1 meanwhile (0: any), for a Prometheus
  --help          show this`;

/** The command line cannot be what was meant. The message says what was expected and what came. */
export class UsageError extends Error {}

/** @returns nothing when help is wanted. @throws UsageError */
export function readOptions(args: readonly string[]): Options | undefined {
  const { help, seed, hidden, backend, 'batch-size': batchSize, out, metrics } = parse(args);
  if (help) return undefined;
  const backends = [...tfjsBackends, 'auto'] as const;
  const known = backends.find((name) => name === backend);
  if (!known) throw new UsageError(`--backend: expected one of ${backends.join(', ')}, got '${backend}'`);
  if (out === '') throw new UsageError('--out: expected a folder, got an empty text');
  return {
    seed: wholeNumber('--seed', seed, 0, 2 ** 31 - 1),
    hidden: wholeNumber('--hidden', hidden, 1, 8192),
    backend: known,
    batchSize: batchSize === undefined ? undefined : wholeNumber('--batch-size', batchSize, 1, SESSIONS - 1),
    out,
    metrics: metrics === undefined ? undefined : wholeNumber('--metrics', metrics, 0, 65_535),
  };
}

function parse(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        seed: { type: 'string', default: '1' },
        hidden: { type: 'string', default: '64' },
        backend: { type: 'string', default: 'wasm' },
        'batch-size': { type: 'string' },
        out: { type: 'string', default: 'dist/games' },
        metrics: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    return values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message}\n\n${HELP}`);
  }
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new UsageError(`${name}: expected a whole number from ${least} to ${most}, got '${text}'`);
  }
  return value;
}
