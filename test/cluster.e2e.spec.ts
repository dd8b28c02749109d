import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { natsPrograms } from './nats-server.js';
import { hasRedis, RedisServer } from './redis-server.js';

const main = join(import.meta.dirname, '../dist/cluster/apps/cluster/src/main.js');
if (!existsSync(main)) throw new Error(`${main} is missing: npm run build`);

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

function run(args: readonly string[], path = process.env.PATH): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [main, ...args],
      { env: { PATH: path } },
      (_error, stdout, stderr) => {
        resolve({ code: child.exitCode ?? NaN, stdout, stderr });
      },
    );
  });
}

/** Whether anything listens at `host:port`. */
async function listens(address: string): Promise<boolean> {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

const addressOf = (text: string): string => /\d+\.\d+\.\d+\.\d+:\d+/.exec(text)?.[0] ?? '';

/** One kill in a short time; all callers are more than the nodes may have at once, so that the dead node had inputs. */
const SHORT = ['--seconds', '2', '--kills', '1'];

const redis = hasRedis('npm run cluster over Redis') ? it : it.skip;
const nats = natsPrograms('npm run cluster over NATS').length > 0 ? it : it.skip;

describe('npm run cluster', () => {
  function expectNothingLost({ code, stdout, stderr }: Ended): void {
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('SIGKILLs of model nodes: 1');
    const [, answers = '', again = ''] =
      /([\d,]+) answers in .* lost 0, delivered again ([\d,]+), longest gap [\d.]+ s/.exec(stdout) ?? [];
    expect(Number(answers.replaceAll(',', ''))).toBeGreaterThan(0);
    // None, if the node had answered all that it had just before it was killed.
    expect(again).toMatch(/^[\d,]+$/);
    const [, right = ''] = /([\d.]+) % are the digit/.exec(stdout) ?? [];
    expect(Number(right)).toBeGreaterThan(90);
  }

  redis(
    'loses no answer over a Redis that it is given, and leaves that running',
    async () => {
      const server = await RedisServer.start();
      try {
        expectNothingLost(await run([...SHORT, '--url', server.url]));
        expect(await listens(addressOf(server.url))).toBe(true);
      } finally {
        await server.stop();
      }
    },
    120_000,
  );

  nats(
    'loses no answer over a NATS of its own, and ends that',
    async () => {
      const ended = await run([...SHORT, '--transport', 'nats']);
      expectNothingLost(ended);
      expect(await listens(addressOf(ended.stdout))).toBe(false);
    },
    120_000,
  );

  redis(
    'ends everything that it has started when it is interrupted',
    async () => {
      const child = spawn(process.execPath, [main, '--transport', 'redis', '--seconds', '3600'], {
        env: { PATH: process.env.PATH },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const exit = once(child, 'exit');
      // Closed when no process has it any more, so neither have the nodes.
      const closed = once(child, 'close');
      const [said] = (await once(child.stdout, 'data')) as [Buffer];
      const address = addressOf(said.toString());
      expect(await listens(address)).toBe(true);
      child.kill('SIGINT');
      expect(await exit).toEqual([1, null]);
      await closed;
      expect(await listens(address)).toBe(false);
    },
    120_000,
  );

  it('says how to get a broker where none is installed', async () => {
    const { code, stderr } = await run(['--transport', 'redis'], '');
    expect(code).toBe(1);
    expect(stderr).toContain('no broker: Redis cannot be found here');
    expect(stderr).toContain('apt-get install redis-server');
    expect(stderr).toContain('--url redis://127.0.0.1:6379');
  });

  it('refuses what it does not know with 2', async () => {
    expect(await run(['--kills', 'many'])).toMatchObject({
      code: 2,
      stderr: "error: --kills: expected a whole number from 0 to 1000, got 'many'\n",
    });
  });
});
