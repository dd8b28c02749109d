import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Test, type TestingModule } from '@nestjs/testing';
import { type Batched, BatchingModule, BatchingRegistry, getBatchedToken } from 'nest-batching';
import { type Receipt, ReceiptCounter } from './receipt-counter.js';

const folder = mkdtempSync(join(tmpdir(), 'receipts-'));
const path = join(folder, 'receipts.txt');
const member = {
  id: 4711,
  name: 'Ada Young',
  email: 'ada@example.org',
  city: 'Bern',
  born: 1990,
  joined: 2026,
};
const CALLS = 200;

describe('ReceiptCounter', () => {
  let module: TestingModule;
  beforeEach(async () => {
    rmSync(path, { force: true });
    module = await start();
  });
  afterEach(() => module.close());
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  it('loses numbers when it is used by two at once', async () => {
    const counter = module.get(ReceiptCounter);
    const numbers = await numbersOf((call) => counter.next(call));
    expect(new Set(numbers).size).toBeLessThan(CALLS);
    expect(Number(readFileSync(path, 'utf8'))).toBeLessThan(CALLS);
  });

  it('numbers without gaps and in order of the calls when it is used through its view', async () => {
    const counter = module.get<Batched<ReceiptCounter>>(getBatchedToken(ReceiptCounter));
    const numbers = await numbersOf((call) => counter.next(call));
    expect(numbers).toEqual(Array.from({ length: CALLS }, (_, index) => index + 1));
    expect(readFileSync(path, 'utf8')).toBe(String(CALLS));
  });

  it('goes on where it was', async () => {
    writeFileSync(path, '99\n');
    const counter = module.get<Batched<ReceiptCounter>>(getBatchedToken(ReceiptCounter));
    expect(await counter.next(member)).toEqual({ receipt: 100, member: 4711 });
    await module.close();
    module = await start();
    const again = module.get<Batched<ReceiptCounter>>(getBatchedToken(ReceiptCounter));
    expect(await again.next(member)).toEqual({ receipt: 101, member: 4711 });
  });

  it.each(['ninety', '-1', '1 2', '99999999999999999999'])(
    'does not start with a file that says %s',
    async (text) => {
      writeFileSync(path, text);
      await expect(start()).rejects.toThrow(
        `${path}: expected the number of the last receipt, got "${text}". Write the number into it, or delete it`,
      );
    },
  );

  it('gives out no number while the file makes no sense', async () => {
    const counter = module.get<Batched<ReceiptCounter>>(getBatchedToken(ReceiptCounter));
    await counter.next(member);
    writeFileSync(path, 'x');
    await expect(counter.next(member)).rejects.toThrow('expected the number of the last receipt, got "x"');
    writeFileSync(path, '7');
    expect((await counter.next(member)).receipt).toBe(8);
  });
});

async function start(): Promise<TestingModule> {
  const module = await Test.createTestingModule({
    imports: [BatchingModule.forRoot()],
    providers: [
      {
        provide: ReceiptCounter,
        inject: [BatchingRegistry],
        useFactory: (registry: BatchingRegistry) => new ReceiptCounter(path, registry),
      },
    ],
  }).compile();
  return module.init();
}

async function numbersOf(next: (call: typeof member) => Promise<Receipt>): Promise<number[]> {
  const receipts = await Promise.all(Array.from({ length: CALLS }, (_, id) => next({ ...member, id })));
  expect(receipts.map((receipt) => receipt.member)).toEqual(Array.from({ length: CALLS }, (_, id) => id));
  return receipts.map(({ receipt }) => receipt);
}
