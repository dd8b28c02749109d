import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { BatchingRegistry } from 'nest-batching';
import { postJson, startDemo } from './demo.js';
import { findProgram } from './local-server.js';
import { hasPrometheus, PrometheusServer } from './prometheus-server.js';

const rules = fileURLToPath(new URL('../docs/operations/alerts.yml', import.meta.url));
const blank = { pixels: Array.from({ length: 784 }, (_, index) => (index % 28 === 14 ? 255 : 0)) };

(hasPrometheus('the demo scraped by a Prometheus') ? describe : describe.skip)('A Prometheus', () => {
  let app: INestApplication;
  let url: string;
  let prometheus: PrometheusServer;

  beforeAll(async () => {
    ({ app, url } = await startDemo({}));
    prometheus = await PrometheusServer.start(new URL(url).host, rules);
  });
  afterAll(async () => {
    await prometheus.stop();
    await app.close();
  });

  async function valueOf(expression: string): Promise<number> {
    const [first] = await prometheus.query(expression);
    return Number(first?.value[1]);
  }

  it('finds nothing to criticise in the text', async () => {
    const text = await (await fetch(`${url}/metrics`)).text();
    const input = text
      .split('\n\n')
      .filter((metric) => metric.includes(' batching_'))
      .join('\n\n');
    const promtool = findProgram('promtool') ?? 'promtool';
    expect(execFileSync(promtool, ['check', 'metrics'], { input, encoding: 'utf8' })).toBe('');
  });

  it('scrapes the demo, and counts what was read', async () => {
    const digits = '{queue="DigitClassifier.classify"}';
    // Replicas are computed after ten batches.
    for (let round = 0; round < 16; round++) {
      await Promise.all(Array.from({ length: 4 }, () => postJson(`${url}/digits`, blank)));
    }
    const { submitted, batches } = app.get(BatchingRegistry).get('DigitClassifier.classify').stats();
    expect(submitted).toBe(64);
    let seen = NaN;
    for (let second = 0; seen !== 64 && second < 60; second++) {
      await sleep(1000);
      seen = await valueOf(`batching_submitted_total${digits}`);
    }
    expect(seen).toBe(64);
    expect(await prometheus.problems()).toEqual([]);
    expect(await valueOf(`sum(batching_batches_total${digits})`)).toBe(batches);
    expect(await valueOf(`batching_wait_seconds_count${digits}`)).toBe(64);
    expect(await valueOf(`histogram_quantile(0.5, batching_run_seconds_bucket${digits})`)).toBeGreaterThan(0);
    expect(await valueOf(`sum(batching_replicas_needed${digits})`)).toBeGreaterThan(0);
    expect(await valueOf('batching_model_ready{model="digits"}')).toBe(1);
  });

  it('evaluates the alert rules without an error, and none of them fires', async () => {
    let healths: string[] = [];
    for (let second = 0; healths.includes('unknown') || healths.length === 0; second++) {
      if (second === 60) break;
      await sleep(500);
      healths = (await prometheus.rules()).map(({ health }) => health);
    }
    expect(new Set(healths)).toEqual(new Set(['ok']));
    expect(await prometheus.query('ALERTS{alertstate="firing"}')).toEqual([]);
  });
});
