import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';

const core = fileURLToPath(new URL('../dist/libs/batching/core/batch-queue.js', import.meta.url));

/** Runs a program in a process of its own and says what it printed; rejects if it does not end by itself, with 0. */
async function run(program: string): Promise<string> {
  const source = `import { BatchQueue } from ${JSON.stringify(core)}; ${program}`;
  const args = ['--input-type=module', '--eval', source];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 10_000 });
  return stdout.trim();
}

describe('a process', () => {
  it('is not kept alive by a queue alone', async () => {
    expect(
      await run(`
        const queue = new BatchQueue((xs) => xs, { batchSize: 8, maxDelay: 60_000 });
        queue.batchSize = 4;
        const never = new BatchQueue((xs) => xs, { batchSize: 8, maxDelay: 1, autoStart: false });
        never.submit(1);
        console.log('done');`),
    ).toBe('done');
  });

  it('ends as soon as its last input has its result', async () => {
    expect(
      await run(`
        const queue = new BatchQueue((xs) => xs, { batchSize: 2, maxDelay: 60_000 });
        console.log(await Promise.all(queue.submitMany([1, 2], { timeout: 60_000 })));`),
    ).toBe('[ 1, 2 ]');
  });

  it('lives until an input that waits has its result', async () => {
    expect(
      await run(`
        const queue = new BatchQueue((xs) => xs, { batchSize: 8, maxDelay: 50, dispatch: 'fixed' });
        console.log(await queue.submit(7));`),
    ).toBe('7');
  });

  it('lives until an input whose batch never ends has timed out', async () => {
    expect(
      await run(`
        const queue = new BatchQueue(() => new Promise(() => {}), { batchSize: 8, maxDelay: 0 });
        console.log(await queue.submit(7, { timeout: 50 }).catch((error) => error.code));`),
    ).toBe('ERR_BATCHING_TIMEOUT');
  });

  it('needs nothing but Node for the core', async () => {
    const program = `
      import { register } from 'node:module';
      register('data:text/javascript,export async function resolve(specifier, context, next) {' +
        'if (!/^(node:|[.]|file:|[/])/.test(specifier)) throw new Error("core imports " + specifier);' +
        'return next(specifier, context) }');
      await import(${JSON.stringify(core.replace('batch-queue.js', 'service.js'))});
      console.log('only node:');`;
    expect(await run(program)).toBe('only node:');
  });
});
