/**
 * `npm run bench:gpu`: packs everything that the benchmarks need on an offline Linux machine with a GPU into
 * dist/gpu-bench-linux-x64.tar.xz (.gz without xz): this Node, the built library, the benchmarks, the models, the packages
 * they use, and shared libraries that a bare machine may lack. Then unpacks it elsewhere and runs it there for moments,
 * with nothing of this repository in sight. docs/performance.md says how to use it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { build } from 'esbuild';
import type { GpuResults } from '../bench/gpu.js';

const largest = 60e6;
const name = 'nest-batching-gpu-bench';
const root = join(import.meta.dirname, '..');
const programs = ['gpu', 'adapter', 'golden', 'golden-onnx', 'inference-backend'];

/** What the library and the benchmarks load by name; their dependencies follow. */
const packages = [
  '@nestjs/common',
  '@nestjs/core',
  '@nestjs/platform-express',
  '@tensorflow/tfjs',
  '@tensorflow/tfjs-backend-wasm',
  '@tensorflow/tfjs-backend-webgpu',
  '@upscalerjs/default-model',
  'autocannon',
  'onnx-proto',
  'onnxruntime-node',
  'reflect-metadata',
  'rxjs',
  'webgpu',
];

/**
 * Lent to a machine that has none: Vulkan's loader, which Dawn opens; X11's libraries, which NVIDIA's driver links to; and the
 * C++ library, of which Dawn needs a rather new one.
 */
const sharedLibraries = ['libvulkan.so.1', 'libX11.so.6', 'libXext.so.6', 'libstdc++.so.6'];

const temporary = mkdtempSync(join(tmpdir(), 'bundle-gpu-bench-'));
try {
  checkMachine();
  const bundle = join(temporary, name);
  mkdirSync(bundle);
  console.log('Node, benchmarks, packages, shared libraries');
  copyNode(bundle);
  await copyBenchmarks(bundle);
  copyPackages(bundle);
  copySharedLibraries(bundle);
  console.log('archive');
  const archive = pack(bundle);
  rmSync(bundle, { recursive: true });
  console.log('trial run');
  tryOut(archive);
  const target = join(root, 'dist', basename(archive));
  copyFileSync(archive, target);
  const megabytes = (statSync(target).size / 1e6).toFixed(1);
  console.log(
    `${relative(process.cwd(), target)}, ${megabytes} MB. On the machine with the GPU: tar xf ${basename(target)} && sh ${name}/run.sh`,
  );
} finally {
  rmSync(temporary, { recursive: true, force: true });
}

function checkMachine(): void {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(
      `the bundle is made of this machine's Node, so it needs linux-x64; this is ${process.platform}-${process.arch}`,
    );
  }
}

/** A distribution's Node may link to libraries of that distribution, and would start nowhere else. */
function copyNode(bundle: string): void {
  const foreign = linkedLibraries(process.execPath).filter(
    (library) => !/^lib(gcc_s|stdc\+\+)\.so/.test(library),
  );
  if (foreign.length > 0) {
    throw new Error(
      `${process.execPath} links to ${foreign.join(', ')}; run this with a Node from nodejs.org or the npm package node`,
    );
  }
  const node = join(bundle, 'node');
  copyFileSync(process.execPath, node);
  chmodSync(node, 0o755);
  if (spawnSync('strip', ['--strip-all', node]).status !== 0) console.log('not stripped: no strip here');
  mkdirSync(join(bundle, 'licences'));
  const licence = ['../LICENSE', '../share/doc/nodejs/LICENSE']
    .map((path) => join(dirname(process.execPath), path))
    .find((path) => existsSync(path));
  if (licence) copyFileSync(licence, join(bundle, 'licences/node'));
}

async function copyBenchmarks(bundle: string): Promise<void> {
  await build({
    entryPoints: programs.map((program) => join(root, 'bench', `${program}.ts`)),
    outdir: join(bundle, 'bench'),
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    // The library by its name too, which tsconfig.json would make its source.
    packages: 'external',
    tsconfigRaw: { compilerOptions: { experimentalDecorators: true, useDefineForClassFields: false } },
    logLevel: 'warning',
  });
  copyFileSync(join(root, 'bench/device-limits-module.mjs'), join(bundle, 'bench/device-limits-module.mjs'));
  copyFileSync(join(root, 'bench/run-gpu-bench.sh'), join(bundle, 'run.sh'));
  chmodSync(join(bundle, 'run.sh'), 0o755);
  copyFileSync(join(root, 'LICENSE'), join(bundle, 'LICENSE'));
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const commit = spawnSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' });
  writeFileSync(
    join(bundle, 'package.json'),
    JSON.stringify({ name, version, commit: commit.stdout.trim() || undefined, type: 'module' }),
  );
  for (const folder of ['dist/libs/batching', 'apps/demo-api/models/digits'])
    copy(join(root, folder), join(bundle, folder));
}

/** The packages and all that they depend on, in the places where they lie here. */
function copyPackages(bundle: string): void {
  const modules = join(root, 'node_modules');
  const found = new Map<string, string>();
  const visit = (name: string, from: string): void => {
    const path = find(name, from);
    if (found.has(path)) return;
    found.set(path, name);
    const { dependencies = {} } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')) as {
      dependencies?: Record<string, string>;
    };
    for (const dependency of Object.keys(dependencies)) visit(dependency, path);
  };
  /** As Node does, from folder to folder upwards. */
  const find = (name: string, from: string): string => {
    for (let folder = from; folder.startsWith(root); folder = dirname(folder)) {
      const path = join(folder, 'node_modules', name);
      if (existsSync(join(path, 'package.json'))) return path;
    }
    throw new Error(`${name} is not installed, which ${from} depends on; run npm ci`);
  };
  for (const name of packages) visit(name, root);
  for (const [path, name] of found) {
    // Types alone.
    if (name.startsWith('@types/') || name === '@webgpu/types') continue;
    copy(path, join(bundle, 'node_modules', relative(modules, path)));
  }
  symlinkSync('../dist/libs/batching', join(bundle, 'node_modules/nest-batching'));
}

/** A package's files, without what only other platforms, browsers, compilers and people read. */
function copy(from: string, to: string): void {
  cpSync(from, to, {
    recursive: true,
    filter: (source) => {
      const path = relative(from, source);
      if (/(^|\/)node_modules$/.test(path) || /\.(map|ts|html|tsbuildinfo)$/.test(path)) return false;
      if (from.includes('/@tensorflow/')) {
        return !statSync(source).isFile() || /(^package\.json|^LICENSE|\.node\.js|\.wasm)$/.test(path);
      }
      if (from.endsWith('/onnxruntime-node')) {
        return !/^(script|bin\/napi-v6\/(?!linux(\/x64|$)))/.test(path);
      }
      if (from.endsWith('/protobufjs')) return !/^(cli|dist)/.test(path);
      if (from.endsWith('/webgpu')) return !/^(build|dist\/(?!linux-x64))/.test(path);
      return true;
    },
  });
}

function copySharedLibraries(bundle: string): void {
  mkdirSync(join(bundle, 'lib'));
  const found = new Map<string, string>();
  const add = (library: string): void => {
    const path = pathOf(library);
    if (!path) {
      console.log(`${library} is not on this machine, so the bundle will not have it`);
      return;
    }
    if (found.has(library)) return;
    found.set(library, path);
    for (const linked of linkedLibraries(path)) add(linked);
  };
  for (const library of sharedLibraries) add(library);
  for (const [library, path] of found) {
    copyFileSync(path, join(bundle, 'lib', library));
    const { stdout } = spawnSync('dpkg', ['-S', path], { encoding: 'utf8' }) as { stdout: string | null };
    const copyright = `/usr/share/doc/${stdout?.split(':')[0] ?? ''}/copyright`;
    if (existsSync(copyright)) copyFileSync(copyright, join(bundle, 'licences', library));
  }
}

/** What a program or library links to, by name, but for glibc's. */
function linkedLibraries(file: string): string[] {
  const names =
    execFileSync('ldd', [file], { encoding: 'utf8' }).match(/lib[^\s/]+\.so[.\d]*(?= => )/g) ?? [];
  return names.filter((name) => !/^lib(c|m|dl|pthread|rt)\.so/.test(name));
}

function pathOf(library: string): string | undefined {
  const cache = execFileSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' });
  const line = cache.split('\n').find((line) => line.trim().startsWith(`${library} (libc6,x86-64`));
  return line === undefined ? undefined : realpathSync(line.slice(line.indexOf('=>') + 3));
}

function pack(bundle: string): string {
  const withXz = spawnSync('xz', ['--version']).status === 0;
  const archive = join(temporary, `gpu-bench-linux-x64.tar.${withXz ? 'xz' : 'gz'}`);
  const options = ['--owner=0', '--group=0', '--numeric-owner', '--sort=name'];
  execFileSync(
    'tar',
    [...options, '--auto-compress', '-cf', archive, '-C', dirname(bundle), basename(bundle)],
    {
      stdio: 'inherit',
    },
  );
  const { size } = statSync(archive);
  if (size >= largest) {
    throw new Error(`the bundle has ${(size / 1e6).toFixed(1)} MB and must stay below ${largest / 1e6} MB`);
  }
  return archive;
}

/** Unpacks the bundle into an empty folder and runs it, quickly, with an environment that names nothing of this repository. */
function tryOut(archive: string): void {
  const folder = join(temporary, 'trial');
  mkdirSync(folder);
  execFileSync('tar', ['-xf', archive, '-C', folder]);
  const { VK_ICD_FILENAMES, XDG_RUNTIME_DIR } = process.env;
  const { status } = spawnSync('sh', [join(folder, name, 'run.sh'), '--quick'], {
    cwd: folder,
    env: {
      PATH: '/usr/bin:/bin',
      HOME: folder,
      TMPDIR: temporary,
      NODE_PATH: '',
      VK_ICD_FILENAMES,
      XDG_RUNTIME_DIR,
    },
    stdio: 'inherit',
    timeout: 10 * 60_000,
  });
  const file = join(folder, 'results.json');
  if (!existsSync(file))
    throw new Error(`the trial run ended with ${status ?? 'nothing'} and without results`);
  const { adapter, failures, golden, backends } = JSON.parse(readFileSync(file, 'utf8')) as GpuResults;
  const complete = ['wasm', 'onnx-cpu', ...(adapter ? ['webgpu', 'onnx-webgpu'] : [])].every(
    (backend) =>
      golden.some((one) => one.backend === backend && one.cases.length > 0) &&
      backends.some(
        (one) =>
          one.backend === backend && one.models.length > 0 && (one.limits ?? backend.startsWith('onnx-')),
      ),
  );
  // Without a GPU or a software Vulkan here, that WebGPU finds none is the one failure to expect.
  const unexpected = failures.filter((failure) => adapter ?? !failure.startsWith('WebGPU found no adapter'));
  if (unexpected.length > 0 || !complete) throw new Error(`the trial run failed: ${failures.join('; ')}`);
  if (!adapter) {
    console.log(
      '\nNOT TRIED: WebGPU, as there is no Vulkan here. eval "$(.ci/software-vulkan)" makes one of software.',
    );
  }
}
