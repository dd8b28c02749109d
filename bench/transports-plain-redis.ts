import { Redis } from 'ioredis';
import { ANSWER, GROUP, SEND } from '../libs/batching/src/redis/scripts.js';
import { type Call, BATCH_SIZE, PREFETCH, type Run, type System } from './transports-load.js';
import { answersByCaller, inputOf, settle, toMessage } from './transports-plain.js';

/**
 * What the transport over Redis is measured by: a loop that does the same reads and writes with the same client, and nothing else. It
 * knows no errors, no deadlines, no nodes that die; it decodes nothing.
 */
export const plainRedis: System = { web, model };

const INPUTS = 'plain:inputs';
const answersOf = (processId: number): string => `plain:answers:${processId}`;
const BLOCK = 2_000;
const KEEP = 60_000;
const MOST_READ = 200;

type Entries = [id: Buffer, fields: Buffer[]][];

const turnEnd = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function web(url: string): Promise<Call> {
  const commands = new Redis(url, { protocol: 2 });
  commands.defineCommand('send', { lua: SEND });
  const write = Reflect.get(commands, 'sendBuffer') as (...values: unknown[]) => Promise<unknown>;
  const answers = answersOf(process.pid);
  await commands.xadd(answers, '*', 'h', '');
  const waiting = new Map<number, (result: number) => void>();
  let unsent: Buffer[] = [];
  let last = 0;
  const sendAll = (): void => {
    const messages = unsent;
    unsent = [];
    void write.call(commands, 1, INPUTS, Number.MAX_SAFE_INTEGER, KEEP, ...messages);
  };
  const read = async (reader: Redis): Promise<void> => {
    let [lastId, read] = ['0-0', 0];
    for (;;) {
      const reply = await reader.xreadBuffer('COUNT', 200, 'BLOCK', BLOCK, 'STREAMS', answers, lastId);
      for (const [, entries] of (reply ?? []) as unknown as [Buffer, Entries][]) {
        for (const [id, fields] of entries) {
          lastId = id.toString('latin1');
          settle(fields[1] ?? Buffer.of(), waiting);
        }
        read += entries.length;
      }
      if (read >= MOST_READ) {
        read = 0;
        void commands.xtrim(answers, 'MINID', lastId);
      }
      // What the answered callers send goes first.
      await turnEnd();
      if (unsent.length > 0) await turnEnd();
    }
  };
  void read(commands.duplicate());
  return (input) =>
    new Promise((resolve) => {
      last = (last + 1) >>> 0;
      waiting.set(last, resolve);
      if (unsent.push(toMessage(last, input)) === 1) setImmediate(sendAll);
    });
}

async function model(url: string, run: Run): Promise<void> {
  const commands = new Redis(url, { protocol: 2 });
  commands.defineCommand('answer', { lua: ANSWER });
  const write = Reflect.get(commands, 'answerBuffer') as (...values: unknown[]) => Promise<Entries>;
  const node = String(process.pid);
  await commands.xgroup('CREATE', INPUTS, GROUP, '0', 'MKSTREAM').catch(() => undefined);
  const waiting: [id: string, message: Buffer][] = [];
  let inProgress = 0;
  let isRunning = false;
  let isTaking = false;
  let wake: (() => void) | undefined;
  const take = (entries: Entries): void => {
    inProgress += entries.length;
    for (const [id, [, message]] of entries) if (message) waiting.push([id.toString('latin1'), message]);
    setImmediate(() => void runAll());
  };
  const runAll = async (): Promise<void> => {
    if (isRunning) return;
    isRunning = true;
    while (waiting.length > 0) {
      const batch = waiting.splice(0, BATCH_SIZE);
      const messages = batch.map(([, message]) => message);
      const answers = answersByCaller(messages, await run(messages.map(inputOf)));
      inProgress -= batch.length;
      // The next inputs come with the reply, unless the reader waits for some.
      const most = wake && !isTaking ? PREFETCH - inProgress : 0;
      isTaking ||= most > 0;
      const sent = write.call(
        commands,
        1 + answers.size,
        INPUTS,
        ...Array.from(answers.keys(), answersOf),
        batch.map(([id]) => id).join(' '),
        node,
        most,
        ...answers.values(),
      );
      if (most > 0) {
        void sent.then((entries) => {
          take(entries);
          isTaking = false;
          wake?.();
        });
      }
    }
    isRunning = false;
  };
  const read = async (reader: Redis): Promise<void> => {
    for (;;) {
      const credit = PREFETCH - inProgress;
      if (credit === 0 || isTaking) {
        await new Promise<void>((resolve) => (wake = resolve));
        wake = undefined;
        continue;
      }
      const reply = await reader.xreadgroupBuffer(
        'GROUP',
        GROUP,
        node,
        'COUNT',
        credit,
        'BLOCK',
        BLOCK,
        'STREAMS',
        INPUTS,
        '>',
      );
      for (const [, entries] of (reply ?? []) as [Buffer, Entries][]) take(entries);
      await turnEnd();
    }
  };
  void read(commands.duplicate());
}
