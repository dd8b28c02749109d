import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { BatchingModule } from 'nest-batching';
import { BatchingMetricsModule } from 'nest-batching/prometheus';
import { Test } from '@nestjs/testing';
import { Registry } from 'prom-client';
import { findProgram } from './local-server.js';
import { hasPrometheus } from './prometheus-server.js';

const folder = fileURLToPath(new URL('../docs/operations', import.meta.url));
const read = (name: string): string => readFileSync(join(folder, name), 'utf8');

/** Every metric that there is, with the names of its labels. */
async function exported(): Promise<Map<string, readonly string[]>> {
  const registry = new Registry();
  const app = await Test.createTestingModule({
    imports: [BatchingModule.forRoot(), BatchingMetricsModule.forRoot({ registry })],
  }).compile();
  await app.init();
  await app.close();
  return new Map(
    registry.getMetricsAsArray().flatMap((metric) => {
      const { name, labelNames } = metric as unknown as { name: string; labelNames: string[] };
      return ['', '_bucket', '_sum', '_count'].map((ending) => [`${name}${ending}`, labelNames] as const);
    }),
  );
}

/** The metrics in a text of queries, with the labels by which each is selected. */
function used(text: string): { name: string; labels: string[] }[] {
  return Array.from(text.matchAll(/\b(batching_\w+)(?:\{([^}]*)\})?/g), ([, name = '', selectors = '']) => ({
    name,
    labels: Array.from(selectors.matchAll(/(\w+)\s*[=!]/g), ([, label = '']) => label),
  }));
}

const keda = '../../deploy/kubernetes/autoscaled/keda.yaml';

describe.each(['dashboard.json', 'alerts.yml', keda])('docs/operations/%s', (file) => {
  it('has metrics and labels that there are', async () => {
    const metrics = await exported();
    const queries = used(read(file).replaceAll('\\"', '"'));
    expect(queries.length).toBeGreaterThan(0);
    for (const { name, labels } of queries) {
      expect([...metrics.keys()]).toContain(name);
      const known = [...(metrics.get(name) ?? []), 'job', 'instance', 'le'];
      expect({ name, labels: labels.filter((label) => !known.includes(label)) }).toEqual({
        name,
        labels: [],
      });
    }
  });
});

describe('The dashboard', () => {
  interface Panel {
    id: number;
    title: string;
    gridPos: { x: number; y: number; w: number; h: number };
    targets?: { expr: string; datasource: { uid: string } }[];
  }
  const { panels } = JSON.parse(read('dashboard.json')) as { panels: Panel[] };

  it('shows every metric', async () => {
    const shown = new Set(used(JSON.stringify(panels).replaceAll('\\"', '"')).map(({ name }) => name));
    const names = new Set(
      Array.from((await exported()).keys(), (name) => name.replace(/_(bucket|sum|count)$/, '')),
    );
    for (const name of names) {
      expect([...shown].filter((each) => each.startsWith(name))).not.toEqual([]);
    }
  });

  it('neither adds up what an input counts on a web node and on a model node, nor takes the former for a replica', () => {
    const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    const counts = queries.filter((query) =>
      /batching_(submitted|coalesced|items|dropped)_total/.test(query),
    );
    expect(counts).toHaveLength(4);
    for (const query of counts) expect(query).toMatch(/^sum by \(job, queue/);
    // A queue whose inputs are sent has no utilization.
    expect(queries.filter((query) => query.startsWith('count by'))).toEqual([
      expect.stringMatching(/^count by \(queue\) \(batching_utilization\{/),
    ]);
  });

  it('has panels that do not overlap, each with an id and a data source that is chosen', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)} ${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    for (const { targets = [] } of panels) {
      for (const { datasource } of targets) expect(datasource.uid).toBe('${datasource}');
    }
  });
});

(hasPrometheus('the check of the alert rules') ? describe : describe.skip)('The alert rules', () => {
  const promtool = (...args: string[]) =>
    execFileSync(findProgram('promtool') ?? 'promtool', args, { encoding: 'utf8' });

  it('are what Prometheus takes', () => {
    const said = promtool('check', 'rules', join(folder, 'alerts.yml'));
    expect(said).toContain(`SUCCESS: ${[...read('alerts.yml').matchAll(/- alert:/g)].length} rules found`);
  });

  it('fire when they should, and only then', () => {
    const cases = fileURLToPath(new URL('alert-rules.yml', import.meta.url));
    expect(promtool('test', 'rules', cases)).toContain('SUCCESS');
  });
});
