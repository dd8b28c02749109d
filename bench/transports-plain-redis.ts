import { Redis } from 'ioredis';
import { ANSWER, GROUP, SEND } from '../libs/batching/src/redis/scripts.js';
import { type Call, BATCH_SIZE, PREFETCH, type Run, type System } from './transports-load.js';

/**
 * What the transport over Redis is measured by: a loop that does the same reads and writes with the same client, and nothing else. It
 * knows no errors, no deadlines, no nodes that die; it decodes nothing.
 *
 *     input:  process id u32 │ number u32 │ bytes        answers:  (number u32 │ result u32)…
 */
export const plainRedis: System = { web, model };

const INPUTS = 'plain:inputs';
const answersOf = (processId: number): string => `plain:answers:${processId}`;
const BLOCK = 2_000;
const KEEP = 60_000;
const MOST_READ = 200;

type Entries = [id: Buffer, fields: Buffer[]][];

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
          const answers = fields[1] ?? Buffer.of();
          for (let at = 0; at + 8 <= answers.length; at += 8) {
            const number = answers.readUInt32BE(at);
            waiting.get(number)?.(answers.readUInt32BE(at + 4));
            waiting.delete(number);
          }
        }
        read += entries.length;
      }
      if (read < MOST_READ) continue;
      read = 0;
      void commands.xtrim(answers, 'MINID', lastId);
    }
  };
  void read(commands.duplicate());
  return (input) =>
    new Promise((resolve) => {
      last = (last + 1) >>> 0;
      waiting.set(last, resolve);
      const message = Buffer.allocUnsafe(8 + input.length);
      message.writeUInt32BE(process.pid, 0);
      message.writeUInt32BE(last, 4);
      message.set(input, 8);
      if (unsent.push(message) === 1) setImmediate(sendAll);
    });
}

async function model(url: string, run: Run): Promise<void> {
  const commands = new Redis(url, { protocol: 2 });
  commands.defineCommand('answer', { lua: ANSWER });
  const write = Reflect.get(commands, 'answer') as (...values: unknown[]) => Promise<unknown>;
  await commands.xgroup('CREATE', INPUTS, GROUP, '0', 'MKSTREAM').catch(() => undefined);
  const waiting: [id: string, message: Buffer][] = [];
  let inProgress = 0;
  let isRunning = false;
  let wake: (() => void) | undefined;
  const runAll = async (): Promise<void> => {
    if (isRunning) return;
    isRunning = true;
    while (waiting.length > 0) {
      const batch = waiting.splice(0, BATCH_SIZE);
      const results = await run(batch.map(([, message]) => Uint8Array.prototype.slice.call(message, 8)));
      const ofCallers = new Map<number, number[]>();
      batch.forEach(([, message], index) => {
        const caller = message.readUInt32BE(0);
        const numbers = [message.readUInt32BE(4), results[index] ?? 0];
        const others = ofCallers.get(caller);
        if (others) others.push(...numbers);
        else ofCallers.set(caller, numbers);
      });
      const values = Array.from(ofCallers.values(), (numbers) => {
        const answers = Buffer.allocUnsafe(4 * numbers.length);
        numbers.forEach((number, index) => answers.writeUInt32BE(number, 4 * index));
        return answers;
      });
      void write.call(
        commands,
        1 + ofCallers.size,
        INPUTS,
        ...Array.from(ofCallers.keys(), answersOf),
        batch.map(([id]) => id).join(' '),
        ...values,
      );
      inProgress -= batch.length;
      wake?.();
    }
    isRunning = false;
  };
  const read = async (reader: Redis): Promise<void> => {
    for (;;) {
      const credit = PREFETCH - inProgress;
      if (credit === 0) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      const reply = await reader.xreadgroupBuffer(
        'GROUP',
        GROUP,
        String(process.pid),
        'COUNT',
        credit,
        'BLOCK',
        BLOCK,
        'STREAMS',
        INPUTS,
        '>',
      );
      for (const [, entries] of (reply ?? []) as [Buffer, Entries][]) {
        inProgress += entries.length;
        for (const [id, [, message]] of entries) if (message) waiting.push([id.toString('latin1'), message]);
      }
      void runAll();
    }
  };
  void read(commands.duplicate());
}
