#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { parseArgs } from 'node:util';
import { LinkError } from '../link/find-parts.js';
import { unlinkTensorflow } from '../link/installed-addon.js';
import { linkTensorflow } from '../link/link-tensorflow.js';

/** `npx nest-batching`. Exit codes: 0 done, 1 something is missing or failed, 2 wrong arguments. */

interface Command {
  summary: string;
  run: (args: string[]) => Promise<void> | void;
}

const COMMANDS: Record<string, Command> = {
  'link-tensorflow': { summary: "run @tensorflow/tfjs-node(-gpu) on your Python's TensorFlow", run: link },
  help: { summary: 'print this', run: help },
  version: { summary: 'print the version of nest-batching', run: version },
};

const LINK_USAGE = `Usage: nest-batching link-tensorflow [options]

Builds the addon of an installed @tensorflow/tfjs-node-gpu, else @tensorflow/tfjs-node, from the package's own source
against the TensorFlow that pip installed. It is installed only after a matrix product with it was correct; an addon that
was there before is kept beside it.

  --package <folder>     the package; default: the one installed in the current directory or above
  --python <executable>  the Python that has TensorFlow; default: python3, else python
  --tensorflow <folder>  instead of --python: the folder tensorflow of a wheel, or a libtensorflow (include/ and lib/)
  --headers <folder>     the folder of node_api.h; default: Node's own, node-gyp's, or that of the package node-api-headers
  --undo                 restore the former addon
  --help                 print this

The compiler is $CXX, else g++, c++ or clang++.
`;

class UsageError extends Error {}

/** Aborts on a signal that stops this process; the reason is the signal's name. */
const stopped = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(name, () => {
    stopped.abort(name);
  });
}

// The reader of the output may close it (`| head`), which must not stop the command half-way.
process.stdout.on('error', () => undefined);

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = explain(error);
}

async function main([name, ...args]: string[]): Promise<void> {
  if (name === '--help' || name === '-h') help();
  else if (name === '--version' || name === '-v') version();
  else if (name !== undefined && Object.hasOwn(COMMANDS, name)) await COMMANDS[name]?.run(args);
  else {
    const wrong = name === undefined ? 'a command is missing' : `there is no command '${name}'`;
    throw new UsageError(`${wrong}; there are ${Object.keys(COMMANDS).join(', ')}`);
  }
}

async function link(args: string[]): Promise<void> {
  const { help, undo, ...options } = readOptions(args);
  if (help) process.stdout.write(LINK_USAGE);
  else if (undo) unlinkTensorflow(options, write);
  else await linkTensorflow(options, write, stopped.signal);
}

function readOptions(args: string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const options = {
    ...{ package: text, python: text, tensorflow: text, headers: text },
    ...{ undo: flag, help: { ...flag, short: 'h' } },
  };
  try {
    const { values } = parseArgs({ args, options });
    const empty = Object.entries(values).find(([, value]) => value === '');
    if (empty) throw new TypeError(`--${empty[0]} is empty`);
    if (values.python !== undefined && values.tensorflow !== undefined) {
      throw new TypeError('--python and --tensorflow exclude each other');
    }
    return values;
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(`link-tensorflow: ${error.message}`);
    throw error;
  }
}

function help(): void {
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(16)} ${summary}\n`);
  write(`Usage: nest-batching <command>\n\n${lines.join('')}\nnest-batching <command> --help says more.\n`);
}

function version(): void {
  const file = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  write(`${(JSON.parse(file) as { version: string }).version}\n`);
}

function write(text: string): void {
  process.stdout.write(text);
}

/** Writes the error to stderr, and returns the exit code. */
function explain(error: unknown): number {
  if (stopped.signal.aborted) {
    const name = stopped.signal.reason as 'SIGINT' | 'SIGTERM' | 'SIGHUP';
    process.stderr.write(`\nStopped by ${name}; nothing was changed.\n`);
    return 128 + constants.signals[name];
  }
  if (error instanceof UsageError) {
    process.stderr.write(`nest-batching: ${error.message}\nnest-batching --help says more.\n`);
    return 2;
  }
  process.stderr.write(`\n${error instanceof LinkError ? error.message : String((error as Error).stack)}\n`);
  return 1;
}
