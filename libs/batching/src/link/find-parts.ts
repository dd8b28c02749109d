import { accessSync, constants, existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { runProgram } from './run-program.js';

export interface LinkOptions {
  /**
   * The package's folder. Default: the one that the current directory would `require`, `tfjs-node-gpu` before
   * `tfjs-node`.
   */
  package?: string;
  /** The Python that has TensorFlow. Default: `python3`, else `python`. */
  python?: string;
  /**
   * Instead of `python`: the folder `tensorflow` of a wheel, or that of a libtensorflow, with `include` and
   * `lib`.
   */
  tensorflow?: string;
  /**
   * The folder of `node_api.h`. Default: Node's own, node-gyp's, or that of the package `node-api-headers`.
   */
  headers?: string;
}

/**
 * Linking is not possible, or has failed. The message, for the terminal, says what is wrong and what to do.
 */
export class LinkError extends Error {}

export interface Package {
  name: string;
  version: string;
  folder: string;
}

export interface Tensorflow {
  folder: string;
  include: string;
  /**
   * The shared libraries to link: those with TensorFlow's C API, and dependencies that they would not find.
   */
  libraries: string[];
}

interface Compiler {
  program: string;
  /** The arguments in `CXX` after the program. */
  args: string[];
  version: string;
}

export interface Parts {
  package: Package;
  tensorflow: Tensorflow;
  compiler: Compiler;
  headers: string;
}

/** A missing part, and how to get it. */
export class MissingPart extends Error {
  constructor(
    message: string,
    readonly remedy: readonly string[],
  ) {
    super(message);
  }
}

export async function findParts(options: LinkOptions, signal: AbortSignal): Promise<Parts> {
  if (process.platform === 'win32') {
    throw new LinkError(
      'Linux and macOS only. On Windows, TensorFlow uses a GPU in WSL alone: run this there.',
    );
  }
  const missing: MissingPart[] = [];
  const look = async <Part>(find: () => Part | Promise<Part>): Promise<Part | undefined> => {
    try {
      return await find();
    } catch (error) {
      if (!(error instanceof MissingPart)) throw error;
      missing.push(error);
      return undefined;
    }
  };
  const parts = {
    package: await look(() => findPackage(options.package)),
    tensorflow: await look(() => findTensorflow(options, signal)),
    compiler: await look(() => findCompiler(signal)),
    headers: await look(() => findHeaders(options.headers)),
  };
  if (missing.length > 0) throw whatIsMissing(missing);
  return parts as Parts;
}

export function whatIsMissing(missing: readonly MissingPart[]): LinkError {
  const parts = missing.map(
    ({ message, remedy }) => `- ${message}\n${remedy.map((line) => `    ${line}\n`).join('')}`,
  );
  return new LinkError(`Missing, so that nothing was done:\n${parts.join('')}`.trimEnd());
}

/** Finds the package as the backend `tensorflow` does, but from the current directory. */
export function findPackage(wanted: string | undefined): Package {
  const install = 'npm install --ignore-scripts @tensorflow/tfjs-node-gpu';
  const manifest =
    wanted === undefined
      ? resolveFirst(['@tensorflow/tfjs-node-gpu/package.json', '@tensorflow/tfjs-node/package.json'])
      : join(resolve(wanted), 'package.json');
  if (manifest === undefined) {
    throw new MissingPart(
      `Package: neither @tensorflow/tfjs-node-gpu nor @tensorflow/tfjs-node is installed in ${process.cwd()} or above`,
      [`${install}   (without its scripts, one of which is the download)`],
    );
  }
  const folder = dirname(manifest);
  if (!existsSync(manifest) || !existsSync(join(folder, 'binding'))) {
    throw new MissingPart(
      `Package: ${folder} is not @tensorflow/tfjs-node(-gpu) with its source in binding/`,
      [install],
    );
  }
  try {
    accessSync(folder, constants.W_OK);
  } catch {
    throw new MissingPart(`Package: ${folder} cannot be written to`, [
      'run this as the user who installed it',
    ]);
  }
  const { name, version } = JSON.parse(readFileSync(manifest, 'utf8')) as { name: string; version: string };
  return { name, version, folder: realpathSync(folder) };
}

/** The first of these files that resolves from the current directory. */
function resolveFirst(files: readonly string[]): string | undefined {
  const require = createRequire(join(process.cwd(), 'package.json'));
  for (const file of files) {
    try {
      return require.resolve(file);
    } catch {
      // Try the next one.
    }
  }
  return undefined;
}

/**
 * Finds TensorFlow without importing it, which would take seconds. Ignores the current directory, which `-c`
 * puts first.
 */
const FIND_IN_PYTHON = `
import sys
sys.path = [path for path in sys.path if path]
from importlib.util import find_spec
spec = find_spec("tensorflow")
print(list(spec.submodule_search_locations)[0] if spec else "")
`;

async function findTensorflow({ tensorflow, python }: LinkOptions, signal: AbortSignal): Promise<Tensorflow> {
  if (tensorflow !== undefined) return inspectTensorflow(resolve(tensorflow));
  const without: string[] = [];
  for (const program of python === undefined ? ['python3', 'python'] : [python]) {
    const { output, errors, problem } = await runProgram(program, ['-c', FIND_IN_PYTHON], {
      signal,
      timeout: 60_000,
    });
    const folder = output.trimEnd().split('\n').at(-1);
    if (problem === undefined && folder) return inspectTensorflow(folder);
    const why = problem
      ? `${problem}${errors && `: ${errors.trimEnd().split('\n').at(-1) ?? ''}`}`
      : 'has no TensorFlow';
    without.push(`${program} ${why}`);
  }
  throw new MissingPart(`TensorFlow: ${without.join('; ')}`, [
    'python3 -m venv tensorflow && tensorflow/bin/pip install tensorflow-cpu',
    "  (for an NVIDIA GPU 'tensorflow[and-cuda]', on macOS tensorflow; Debian and Ubuntu: apt-get install python3-venv)",
    'then again with --python tensorflow/bin/python',
  ]);
}

function inspectTensorflow(given: string): Tensorflow {
  // TensorFlow looks for CUDA beside the folder that it is loaded from, so this must not be a symbolic link.
  const folder = existsSync(given) ? realpathSync(given) : given;
  const include = join(folder, 'include');
  // The libraries of a wheel are beside its Python code, those of a libtensorflow in lib/.
  const lib = [folder, join(folder, 'lib')].find((lib) => findLibrary(lib, 'tensorflow_framework'));
  const framework = lib && findLibrary(lib, 'tensorflow_framework');
  const api = lib && (findLibrary(lib, 'tensorflow_cc') ?? findLibrary(lib, 'tensorflow'));
  if (framework && api && existsSync(join(include, 'tensorflow', 'c', 'eager', 'c_api.h'))) {
    return { folder, include, libraries: [api, framework, ...lostLibraries(folder, framework)] };
  }
  const expected = ['tensorflow_cc', 'tensorflow_framework'].map((name) => libraryFiles(name)[0] ?? '');
  throw new MissingPart(
    `TensorFlow: ${folder} does not have ${expected.join(', ')} and include/tensorflow/c/eager/c_api.h`,
    ['pip install --upgrade tensorflow   (2.16 or later), or another one with --python or --tensorflow'],
  );
}

function findLibrary(folder: string, name: string): string | undefined {
  return libraryFiles(name)
    .map((file) => join(folder, file))
    .find((file) => existsSync(file));
}

/**
 * TensorFlow 2.21 does not find the libcusolver that pip installs with CUDA, because its search path lacks
 * that folder, and then does not use the GPU (nor in Python). The addon links to that library, since one that
 * is loaded already needs no search path. (2.16 to 2.20 have the folder in their path.)
 */
function lostLibraries(folder: string, framework: string): string[] {
  const lib = join(folder, '..', 'nvidia', 'cusolver', 'lib');
  if (!existsSync(lib) || readFileSync(framework).includes('nvidia/cusolver/lib')) return [];
  return readdirSync(lib)
    .filter((file) => file.startsWith('libcusolver.so'))
    .map((file) => join(lib, file));
}

function libraryFiles(name: string): string[] {
  return (process.platform === 'darwin' ? ['.2.dylib', '.dylib'] : ['.so.2', '.so']).map(
    (end) => `lib${name}${end}`,
  );
}

async function findCompiler(signal: AbortSignal): Promise<Compiler> {
  const fromEnvironment = process.env.CXX?.trim();
  const without: string[] = [];
  for (const command of fromEnvironment ? [fromEnvironment] : ['g++', 'c++', 'clang++']) {
    const [program = '', ...args] = command.split(/\s+/);
    const { output, problem } = await runProgram(program, [...args, '--version'], {
      signal,
      timeout: 60_000,
    });
    if (problem === undefined) return { program, args, version: output.split('\n')[0] ?? '' };
    without.push(`${program} ${problem}`);
  }
  throw new MissingPart(`Compiler: ${fromEnvironment ? 'CXX: ' : ''}${without.join('; ')}`, [
    'Debian and Ubuntu: apt-get install g++',
    'macOS: xcode-select --install',
  ]);
}

/** Headers of any version of Node suffice: the addon uses only Node-API, which is stable. */
function findHeaders(wanted: string | undefined): string {
  const nodeApiHeaders = resolveFirst(['node-api-headers/package.json']);
  const { npm_config_nodedir: nodedir, npm_config_devdir: devdir } = process.env;
  const cache = process.platform === 'darwin' ? ['Library', 'Caches'] : ['.cache'];
  const nodeGyp = devdir ?? join(homedir(), ...cache, 'node-gyp');
  const folders =
    wanted === undefined
      ? [
          ...(nodedir === undefined ? [] : [join(nodedir, 'include', 'node'), join(nodedir, 'src')]),
          join(dirname(process.execPath), '..', 'include', 'node'),
          join(nodeGyp, process.versions.node, 'include', 'node'),
          ...(nodeApiHeaders === undefined ? [] : [join(dirname(nodeApiHeaders), 'include')]),
        ]
      : [resolve(wanted), join(resolve(wanted), 'include', 'node')];
  const folder = folders.find((folder) => existsSync(join(folder, 'node_api.h')));
  if (folder !== undefined) return folder;
  throw new MissingPart(`Node's headers: there is no node_api.h in ${folders.join(', ')}`, [
    'npm install --no-save node-api-headers',
    'or --headers with the folder include/node of any Node from nodejs.org',
  ]);
}
