import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Test } from '@nestjs/testing';
import { getTfjsModelToken, type TfjsModel, TfjsModule } from 'nest-batching/tfjs';
import type { Digit } from '../apps/demo-api/src/digits/digit-classifier.js';
import { type LabelledDigit, loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import { adapters, connections, DemoProcess, liveView, postJson } from './demo.js';

let digits: readonly LabelledDigit[];
/** What the model says without queue and server, in batches of 500. */
const offline: Float32Array[] = [];

beforeAll(async () => {
  digits = await loadTestDigits();
  const path = new URL('../apps/demo-api/models/digits', import.meta.url).pathname;
  const context = await Test.createTestingModule({
    imports: [TfjsModule.forRoot(), TfjsModule.forFeature([{ name: 'digits', path }])],
  }).compile();
  const model = context.get<TfjsModel>(getTfjsModelToken('digits'));
  for (let i = 0; i < digits.length; i += 500) {
    offline.push(...(await model.predict(digits.slice(i, i + 500).map(({ pixels }) => pixels))));
  }
  await context.close();
});

describe.each(adapters)('All 10,000 test digits through POST /digits with 64 connections, %s', (adapter) => {
  let demo: DemoProcess;
  let url: string;
  let answers: Digit[];

  beforeAll(async () => {
    demo = new DemoProcess({ HTTP_ADAPTER: adapter });
    url = await demo.listening();
    answers = await readAll(url);
  });
  afterAll(async () => {
    demo.kill('SIGTERM');
    await demo.exit;
  });

  it('gives the answers that the model gives offline', () => {
    let largestDifference = 0;
    answers.forEach(({ scores }, i) => {
      scores.forEach((score, digit) => {
        largestDifference = Math.max(largestDifference, Math.abs(score - (offline[i]?.[digit] ?? NaN)));
      });
    });
    expect(largestDifference).toBeLessThan(1e-5);
    expect(answers.map(({ digit }) => digit)).toEqual(
      offline.map((scores) => scores.indexOf(Math.max(...scores))),
    );
  });

  it('reads at least 98.5 % of them right', () => {
    const right = answers.filter(({ digit }, i) => digit === digits[i]?.label);
    expect(right.length).toBeGreaterThanOrEqual(9_850);
  });

  it('loses none, and batches them', async () => {
    const [stats] = (await liveView(url)).queues;
    expect(answers).toHaveLength(10_000);
    expect(stats).toMatchObject({
      submitted: 10_000,
      results: 10_000,
      errors: 0,
      dropped: 0,
      waiting: 0,
      running: 0,
    });
    // How many at a time is for the policy to find out: where HTTP is the limit, and two batches may run, few wait.
    expect(10_000 / (stats?.batches ?? 0)).toBeGreaterThan(1.5);
  });
});

async function readAll(url: string): Promise<Digit[]> {
  const agent = connections();
  const answers: Digit[] = [];
  let next = 0;
  const caller = async (): Promise<void> => {
    for (let i = next++; i < digits.length; i = next++) {
      const { status, body } = await postJson(
        `${url}/digits`,
        { pixels: [...(digits[i]?.pixels ?? [])] },
        { agent },
      );
      if (status !== 200) throw new Error(`digit ${i}: ${status} ${body}`);
      answers[i] = JSON.parse(body) as Digit;
    }
  };
  await Promise.all(Array.from({ length: 64 }, caller));
  agent.destroy();
  return answers;
}
