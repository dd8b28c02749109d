import { execFile, execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';

// Compiling and loading TensorFlow take half a minute, on a busy machine several.
jest.setTimeout(300_000);

const root = fileURLToPath(new URL('..', import.meta.url));
const python = process.env.TENSORFLOW_PYTHON ?? pythonWithTensorflow();
const missing = python ? whyNoPackage() : 'No Python with TensorFlow (TENSORFLOW_PYTHON, or python3).';
if (missing) process.stderr.write(`SKIPPED: npx nest-batching link-tensorflow, for real. ${missing}\n`);

/** A project of its own, with its own copy of `@tensorflow/tfjs-node-gpu`, as npm leaves it without its scripts. */
(missing ? describe.skip : describe)('npx nest-batching link-tensorflow', () => {
  let project: string;
  let addonFolder: string;

  beforeAll(() => {
    project = mkdtempSync(join(tmpdir(), 'nest-batching-'));
    const modules = join(project, 'node_modules');
    mkdirSync(join(modules, '@tensorflow'), { recursive: true });
    const names = readdirSync(join(root, 'node_modules'));
    const tensorflow = readdirSync(join(root, 'node_modules/@tensorflow')).map(
      (name) => `@tensorflow/${name}`,
    );
    for (const name of [...names, ...tensorflow]) {
      if (['.bin', '@tensorflow', '@tensorflow/tfjs-node-gpu'].includes(name)) continue;
      symlinkSync(join(root, 'node_modules', name), join(modules, name));
    }
    const source = join(root, 'node_modules/@tensorflow/tfjs-node-gpu');
    const target = join(modules, '@tensorflow/tfjs-node-gpu');
    const built = [join(source, 'lib'), join(source, 'deps'), join(source, 'link-tensorflow.json')];
    cpSync(source, target, { recursive: true, filter: (file) => !built.includes(file) });
    // A copy, which finds the TensorFlow of this project, not of the repository.
    cpSync(join(root, 'dist/libs/batching'), join(modules, 'nest-batching'), { recursive: true });
    mkdirSync(join(modules, '.bin'));
    symlinkSync('../nest-batching/cli/cli.js', join(modules, '.bin/nest-batching'));
    addonFolder = join(target, 'lib');
  });

  afterAll(() => {
    rmSync(project, { recursive: true });
  });

  const run = async (program: string, args: string[]): Promise<string> =>
    (await promisify(execFile)(program, args, { cwd: project })).stdout;

  it('links the package to the TensorFlow of Python', async () => {
    const output = await run('npx', ['nest-batching', 'link-tensorflow', '--python', python ?? '']);
    expect(output).toMatch(/^Compiling tfjs_backend\.cc … \d+\.\d s$/m);
    expect(output).toMatch(
      /^@tensorflow\/tfjs-node-gpu runs on TensorFlow 2\.\d+\.\d+\S*, on the (CPU|GPU)$/m,
    );
  });

  it('gives the backend that reads digits as the cpu backend does', async () => {
    const digits = (await loadTestDigits()).slice(0, 500);
    writeFileSync(join(project, 'digits.bin'), Buffer.concat(digits.map(({ pixels }) => pixels)));
    writeFileSync(
      join(project, 'read.mjs'),
      `import 'reflect-metadata';
       import { readFileSync } from 'node:fs';
       import { NestFactory } from '@nestjs/core';
       import { getTfjsModelToken, TfjsModule } from 'nest-batching/tfjs';

       const bytes = readFileSync('digits.bin');
       const digits = Array.from({ length: bytes.length / 784 }, (_, i) => bytes.subarray(i * 784, (i + 1) * 784));
       const read = async (backend) => {
         const path = ${JSON.stringify(join(root, 'apps/demo-api/models/digits'))};
         const imports = [TfjsModule.forRoot({ backend }), TfjsModule.forFeature([{ name: 'digits', path }])];
         const app = await NestFactory.createApplicationContext({ module: class {}, imports }, { logger: false });
         const model = app.get(getTfjsModelToken('digits'), { strict: false });
         const scores = await model.predict(digits);
         await app.close();
         return { device: model.device, scores: scores.map((row) => [...row]) };
       };
       console.log(JSON.stringify({ tensorflow: await read('tensorflow'), cpu: await read('cpu') }));`,
    );
    interface Read {
      device: string;
      scores: number[][];
    }
    const { tensorflow, cpu } = JSON.parse(await run(process.execPath, ['read.mjs'])) as {
      tensorflow: Read;
      cpu: Read;
    };
    expect(tensorflow.device).toMatch(/^(CPU|GPU) \(TensorFlow 2\./);
    expect(tensorflow.scores).toHaveLength(digits.length);
    const differences = tensorflow.scores.flatMap((row, i) =>
      row.map((score, digit) => Math.abs(score - (cpu.scores[i]?.[digit] ?? NaN))),
    );
    expect(differences).toHaveLength(10 * digits.length);
    expect(Math.max(...differences)).toBeLessThan(2e-5);
    const right = tensorflow.scores.filter(
      (row, i) => row.indexOf(Math.max(...row)) === digits[i]?.label,
    ).length;
    expect(right).toBeGreaterThan(0.97 * digits.length);
  });

  it('takes it all back with --undo', async () => {
    expect(existsSync(addonFolder)).toBe(true);
    await run('npx', ['nest-batching', 'link-tensorflow', '--undo']);
    expect(existsSync(addonFolder)).toBe(false);
  });
});

/** Looks without importing TensorFlow, which takes seconds. */
function pythonWithTensorflow(): string | undefined {
  const has = 'import importlib.util, sys; sys.exit(importlib.util.find_spec("tensorflow") is None)';
  try {
    execFileSync('python3', ['-c', has], { stdio: 'ignore' });
    return 'python3';
  } catch {
    return undefined;
  }
}

/** npm takes the package away again when its download fails, since it is an optional dependency. */
function whyNoPackage(): string | undefined {
  if (existsSync(join(root, 'node_modules/@tensorflow/tfjs-node-gpu/binding'))) return undefined;
  return 'The package is missing: npm install --no-save --ignore-scripts @tensorflow/tfjs-node-gpu@4.22.0';
}
