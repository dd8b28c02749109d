import { execFile, type ExecFileException } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { TrialReport } from './addon-trial.js';

/**
 * Builds the addon of an installed `@tensorflow/tfjs-node-gpu` or `@tensorflow/tfjs-node` from the package's own source,
 * against a TensorFlow that is on the machine already. The package then runs without its download, on the CUDA that this
 * TensorFlow was made for.
 */

export interface LinkOptions {
  /** The package's folder. Default: what the current directory would `require`, `tfjs-node-gpu` before `tfjs-node`. */
  package?: string;
  /** The Python whose TensorFlow it is. Default: `python3`, else `python`. */
  python?: string;
  /** Instead of `python`: the folder `tensorflow` of a wheel, or a libtensorflow's with `include` and `lib`. */
  tensorflow?: string;
  /** The folder with `node_api.h`. Default: Node's own, node-gyp's, or that of the package `node-api-headers`. */
  headers?: string;
}

/** Writes to the terminal. */
type Write = (text: string) => void;

/** Linking is not possible, or failed. The message is for the terminal: what is wrong, and what to do. */
export class LinkError extends Error {}

/**
 * Looks for all that it needs first, builds in a temporary folder inside the package, tries the addon in a process of its
 * own, and only then moves it to its place: when it fails or is stopped, everything is as it was. Rejects with `LinkError`,
 * or with the reason of `signal`.
 */
export async function linkTensorflow(options: LinkOptions, write: Write, signal: AbortSignal): Promise<void> {
  const parts = await findParts(options, signal);
  const { name, version, folder } = parts.package;
  write(
    `Package:    ${name} ${version} in ${folder}\nTensorFlow: ${parts.tensorflow.folder}\n` +
      `Compiler:   ${parts.compiler.version}\nHeaders:    ${parts.headers}\n`,
  );
  const temporary = mkdtempSync(join(folder, '.link-tensorflow-'));
  try {
    const addon = await build(parts, temporary, write, signal);
    const trial = await step('Trying a matrix product in a fresh process', write, () =>
      tryAddon(parts.package, addon, signal),
    );
    const kept = install(parts.package, addon, trial.place);
    write(`The addon is in ${trial.place}\n`);
    if (kept) write(`The one that was there before is kept as ${kept}; --undo puts it back\n`);
    write(`${name} runs on TensorFlow ${trial.tensorflow}, on the ${trial.gpu ? 'GPU' : 'CPU'}\n`);
    if (!trial.gpu) for (const line of trial.aboutGpu) write(`  TensorFlow says: ${line}\n`);
  } finally {
    rmSync(temporary, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Puts back what was there before `linkTensorflow`. Throws `LinkError` where the addon is no longer the one it built. */
export function unlinkTensorflow(options: LinkOptions, write: Write): void {
  let found: Package;
  try {
    found = findPackage(options.package);
  } catch (error) {
    throw error instanceof MissingPart ? whatIsMissing([error]) : error;
  }
  const record = readRecord(found);
  if (!record) {
    write(`Nothing to undo: ${found.folder} was not linked by this command\n`);
    return;
  }
  const place = join(found.folder, record.addon);
  if (existsSync(place) && hashOf(place) !== record.sha256) {
    throw new LinkError(
      `${place} is not the addon that this command built; something else has put it there since.\n` +
        'It was left as it is.',
    );
  }
  rmSync(place, { force: true });
  const kept = join(found.folder, keptName(record.addon));
  if (existsSync(kept)) renameSync(kept, place);
  rmSync(recordOf(found));
  for (const folder of record.folders.toReversed()) {
    const made = join(found.folder, folder);
    // One in which somebody has put something since is no longer ours.
    if (existsSync(made) && readdirSync(made).length === 0) rmdirSync(made);
  }
  write(`${found.name} in ${found.folder} is as it was before it was linked\n`);
}

interface Package {
  name: string;
  version: string;
  folder: string;
}

interface Tensorflow {
  folder: string;
  include: string;
  /** The shared libraries to link: those with TensorFlow's C API, and what they would not find by themselves. */
  libraries: string[];
}

interface Compiler {
  program: string;
  /** What stands in `CXX` after the program. */
  args: string[];
  version: string;
}

interface Parts {
  package: Package;
  tensorflow: Tensorflow;
  compiler: Compiler;
  headers: string;
}

/** One thing that is not there, and how to get it. */
class MissingPart extends Error {
  constructor(
    message: string,
    readonly remedy: readonly string[],
  ) {
    super(message);
  }
}

async function findParts(options: LinkOptions, signal: AbortSignal): Promise<Parts> {
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

function whatIsMissing(missing: readonly MissingPart[]): LinkError {
  const parts = missing.map(
    ({ message, remedy }) => `- ${message}\n${remedy.map((line) => `    ${line}\n`).join('')}`,
  );
  return new LinkError(`Missing, so that nothing was done:\n${parts.join('')}`.trimEnd());
}

/** As `backend.ts` finds it, but from the current directory. */
function findPackage(wanted: string | undefined): Package {
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

/** Where the current directory finds the first of these files that it finds. */
function resolveFirst(files: readonly string[]): string | undefined {
  const require = createRequire(join(process.cwd(), 'package.json'));
  for (const file of files) {
    try {
      return require.resolve(file);
    } catch {
      // The next one.
    }
  }
  return undefined;
}

/** Looks without importing, which would take seconds, and not in the current directory, which `-c` puts first. */
const findInPython = `
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
    const { output, errors, problem } = await run(program, ['-c', findInPython], { signal, timeout: 60_000 });
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
  // CUDA is looked for beside the folder that a library was loaded from, which must not be a link to it.
  const folder = existsSync(given) ? realpathSync(given) : given;
  const include = join(folder, 'include');
  // A wheel has its libraries beside its Python code, a libtensorflow in lib/.
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
 * TensorFlow 2.21 opens libcusolver, which pip installs beside it with CUDA, from a library whose search path lacks that
 * folder, and then uses no GPU, in Python neither. What is already in the process is found without a path; so the addon
 * brings it along. (2.16 to 2.20 have the folder in their path.)
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
    const { output, problem } = await run(program, [...args, '--version'], { signal, timeout: 60_000 });
    if (problem === undefined) return { program, args, version: output.split('\n')[0] ?? '' };
    without.push(`${program} ${problem}`);
  }
  throw new MissingPart(`Compiler: ${fromEnvironment ? 'CXX: ' : ''}${without.join('; ')}`, [
    'Debian and Ubuntu: apt-get install g++',
    'macOS: xcode-select --install',
  ]);
}

/** The addon uses nothing but Node-API, which is the same in every version of Node; so any version's headers will do. */
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

/** The finished addon, in the folder `temporary`. */
async function build(parts: Parts, temporary: string, write: Write, signal: AbortSignal): Promise<string> {
  const { compiler, tensorflow, headers } = parts;
  const compile = async (args: string[]) => {
    // The compiler leaves its own temporary files behind when it is killed; so they are put where all is swept away.
    const env = { ...process.env, TMPDIR: temporary };
    const { errors, output, problem } = await run(compiler.program, [...compiler.args, ...args], {
      signal,
      env,
    });
    if (problem === undefined) return;
    throw new LinkError(
      `${errors || output}${compiler.program} ${problem}. Nothing was changed.\n` +
        'The compiler must know C++17 (g++ 8, clang++ 7 or later); CXX names another one.',
    );
  };
  const sources = join(parts.package.folder, 'binding');
  const objects: string[] = [];
  for (const source of readdirSync(sources).filter((file) => file.endsWith('.cc'))) {
    const object = join(temporary, `${source}.o`);
    const language = ['-std=c++17', '-O2', '-fPIC', '-DNAPI_VERSION=8'];
    const includes = ['-I', headers, '-I', tensorflow.include];
    await step(`Compiling ${source}`, write, () =>
      compile([...language, ...includes, '-c', join(sources, source), '-o', object]),
    );
    objects.push(object);
  }
  const addon = join(temporary, 'tfjs_binding.node');
  // `-z now`: a function that this TensorFlow lacks shows when the addon is tried, not at somebody's prediction.
  const shared =
    process.platform === 'darwin'
      ? ['-bundle', '-undefined', 'dynamic_lookup']
      : ['-shared', '-Wl,-z,now,--no-as-needed'];
  const places = new Set(tensorflow.libraries.map((file) => dirname(file)));
  const rpath = [...places].flatMap((lib) => ['-Xlinker', '-rpath', '-Xlinker', lib]);
  await step('Linking tfjs_binding.node', write, () =>
    compile([...shared, ...objects, ...tensorflow.libraries, ...rpath, '-o', addon]),
  );
  return addon;
}

/** Runs the package with the new addon, as yet from the temporary folder. */
async function tryAddon(
  { name, folder }: Package,
  addon: string,
  signal: AbortSignal,
): Promise<TrialReport & { aboutGpu: string[] }> {
  const trial = fileURLToPath(new URL('./addon-trial.js', import.meta.url));
  // TensorFlow would take all of the GPU's memory, of which a server may be using some.
  const env = { ...process.env, TF_FORCE_GPU_ALLOW_GROWTH: 'true' };
  const { output, errors, problem } = await run(process.execPath, [trial, folder, addon], { signal, env });
  if (problem !== undefined) {
    throw new LinkError(
      `${errors.trimEnd()}\nThe addon was built, but ${name} does not work with it (node ${problem}). Nothing was changed.`,
    );
  }
  const report = JSON.parse(output.trimEnd().split('\n').at(-1) ?? '') as TrialReport;
  // Its log has lines such as `W0000 00:00:1795424540.238553    8530 gpu_device.cc:2342] Cannot dlopen some GPU libraries.`
  const aboutGpu = errors
    .split('\n')
    .map((line) => line.replace(/^.*?\.cc:\d+\] /, ''))
    .filter((line) => /\b(gpu|cuda)/i.test(line));
  return { ...report, aboutGpu };
}

/** What `unlinkTensorflow` has to know. The file is in the package, so that it goes when npm replaces the package. */
interface LinkRecord {
  /** Where the addon is, seen from the package's folder. */
  addon: string;
  sha256: string;
  /** Folders that were made for it, the outer one first. */
  folders: string[];
}

/** Puts the addon into its place, and says where it keeps what was there before. */
function install(found: Package, built: string, place: string): string | undefined {
  const addon = relative(found.folder, place);
  const missing: string[] = [];
  for (let folder = dirname(addon); !existsSync(join(found.folder, folder)); folder = dirname(folder)) {
    missing.unshift(folder);
  }
  mkdirSync(dirname(place), { recursive: true });
  accessSync(dirname(place), constants.W_OK); // before anything is changed
  const earlier = readRecord(found);
  const isOurs = existsSync(place) && earlier?.sha256 === hashOf(place);
  const record: LinkRecord = { addon, sha256: hashOf(built), folders: earlier?.folders ?? missing };
  writeFileSync(recordOf(found), `${JSON.stringify(record, undefined, 2)}\n`);
  const kept = join(found.folder, keptName(addon));
  if (existsSync(place) && !isOurs) renameSync(place, kept);
  renameSync(built, place);
  return existsSync(kept) ? kept : undefined;
}

function recordOf({ folder }: Package): string {
  return join(folder, 'link-tensorflow.json');
}

function readRecord(found: Package): LinkRecord | undefined {
  if (!existsSync(recordOf(found))) return undefined;
  return JSON.parse(readFileSync(recordOf(found), 'utf8')) as LinkRecord;
}

function keptName(addon: string): string {
  return `${addon}.before-link`;
}

function hashOf(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

/** Says what is going on, and in the end how long it took. */
async function step<Value>(what: string, write: Write, work: () => Promise<Value>): Promise<Value> {
  write(`${what} … `);
  const start = performance.now();
  try {
    const value = await work();
    write(`${((performance.now() - start) / 1000).toFixed(1)} s\n`);
    return value;
  } catch (error) {
    write('failed\n');
    throw error;
  }
}

const execute = promisify(execFile);

interface Ended {
  output: string;
  errors: string;
  /** Why it did not end well, after the program's name. */
  problem?: string;
}

async function run(
  program: string,
  args: string[],
  options: { signal: AbortSignal; timeout?: number; env?: NodeJS.ProcessEnv },
): Promise<Ended> {
  try {
    const { stdout, stderr } = await execute(program, args, { maxBuffer: 64 * 2 ** 20, ...options });
    return { output: stdout, errors: stderr };
  } catch (error) {
    options.signal.throwIfAborted();
    const { code, signal, stdout = '', stderr = '' } = error as ExecFileException;
    const ended = signal ? `was ended by ${signal}` : `failed with exit code ${code ?? ''}`;
    const problem =
      code === 'ENOENT' ? 'was not found' : typeof code === 'string' ? `cannot be run (${code})` : ended;
    return { output: stdout, errors: stderr, problem };
  }
}
