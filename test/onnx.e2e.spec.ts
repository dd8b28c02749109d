import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Digit } from '../apps/demo-api/src/digits/digit-classifier.js';
import { type LabelledDigit, loadTestDigits } from '../apps/demo-api/src/digits/mnist.js';
import { connections, DemoProcess, liveView, postJson } from './demo.js';

const isInstalled = (() => {
  try {
    return createRequire(import.meta.url).resolve('onnxruntime-node') !== '';
  } catch {
    return false;
  }
})();
if (!isInstalled)
  process.stderr.write('SKIPPED: the demo on ONNX Runtime. onnxruntime-node is not installed\n');

(isInstalled ? describe : describe.skip)('the demo with BACKEND=onnx', () => {
  let demo: DemoProcess;
  let url: string;
  let digits: readonly LabelledDigit[];

  beforeAll(async () => {
    digits = (await loadTestDigits()).slice(0, 2000);
    demo = new DemoProcess({ BACKEND: 'onnx' });
    url = await demo.listening();
  });
  afterAll(async () => {
    demo.kill('SIGTERM');
    await demo.exit;
  });

  it('is ready, and says what reads digits', async () => {
    const answer = await fetch(`${url}/health/ready`);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({
      status: 'ready',
      device: expect.stringMatching(/^(CPU|GPU) \(ONNX Runtime /) as unknown,
    });
  });

  it('reads at least 98 % of 2,000 test digits right, in batches', async () => {
    const agent = connections();
    const rest = digits.entries();
    let right = 0;
    const caller = async (): Promise<void> => {
      for (const [, { pixels, label }] of rest) {
        const { status, body } = await postJson(`${url}/digits`, { pixels: [...pixels] }, { agent });
        expect(status).toBe(200);
        if ((JSON.parse(body) as Digit).digit === label) right++;
      }
    };
    await Promise.all(Array.from({ length: 64 }, caller));
    agent.destroy();
    expect(right).toBeGreaterThanOrEqual(1960);
    const [stats] = (await liveView(url)).queues;
    expect(stats).toMatchObject({ submitted: 2000, results: 2000, errors: 0, dropped: 0 });
    // HTTP is the limit here, not the network: how full batches get is a question of the machine.
    expect(2000 / Number(stats?.batches)).toBeGreaterThan(1.5);
  });
});
