import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TrialReport } from './addon-trial.js';
import { findParts, LinkError, type LinkOptions, type Package, type Parts } from './find-parts.js';
import { install } from './installed-addon.js';
import { runProgram } from './run-program.js';

/** Writes to the terminal. */
type Write = (text: string) => void;

/**
 * Builds the addon of an installed `@tensorflow/tfjs-node-gpu` or `@tensorflow/tfjs-node` from the package's
 * own source, against a TensorFlow that is on the machine already. The package then runs without its own
 * download, on the CUDA version of this TensorFlow.
 *
 * It finds all parts first, builds in a temporary folder inside the package, tries the addon in a process of
 * its own, and only then installs it: if it fails or is stopped, nothing has changed.
 *
 * @throws {LinkError} if a part is missing, or the build or the trial fails; the reason of `signal` if that
 *   aborts
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
    if (kept) write(`The former addon is kept as ${kept}; --undo restores it\n`);
    write(`${name} runs on TensorFlow ${trial.tensorflow}, on the ${trial.gpu ? 'GPU' : 'CPU'}\n`);
    if (!trial.gpu) for (const line of trial.aboutGpu) write(`  TensorFlow says: ${line}\n`);
  } finally {
    rmSync(temporary, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** @returns the path of the built addon, in the folder `temporary` */
async function build(parts: Parts, temporary: string, write: Write, signal: AbortSignal): Promise<string> {
  const { compiler, tensorflow, headers } = parts;
  const compile = async (args: string[]) => {
    // A compiler that is killed leaves its temporary files behind; this folder is removed in any case.
    const env = { ...process.env, TMPDIR: temporary };
    const { errors, output, problem } = await runProgram(compiler.program, [...compiler.args, ...args], {
      signal,
      env,
    });
    if (problem === undefined) return;
    throw new LinkError(
      `${errors || output}${compiler.program} ${problem}. Nothing was changed.\n` +
        'The compiler must support C++17 (g++ 8, clang++ 7 or later); set CXX to use another one.',
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
  // `-z now`: a function that this TensorFlow lacks fails the trial instead of a later prediction.
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

/** Runs the package with the new addon, which is still in the temporary folder. */
async function tryAddon(
  { name, folder }: Package,
  addon: string,
  signal: AbortSignal,
): Promise<TrialReport & { aboutGpu: string[] }> {
  const trial = fileURLToPath(new URL('./addon-trial.js', import.meta.url));
  // By default TensorFlow allocates all of the GPU's memory, which fails if a server uses some of it.
  const env = { ...process.env, TF_FORCE_GPU_ALLOW_GROWTH: 'true' };
  const { output, errors, problem } = await runProgram(process.execPath, [trial, folder, addon], {
    signal,
    env,
  });
  if (problem !== undefined) {
    throw new LinkError(
      `${errors.trimEnd()}\nThe addon was built, but ${name} does not work with it (node ${problem}). Nothing was changed.`,
    );
  }
  const report = JSON.parse(output.trimEnd().split('\n').at(-1) ?? '') as TrialReport;
  // TensorFlow's log has lines such as `W0000 00:00:1795424540.238553    8530 gpu_device.cc:2342] Cannot
  // dlopen some GPU libraries.`
  const aboutGpu = errors
    .split('\n')
    .map((line) => line.replace(/^.*?\.cc:\d+\] /, ''))
    .filter((line) => /\b(gpu|cuda)/i.test(line));
  return { ...report, aboutGpu };
}

/** Writes the name of the step, and when it has ended, the time that it took. */
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
