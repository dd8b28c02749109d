import { parseArgs } from 'node:util';
import { hideUrl, schemesOf, type TransportName, transportOf, transports } from './broker-url.js';

/** What the command line says. */
export interface Options {
  /** Nothing: the first whose broker is installed here. */
  readonly transport: TransportName | undefined;
  /** Of a broker that runs already. */
  readonly url: string | undefined;
  /** How long the crowd sends. */
  readonly seconds: number;
  /** How many model nodes are killed meanwhile. */
  readonly kills: number;
}

export const HELP = `Two web nodes and two model nodes read digits; model nodes are killed meanwhile.

npm run cluster -- [options]

  --transport NAME  ${transports.join(' or ')} (default: the first that is installed)
  --url URL         of a broker that runs already, such as redis://127.0.0.1:6379 (default: one is started)
  --seconds N       how long a crowd sends digits (default 20)
  --kills N         how many model nodes are killed with SIGKILL meanwhile, and started anew (default 4)
  --help            show this`;

/** The command line cannot be what was meant. The message says what was expected and what came. */
export class UsageError extends Error {}

/** @returns nothing when help is wanted. @throws UsageError */
export function readOptions(args: readonly string[]): Options | undefined {
  const { help, transport, url, seconds, kills } = parse(args);
  if (help) return undefined;
  const named = transports.find((name) => name === transport);
  if (transport !== undefined && !named) {
    throw new UsageError(`--transport: expected ${transports.join(' or ')}, got '${transport}'`);
  }
  return {
    transport: url === undefined ? named : transportOfUrl(url, named),
    url,
    seconds: wholeNumber('--seconds', seconds, 1, 3600),
    kills: wholeNumber('--kills', kills, 0, 1000),
  };
}

function transportOfUrl(url: string, named: TransportName | undefined): TransportName {
  const possible = named ? [named] : transports;
  const found = transportOf(url, possible);
  if (found) return found;
  throw new UsageError(`--url: expected ${schemesOf(possible)}, got ${hideUrl(url)}`);
}

function parse(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        transport: { type: 'string' },
        url: { type: 'string' },
        seconds: { type: 'string', default: '20' },
        kills: { type: 'string', default: '4' },
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
