import { execFile, type ExecFileException } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export interface Ended {
  output: string;
  errors: string;
  /** Why it failed, as text that follows the program's name; `undefined` if it succeeded. */
  problem?: string;
}

/** Runs a program to its end. Rejects only if `signal` aborts, with its reason. */
export async function runProgram(
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
