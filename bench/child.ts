import { fork } from 'node:child_process';
import { once } from 'node:events';
import { extname } from 'node:path';

export interface ChildOptions<Message> {
  args: readonly string[];
  onMessage: (message: Message) => void;
  env?: NodeJS.ProcessEnv;
  /** Milliseconds after which the process is killed. Default: none. */
  timeLimit?: number;
  /** Kills the process when it aborts. */
  signal?: AbortSignal;
}

/**
 * Runs a program of this folder, by its name without ending, in a process of its own. Resolves when it has ended and all its
 * messages are here: with why it failed, or `undefined`. Never rejects.
 */
export async function runChild<Message>(
  program: string,
  { args, onMessage, env, timeLimit, signal }: ChildOptions<Message>,
): Promise<string | undefined> {
  // TypeScript in the repository, JavaScript in the bundle for machines with a GPU.
  const file = new URL(`${program}${extname(import.meta.filename)}`, import.meta.url);
  const child = fork(file, args, {
    env,
    timeout: timeLimit,
    signal,
    killSignal: 'SIGKILL',
    // JSON would make null of NaN.
    serialization: 'advanced',
  });
  child.on('message', onMessage);
  try {
    const [[code, killedBy]] = await Promise.all([
      once(child, 'exit') as Promise<[number | null, string | null]>,
      once(child, 'disconnect'),
    ]);
    if (child.killed) return `stopped after ${Math.round((timeLimit ?? 0) / 1000)} s`;
    return code === 0 ? undefined : `its process ended with ${code ?? killedBy ?? 'nothing'}`;
  } catch (error) {
    return signal?.aborted ? 'interrupted' : `its process could not be started: ${String(error)}`;
  }
}
