import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';

/**
 * The built command, with small stand-ins: shell scripts as programs, and a package and a TensorFlow of a few lines, which
 * a real compiler builds. test/link-tensorflow.e2e.spec.ts has the real ones.
 */
const cli = fileURLToPath(new URL('../../../../dist/libs/batching/cli/cli.js', import.meta.url));
const packageFolder = 'node_modules/@tensorflow/tfjs-node-gpu';

let project: string;
/** The only folder in PATH, so that no program is found but those of the test. */
let bin: string;

beforeEach(() => {
  project = realpathSync(mkdtempSync(join(tmpdir(), 'nest-batching-')));
  bin = join(project, 'bin');
  mkdirSync(bin);
});

afterEach(() => {
  rmSync(project, { recursive: true });
});

interface Ended {
  code: number;
  output: string;
  errors: string;
}

interface Circumstances {
  env?: NodeJS.ProcessEnv;
  node?: string;
  cwd?: string;
}

async function run(
  args: string[],
  { env, node = process.execPath, cwd = project }: Circumstances = {},
): Promise<Ended> {
  try {
    const options = { cwd, env: { PATH: bin, HOME: project, ...env } };
    const { stdout, stderr } = await promisify(execFile)(node, [cli, ...args], options);
    return { code: 0, output: stdout, errors: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, output: stdout, errors: stderr };
  }
}

const link = (args: string[] = [], circumstances?: Circumstances) =>
  run(['link-tensorflow', ...args], circumstances);

function write(file: string, text: string): string {
  const path = join(project, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

/** A program in PATH. */
function script(name: string, text: string): string {
  const path = write(join('bin', name), `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** A package that looks for its addon as tfjs-node does. Its product is plain JavaScript, and wrong on request. */
function writePackage({ loadsAddon = true, product = 'sum' } = {}): string {
  write(
    'node_modules/@mapbox/node-pre-gyp/index.js',
    `const { dirname, join } = require('node:path');
     const find = (manifest) => join(dirname(manifest), 'lib', 'napi-v8', 'tfjs_binding.node');
     Object.defineProperty(exports, 'find', { enumerable: true, get: () => find });`,
  );
  const manifest = { name: '@tensorflow/tfjs-node-gpu', version: '4.22.0', main: 'dist/index.js' };
  write(join(packageFolder, 'package.json'), JSON.stringify(manifest));
  write(
    join(packageFolder, 'dist/index.js'),
    `const { isNullOrUndefined } = require('node:util');
     const find = require('@mapbox/node-pre-gyp').find(require('node:path').join(__dirname, '../package.json'));
     const binding = ${loadsAddon ? 'require(find)' : '{}'};
     exports.backend = () => ({ isUsingGpuDevice: isNullOrUndefined(0), binding });
     exports.tensor2d = (values, shape) => ({ values, shape });
     exports.matMul = ({ values: a, shape: [rows, inner] }, { values: b, shape: [, columns] }) => ({
       data: async () => Float32Array.from({ length: rows * columns }, (_, i) => {
         let sum = 0;
         for (let k = 0; k < inner; k++) sum += a[Math.floor(i / columns) * inner + k] * b[k * columns + (i % columns)];
         return ${product};
       }),
     });`,
  );
  write(
    join(packageFolder, 'binding/tfjs_binding.cc'),
    `#include <node_api.h>
     #include "tensorflow/c/eager/c_api.h"
     static napi_value Init(napi_env env, napi_value exports) {
       napi_value version;
       napi_create_string_utf8(env, TF_Version(), NAPI_AUTO_LENGTH, &version);
       napi_set_named_property(env, exports, "TF_Version", version);
       return exports;
     }
     NAPI_MODULE(tfjs_binding, Init)`,
  );
  // Not every distribution of Node brings its headers: npm's package "node" does not.
  const headers = join(project, 'node_modules/node-api-headers');
  const installed = dirname(createRequire(import.meta.url).resolve('node-api-headers/package.json'));
  if (!existsSync(headers)) symlinkSync(installed, headers);
  return join(project, packageFolder);
}

/** The files of a TensorFlow, empty: enough to be found. */
function writeTensorflow(folder = 'site-packages/tensorflow', lib = '', name = 'tensorflow_cc'): string {
  write(join(folder, 'include/tensorflow/c/eager/c_api.h'), 'extern "C" const char* TF_Version();');
  write(join(folder, lib, libraryFile(name)), '');
  write(join(folder, lib, libraryFile('tensorflow_framework')), '');
  return join(project, folder);
}

const libraryFile = (name: string) =>
  process.platform === 'darwin' ? `lib${name}.2.dylib` : `lib${name}.so.2`;

/** A compiler that can be found and only runs the given script. */
function writeCompiler(does: string): void {
  script('g++', `if [ "$1" = --version ]; then echo 'g++ 12'; exit 0; fi\n${does}`);
}

/** Everything in a folder: names, contents, modes, times. */
function everythingIn(folder: string): [name: string, ...unknown[]][] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const { mode, mtimeMs } = lstatSync(join(folder, name));
      const isFile = lstatSync(join(folder, name)).isFile();
      return isFile ? [name, mode, mtimeMs, readFileSync(join(folder, name), 'latin1')] : [name, mode];
    });
}

describe('nest-batching', () => {
  it('lists its commands', async () => {
    for (const args of [['help'], ['--help'], ['-h']]) {
      expect(await run(args)).toMatchObject({
        code: 0,
        output: expect.stringContaining('link-tensorflow'),
      });
    }
    expect(await link(['--help'])).toMatchObject({
      code: 0,
      output: expect.stringContaining('--python'),
    });
  });

  it('prints its version', async () => {
    const { version } = JSON.parse(readFileSync(join(dirname(cli), '../package.json'), 'utf8')) as {
      version: string;
    };
    for (const args of [['version'], ['--version'], ['-v']]) {
      expect(await run(args)).toEqual({ code: 0, output: `${version}\n`, errors: '' });
    }
  });

  it.each([
    [[], 'a command is missing; there are link-tensorflow, help, version'],
    [['link'], "there is no command 'link'; there are link-tensorflow, help, version"],
    [['toString'], "there is no command 'toString'"],
    [['link-tensorflow', '--pyton', 'python3'], "Unknown option '--pyton'"],
    [['link-tensorflow', 'python3'], "Unexpected argument 'python3'"],
    [['link-tensorflow', '--python'], "'--python <value>' argument missing"],
    [['link-tensorflow', '--python='], '--python is empty'],
    [
      ['link-tensorflow', '--python', 'a', '--tensorflow', 'b'],
      '--python and --tensorflow exclude each other',
    ],
  ])('ends with 2 when called with %j', async (args, message) => {
    expect(await run(args)).toMatchObject({
      code: 2,
      output: '',
      errors: expect.stringContaining(message),
    });
  });
});

describe('link-tensorflow, when something is missing,', () => {
  it('lists everything at once, with what to install', async () => {
    // A copy of Node, far from its headers.
    const node = join(bin, 'node');
    copyFileSync(process.execPath, node);
    const { code, output, errors } = await link([], { node });
    expect({ code, output }).toEqual({ code: 1, output: '' });
    expect(errors).toMatch(/^- Package: neither .+ is installed in .+\n {4}npm install --ignore-scripts /m);
    expect(errors).toMatch(/^- TensorFlow: python3 was not found; python was not found\n {4}.*pip install/m);
    expect(errors).toMatch(
      /^- Compiler: g\+\+ was not found; c\+\+ was not found; clang\+\+ was not found\n {4}Debian/m,
    );
    expect(errors).toMatch(/^- Node's headers: .+\n {4}npm install --no-save node-api-headers/m);
  });

  it.each<[string, () => string[], NodeJS.ProcessEnv, string]>([
    ['package', () => ['--package', project], {}, 'is not @tensorflow/tfjs-node(-gpu) with its source'],
    ['Python', () => ['--python', script('mine', 'echo')], {}, '/mine has no TensorFlow'],
    [
      'Python, when it fails',
      () => ['--python', script('mine', 'echo "broken python" >&2; exit 3')],
      {},
      '/mine failed with exit code 3: broken python',
    ],
    ['Python, when it is none', () => ['--python', write('mine', '')], {}, '/mine cannot be run (EACCES)'],
    ['TensorFlow', () => ['--tensorflow', 'nowhere'], {}, '/nowhere does not have libtensorflow_cc'],
    ['compiler', () => [], { CXX: 'my++ -m64' }, 'CXX: my++ was not found'],
    ['headers', () => ['--headers', 'nowhere'], {}, 'there is no node_api.h in'],
  ])('says what is wrong with the %s', async (_, prepare, env, message) => {
    const { code, errors } = await link(prepare(), { env });
    expect(code).toBe(1);
    expect(errors).toContain(message);
  });

  it('looks for the TensorFlow that Python would import, but not in the current directory', async () => {
    const python = pythonOfThisMachine();
    if (!python) return;
    const env = { PATH: process.env.PATH, HOME: process.env.HOME };
    writeTensorflow('tensorflow');
    const { errors } = await link(['--python', python], { env });
    expect(errors).not.toContain(join(project, 'tensorflow'));
    const elsewhere = writeTensorflow();
    rmSync(join(elsewhere, 'include'), { recursive: true });
    write('site-packages/tensorflow/__init__.py', 'raise Exception("imported")');
    const path = { ...env, PYTHONPATH: dirname(elsewhere) };
    expect((await link(['--python', python], { env: path })).errors).toContain(
      `TensorFlow: ${elsewhere} does not have`,
    );
  });

  it("takes the headers from npm's settings, node-gyp's cache and node-api-headers", async () => {
    const node = join(bin, 'node');
    copyFileSync(process.execPath, node);
    const version = process.versions.node;
    const cache = process.platform === 'darwin' ? 'Library/Caches' : '.cache';
    write('node_modules/node-api-headers/package.json', '{}');
    for (const [header, env] of [
      ['headers/include/node/node_api.h', { npm_config_nodedir: join(project, 'headers') }],
      [`gyp/${version}/include/node/node_api.h`, { npm_config_devdir: join(project, 'gyp') }],
      [`${cache}/node-gyp/${version}/include/node/node_api.h`, {}],
      ['node_modules/node-api-headers/include/node_api.h', {}],
    ] as const) {
      expect((await link([], { env, node })).errors).toContain("Node's headers");
      const path = write(header, '');
      expect((await link([], { env, node })).errors).not.toContain("Node's headers");
      rmSync(path);
    }
  });
});

describe('link-tensorflow, when it fails,', () => {
  let folder: string;
  let before: ReturnType<typeof everythingIn>;

  beforeEach(() => {
    folder = writePackage();
    write(join(packageFolder, 'lib/napi-v8/tfjs_binding.node'), 'the stock addon');
    script('python3', `echo ${writeTensorflow()}`);
    before = everythingIn(folder);
  });

  afterEach(() => {
    expect(everythingIn(folder)).toEqual(before);
  });

  it('prints the errors of the compiler, and changes nothing', async () => {
    writeCompiler('echo "tfjs_binding.cc:1: error: no such thing" >&2; exit 1');
    const { code, output, errors } = await link();
    expect(code).toBe(1);
    expect(output).toContain('Compiling tfjs_binding.cc … failed');
    expect(errors).toContain('tfjs_binding.cc:1: error: no such thing');
    expect(errors).toContain('g++ failed with exit code 1. Nothing was changed.');
  });

  it('prints why the addon cannot be loaded, and changes nothing', async () => {
    writeCompiler('for last; do :; done; echo "no addon" > "$last"');
    const { code, output, errors } = await link();
    expect(code).toBe(1);
    expect(output).toContain('Trying a matrix product in a fresh process … failed');
    expect(errors).toMatch(/ERR_DLOPEN_FAILED|invalid ELF header|file too short/);
    expect(errors).toContain('@tensorflow/tfjs-node-gpu does not work with it');
  });

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    'ends at %s, sweeps up, and changes nothing',
    async (name) => {
      writeCompiler('echo here > "$TMPDIR/leftover"; exec /bin/sleep 60');
      const env = { PATH: bin, HOME: project };
      const child = spawn(process.execPath, [cli, 'link-tensorflow'], { cwd: project, env });
      let errors = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        if (output.endsWith('Compiling tfjs_binding.cc … ')) child.kill(name);
      });
      const [code] = (await once(child, 'exit')) as [number];
      expect(code).toBe({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[name]);
      expect(errors).toContain(`Stopped by ${name}; nothing was changed`);
    },
  );
});

const compilers = ['g++', 'c++', 'clang++'];
const compiler = compilers.find(runs);
if (!compiler) {
  const reason = `None of ${compilers.join(', ')} is installed (apt-get install g++)`;
  process.stderr.write(`SKIPPED: link-tensorflow with a real compiler. ${reason}\n`);
}

(compiler ? describe : describe.skip)('link-tensorflow, with a real compiler,', () => {
  /** Compiled once, since that is what takes long. */
  let libraries: string;
  let folder: string;
  const env = { PATH: process.env.PATH, HOME: process.env.HOME };
  const addon = () => join(folder, 'lib/napi-v8/tfjs_binding.node');

  beforeAll(() => {
    libraries = mkdtempSync(join(tmpdir(), 'nest-batching-'));
    const source = join(libraries, 'version.cc');
    writeFileSync(source, 'extern "C" const char* TF_Version() { return "2.99.0"; }');
    for (const name of ['tensorflow_cc', 'tensorflow', 'tensorflow_framework']) {
      const [flag, file] = [process.platform === 'darwin' ? 'install_name' : 'soname', libraryFile(name)];
      const linked = process.platform === 'darwin' ? `-Wl,-${flag},@rpath/${file}` : `-Wl,-${flag},${file}`;
      execFileSync(compiler ?? '', ['-shared', '-fPIC', linked, source, '-o', join(libraries, file)]);
    }
  });

  afterAll(() => {
    rmSync(libraries, { recursive: true });
  });

  beforeEach(() => {
    folder = writePackage();
  });

  function writeRealTensorflow(...where: Parameters<typeof writeTensorflow>): string {
    const [, lib = '', name = 'tensorflow_cc'] = where;
    const tensorflow = writeTensorflow(...where);
    for (const file of [name, 'tensorflow_framework'].map(libraryFile)) {
      copyFileSync(join(libraries, file), join(tensorflow, lib, file));
    }
    return tensorflow;
  }

  it('installs the addon, also in a second run, and removes it with --undo', async () => {
    const before = everythingIn(folder);
    const tensorflow = writeRealTensorflow();
    const first = await link(['--tensorflow', tensorflow], { env });
    expect(first).toMatchObject({ code: 0, errors: '' });
    expect(first.output).toContain('@tensorflow/tfjs-node-gpu runs on TensorFlow 2.99.0, on the CPU\n');
    expect(first.output).toContain(`The addon is in ${addon()}\n`);
    expect(first.output).not.toContain('kept');
    const linked = everythingIn(folder).map(([name]) => name);
    expect(await link(['--tensorflow', tensorflow], { env })).toMatchObject({ code: 0 });
    expect(everythingIn(folder).map(([name]) => name)).toEqual(linked);

    expect(await link(['--undo'])).toMatchObject({ code: 0 });
    expect(everythingIn(folder)).toEqual(before);
    const again = await link(['--undo']);
    expect(again).toMatchObject({ code: 0, output: expect.stringContaining('Nothing to undo') });
    expect(everythingIn(folder)).toEqual(before);
  });

  it('keeps the former addon, over several runs, until --undo', async () => {
    chmodSync(write(join(packageFolder, 'lib/napi-v8/tfjs_binding.node'), 'the stock addon'), 0o700);
    utimesSync(addon(), 1_500_000_000, 1_500_000_000);
    const before = everythingIn(folder);
    const tensorflow = writeRealTensorflow();
    for (let i = 0; i < 2; i++) {
      const { output } = await link(['--tensorflow', tensorflow], { env });
      expect(output).toContain(`The former addon is kept as ${addon()}.before-link`);
    }
    expect(readFileSync(`${addon()}.before-link`, 'utf8')).toBe('the stock addon');
    expect(await link(['--undo'])).toMatchObject({ code: 0 });
    expect(everythingIn(folder)).toEqual(before);
  });

  it('goes on when its output is closed', async () => {
    const args = [cli, 'link-tensorflow', '--tensorflow', writeRealTensorflow()];
    const child = spawn(process.execPath, args, { cwd: project, env });
    child.stdout.once('data', () => child.stdout.destroy());
    const [code] = (await once(child, 'exit')) as [number];
    expect(code).toBe(0);
    expect(existsSync(addon())).toBe(true);
    expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('does not undo the change of another program', async () => {
    const tensorflow = writeRealTensorflow();
    await link(['--tensorflow', tensorflow], { env });
    writeFileSync(addon(), 'an addon that npm rebuild has fetched');
    const undone = await link(['--undo']);
    expect(undone).toMatchObject({
      code: 1,
      errors: expect.stringContaining('something else has put it there'),
    });
    expect(readFileSync(addon(), 'utf8')).toBe('an addon that npm rebuild has fetched');
    await link(['--tensorflow', tensorflow], { env });
    await link(['--undo']);
    expect(readFileSync(addon(), 'utf8')).toBe('an addon that npm rebuild has fetched');
  });

  it('links a libtensorflow, which has its libraries in lib/', async () => {
    const tensorflow = writeRealTensorflow('libtensorflow', 'lib', 'tensorflow');
    const { output } = await link(['--tensorflow', tensorflow], { env });
    expect(output).toContain('runs on TensorFlow 2.99.0');
  });

  it('links libcusolver if TensorFlow does not find it', async () => {
    if (process.platform === 'darwin') return;
    const tensorflow = writeRealTensorflow();
    const cusolver = join(project, 'site-packages/nvidia/cusolver/lib/libcusolver.so.11');
    mkdirSync(dirname(cusolver), { recursive: true });
    execFileSync(compiler ?? '', ['-shared', '-Wl,-soname,libcusolver.so.11', '-o', cusolver]);
    expect(await link(['--tensorflow', tensorflow], { env })).toMatchObject({ code: 0 });
    expect(readFileSync(addon()).includes('libcusolver.so.11')).toBe(true);

    // As up to 2.20, where the path is in the library.
    writeFileSync(
      join(tensorflow, libraryFile('tensorflow_framework')),
      Buffer.concat([
        readFileSync(join(libraries, libraryFile('tensorflow_framework'))),
        Buffer.from('$ORIGIN/../nvidia/cusolver/lib'),
      ]),
    );
    expect(await link(['--tensorflow', tensorflow], { env })).toMatchObject({ code: 0 });
    expect(readFileSync(addon()).includes('libcusolver.so.11')).toBe(false);
  });

  it.each([
    ['multiplies wrongly', { product: 'sum + (i === 1000 ? 1 : 0)' }, 'a matrix product has'],
    ['does not load the addon', { loadsAddon: false }, 'has not loaded'],
  ])('installs nothing when the package %s', async (_, options, message) => {
    writePackage(options);
    const before = everythingIn(folder);
    const { code, errors } = await link(['--tensorflow', writeRealTensorflow()], { env });
    expect(code).toBe(1);
    expect(errors).toContain(message);
    expect(everythingIn(folder)).toEqual(before);
  });

  it('finds the package from a folder below, or takes the given one', async () => {
    const tensorflow = writeRealTensorflow();
    const below = join(project, 'src');
    mkdirSync(below);
    for (const args of [[], ['--package', join('..', packageFolder)]]) {
      const { output } = await link(['--tensorflow', tensorflow, ...args], { env, cwd: below });
      expect(output).toContain(`Package:    @tensorflow/tfjs-node-gpu 4.22.0 in ${folder}\n`);
      await link(['--undo', ...args], { cwd: below });
      expect(existsSync(addon())).toBe(false);
    }
  });
});

function runs(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function pythonOfThisMachine(): string | undefined {
  const python = ['python3', 'python'].find(runs);
  if (!python)
    process.stderr.write(
      'SKIPPED: looking for TensorFlow in a real Python. Neither python3 nor python is installed\n',
    );
  return python;
}
