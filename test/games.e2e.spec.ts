import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import * as tf from '@tensorflow/tfjs';
import { type Batched, getBatchedToken, ServiceStoppedError } from 'nest-batching';
import { startBackend } from 'nest-batching/tfjs';
import type { Browser, Page } from 'playwright-core';
import sharp from 'sharp';
import { Games, GamesModule, type Progress } from '../apps/games/src/games.js';
import { learningCurve, replayPage, type Stage } from '../apps/games/src/pictures.js';
import { NetworkSettings, PolicyNetwork } from '../apps/games/src/policy-network.js';
import { faults, findChromium, launch } from './browser.js';

const folder = await mkdtemp(join(tmpdir(), 'games-'));
beforeAll(() => startBackend('wasm'));
afterAll(() => rm(folder, { recursive: true }));

interface Opened {
  app: INestApplicationContext;
  games: Games;
  policy: Batched<PolicyNetwork>;
}

async function open(seed: number): Promise<Opened> {
  const module = await Test.createTestingModule({
    imports: [GamesModule.with(new NetworkSettings(64, seed))],
  }).compile();
  const app = await module.init();
  const policy = app.get<Batched<PolicyNetwork>>(getBatchedToken(PolicyNetwork));
  return { app, games: app.get(Games), policy };
}

async function train({ games }: Opened, updates: number): Promise<Progress[]> {
  const progress: Progress[] = [];
  for await (const update of games.train()) {
    progress.push({ ...update, ended: [...update.ended] });
    if (progress.length === updates) break;
  }
  return progress;
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

const stepsOf = (games: Stage['games']) => games.map((places) => places.length - 1);

describe('100 games on one network', () => {
  it('teach it to play, in full batches, until the service is stopped', async () => {
    const tensors = tf.memory().numTensors;
    const opened = await open(1);
    const { app, games, policy } = opened;
    const untaught = await games.playGreedily();
    const progress = await train(opened, 5);
    const taught = await games.playGreedily();

    // At random the pole stands for some 22 steps.
    expect(progress[0]?.mean).toBeGreaterThan(10);
    expect(progress[0]?.mean).toBeLessThan(40);
    expect(progress.at(-1)?.mean).toBeGreaterThan(60);
    expect(meanOf(stepsOf(untaught.games))).toBeLessThan(40);
    expect(meanOf(stepsOf(taught.games))).toBeGreaterThan(200);
    expect(taught.games.map(([start]) => start)).toEqual(untaught.games.map(([start]) => start));
    // One run of the network for each step of the longest game, whatever the number of games that go on.
    expect(untaught.runs).toBe(Math.max(...stepsOf(untaught.games)));
    expect(taught.runs).toBe(Math.max(...stepsOf(taught.games)));
    expect(progress.map(({ steps }) => steps)).toEqual([1, 2, 3, 4, 5].map((update) => 6400 * update));
    expect(progress.map(({ meanBatch }) => meanBatch)).toEqual(progress.map(() => 100));

    const late = policy.act([0, 0, 0, 0]);
    await app.close();
    expect([0, 1]).toContain(await late);
    await expect(policy.act([0, 0, 0, 0])).rejects.toThrow(ServiceStoppedError);
    expect(tf.memory().numTensors).toBe(tensors);
  });

  it('go the same way again with the same seed, and another with another', async () => {
    const ends: Progress['ended'][] = [];
    for (const seed of [1, 1, 2]) {
      const opened = await open(seed);
      ends.push((await train(opened, 2)).at(-1)?.ended ?? []);
      await opened.app.close();
    }
    expect(ends[0]?.length).toBeGreaterThan(300);
    // Not one step of them differs.
    expect(ends[1]).toEqual(ends[0]);
    expect(ends[2]).not.toEqual(ends[0]);
    const moments = ends[0]?.map(({ steps }) => steps) ?? [];
    expect(moments).toEqual(moments.toSorted((a, b) => a - b));
  });

  it('are played with batches of the size that is to be measured', async () => {
    const { app, games, policy } = await open(1);
    const sizes: number[] = [];
    policy.act.queue.onBatch(({ size }) => sizes.push(size));
    expect(await games.measure(7, 0)).toBeGreaterThan(0);
    expect(Math.max(...sizes)).toBe(7);
    expect(meanOf(sizes)).toBeGreaterThan(6);
    sizes.length = 0;
    expect(await games.measure(1, 0)).toBeGreaterThan(0);
    expect(new Set(sizes)).toEqual(new Set([1]));
    expect(sizes.length % 100).toBe(0);
    const begin = performance.now();
    await games.measure(100, 200);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(200);
    await app.close();
  });
});

describe('npm run games', () => {
  it('learns until the poles stand, and writes the learning curve and the replay', async () => {
    const out = join(folder, 'written');
    const { code, output } = await run(['--out', out]);
    // No terminal, so no bar: what it would show stands in one line at the end.
    expect(output).not.toContain(' | ');
    expect(output).toMatch(
      /after [\d,]+ games, [\d,]+ steps \([\d,]+ per second, in batches of 100\.0\), \d+ updates of the network and/,
    );
    const mean = /^The last 100 games brought ([\d.]+) on average, after .* s$/m.exec(output)?.[1];
    expect(Number(mean)).toBeGreaterThanOrEqual(475);
    const [, greedy, runs, actions] =
      /^100 new games, played greedily: ([\d.]+) on average, .*, with ([\d,]+) runs of the network instead of ([\d,]+)$/m.exec(
        output,
      ) ?? [];
    expect(Number(greedy)).toBeGreaterThanOrEqual(475);
    expect(Number(runs)).toBeLessThanOrEqual(500);
    expect(Number(actions?.replace(',', '')) / 100).toBeCloseTo(Number(greedy), 1);
    expect(code).toBe(0);

    expect(await readFile(join(out, 'learning-curve.svg'), 'utf8')).toMatch(/^<svg .*<\/svg>\n$/s);
    const page = await readFile(join(out, 'replay.html'), 'utf8');
    const data = /<script type="application\/json" id="games">(.*?)<\/script>/s.exec(page)?.[1] ?? '';
    const { stages, means, returns } = JSON.parse(data) as {
      stages: { steps: number; runs: number; lengths: number[] }[];
      means: [steps: number, mean: number][];
      returns: [steps: number, gained: number][];
    };
    expect(stages).toHaveLength(4);
    expect(stages.at(-1)?.runs).toBe(Number(runs));
    // The curve is that of this training, and each stage is one of its points, or its beginning.
    expect(means.at(-1)?.[1].toFixed(1)).toBe(mean);
    expect(stages.at(-1)?.steps).toBe(means.at(-1)?.[0]);
    expect([0, ...means.map(([steps]) => steps)]).toEqual(
      expect.arrayContaining(stages.map(({ steps }) => steps)),
    );
    expect(meanOf(returns.slice(-100).map(([, gained]) => gained)).toFixed(1)).toBe(mean);
    expect(meanOf(stages.at(-1)?.lengths ?? []) - 1).toBeCloseTo(Number(greedy), 1);
  });

  it.each(['/dev/null/games', '/sys/kernel'])('refuses with 2 and a message to write to %s', async (out) => {
    const { code, output } = await run(['--out', out]);
    expect(output).toContain(`error: --out: expected a folder that can be written to, got '${out}' (E`);
    expect(output).not.toContain('    at ');
    expect(output).not.toContain(' | ');
    expect(code).toBe(2);
  });

  it('compares batch sizes, and ends', async () => {
    const { code, output } = await run(['--batch-size', '1', '--backend', 'cpu', '--hidden', '8']);
    expect(output).toMatch(/Batches of 100 play [\d.]+ times as fast \(median; [\d.]+ to [\d.]+\)/);
    expect(output.match(/ ×$/gm)).toHaveLength(7);
    expect(code).toBe(0);
  });

  it('serves metrics meanwhile', async () => {
    let text: Promise<string> | undefined;
    const { code, output } = await run(
      ['--batch-size', '50', '--backend', 'cpu', '--hidden', '8', '--metrics', '0'],
      (said) => {
        const url = /^Metrics: (http:\/\/localhost:\d+\/metrics)$/m.exec(said)?.[1];
        if (url !== undefined) text ??= fetch(url).then((response) => response.text());
      },
    );
    expect(output).toContain('Batches of 100 play');
    expect(await text).toMatch(/^batching_submitted_total\{queue="PolicyNetwork\.act"\} \d+$/m);
    expect(code).toBe(0);
  });

  /** @param onOutput called with all that it has said so far */
  function run(
    args: readonly string[],
    onOutput: (said: string) => void = () => undefined,
  ): Promise<{ code: number | null; output: string }> {
    const main = fileURLToPath(new URL('../apps/games/src/main.ts', import.meta.url));
    return new Promise((resolve) => {
      let said = '';
      const child = execFile(
        process.execPath,
        ['--import', 'tsx', main, ...args],
        { timeout: 110_000 },
        (_, stdout, stderr) => {
          resolve({ code: child.exitCode, output: stdout + stderr });
        },
      );
      child.stdout?.on('data', (text: string) => {
        onOutput((said += text));
      });
    });
  }
});

const executablePath = await findChromium();
(executablePath ? describe : describe.skip)('The replay in headless Chromium', () => {
  let browser: Browser;
  let stages: Stage[];
  let updates: Progress[];
  let url: string;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    const opened = await open(1);
    stages = [{ steps: 0, ...(await opened.games.playGreedily()) }];
    updates = [];
    for await (const update of opened.games.train()) {
      updates.push(update);
      if (updates.length === 1) stages.push({ steps: 6400, ...(await opened.games.playGreedily()) });
      if (updates.length === 3) break;
    }
    await opened.app.close();
    const file = join(folder, 'replay.html');
    await writeFile(file, await replayPage(stages, updates));
    url = pathToFileURL(file).href;
    browser = await launch(executablePath);
  });
  afterAll(() => browser.close());
  beforeEach(async () => {
    page = await browser.newPage();
    complaints = [];
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => {
      if (request.url() !== url) complaints.push(request.url());
    });
  });
  afterEach(async () => {
    await page.close();
    expect(complaints).toEqual([]);
  });

  const text = (id: string) => page.locator(`#${id}`).textContent();
  const time = async () => Number(await page.locator('#time').inputValue());
  const stepsOfStage = (index: number) => stepsOf(stages[index]?.games ?? []);

  it.each(['light', 'dark'] as const)(
    'plays by itself, one stage after the other, %s',
    async (colorScheme) => {
      await page.emulateMedia({ colorScheme });
      await page.goto(url);
      expect(await text('play')).toBe('Pause');
      await page.locator('#speed').selectOption('4');
      await page.getByLabel('After 6,400 steps').and(page.locator(':checked')).waitFor();
      await page.locator('#speed').selectOption('1');
      const pictures = await page.evaluate(`new Promise((resolve) => {
      const seen = new Set();
      requestAnimationFrame(function look() {
        for (const id of ['one', 'all']) seen.add(document.getElementById(id).toDataURL());
        if (seen.size < 10) requestAnimationFrame(look);
        else resolve(seen.size);
      });
    })`);
      expect(pictures).toBeGreaterThanOrEqual(10);
      await page.locator('#speed').selectOption('4');
      await page.locator('#play').getByText('Play').waitFor();
      const standing = stepsOfStage(1).filter((steps) => steps === 500).length;
      expect(await text('standing')).toBe(`${standing} of 100 are standing`);
      expect(await text('mean')).toBe(`${meanOf(stepsOfStage(1)).toFixed(0)} of 500 steps on average`);
      expect(await time()).toBeCloseTo(0.02 * Math.max(...stepsOfStage(1)));
    },
  );

  it('is used with the keyboard alone', async () => {
    await page.goto(url);
    await page.keyboard.press('Space');
    expect(await text('play')).toBe('Play');
    const stoppedAt = await time();
    await page.keyboard.press('ArrowLeft');
    const before = Math.max(0, stoppedAt - 0.02);
    expect(await time()).toBeCloseTo(before);
    await page.keyboard.press('ArrowRight');
    expect(await time()).toBeCloseTo(before + 0.02);

    await page.keyboard.press('Tab');
    await page.keyboard.press('ArrowRight');
    await page.getByLabel('After 6,400 steps').and(page.locator(':checked')).waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.press('ArrowRight');
    expect(await text('name')).toBe('Game 2');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    expect(await text('play')).toBe('Play');
    await page.locator('#time').focus();
    await page.keyboard.press('End');
    expect(await text('state')).toMatch(new RegExp(` ${stepsOfStage(1)[1] ?? NaN} steps$`));
  });

  /** The centre of the dot, counted from the left and the bottom of the curve, in CSS pixels. */
  const dot = async () => {
    const [curve, box] = await Promise.all(['#curve', '#dot'].map((id) => page.locator(id).boundingBox()));
    if (!curve || !box) throw new Error('The curve or its dot is not shown');
    return { x: box.x + box.width / 2 - curve.x, y: curve.y + curve.height - (box.y + box.height / 2) };
  };
  const wholeNumber = (value: number) => value.toLocaleString('en');

  it('slows the first stage, and moves the dot on the learning curve to the next one', async () => {
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await page.clock.install({ time: 0 });
    await page.goto(url);
    await page.clock.pauseAt(3_600_000);
    const [first = NaN, last = NaN] = [0, 1].map((index) => 0.02 * Math.max(...stepsOfStage(index)));
    const means = updates.map(({ mean }) => mean);
    const slowed = Math.ceil(4 / first);
    expect(slowed).toBeGreaterThan(10);
    expect(await text('pace')).toBe(`Slowed ${slowed} ×: the longest game lasts ${first.toFixed(1)} s.`);
    // Nothing has been learned before the first update, so the curve begins with the mean of that moment.
    expect(await text('learned')).toBe(`after 0 steps: ${means[0]?.toFixed(0)} of 500 on average`);
    const begin = await dot();

    await page.keyboard.press('Space');
    await page.clock.runFor(50);
    await page.clock.fastForward(1950);
    expect(await time()).toBeGreaterThan(1.8 / slowed);
    expect(await time()).toBeLessThan(2.1 / slowed);
    expect(await dot()).toEqual(begin);
    await page.clock.fastForward(1000 * (slowed * first - 2));
    await page.clock.runFor(100);
    await page.clock.fastForward(650);
    const steps = Number(/^after ([\d,]+) steps/.exec((await text('learned')) ?? '')?.[1]?.replace(',', ''));
    expect(steps).toBeGreaterThan(2000);
    expect(steps).toBeLessThan(4400);
    const between = await dot();
    expect(between.x).toBeGreaterThan(begin.x);
    await page.clock.fastForward(1000);
    expect(await text('pace')).toBe(`Not slowed: the longest game lasts ${last.toFixed(1)} s.`);
    expect(await text('learned')).toBe(`after 6,400 steps: ${means[0]?.toFixed(0)} of 500 on average`);
    const end = await dot();
    expect((between.x - begin.x) / (end.x - begin.x)).toBeCloseTo(steps / 6400, 1);
    // A third of the way along the axis, at the height of the mean.
    const { width = NaN, height = NaN } = (await page.locator('#curve').boundingBox()) ?? {};
    expect(end.x).toBeCloseTo(36 + (width - 46) / 3, 0);
    expect(end.y).toBeCloseTo(22 + ((means[0] ?? NaN) / 500) * (height - 32), 0);
  });

  it('says how often the network ran, and how often it would have run one by one', async () => {
    await page.goto(url);
    for (const [index, label] of ['Not at all', 'After 6,400 steps'].entries()) {
      await page.getByLabel(label).check({ force: true });
      const actions = wholeNumber(stepsOfStage(index).reduce((sum, steps) => sum + steps, 0));
      const runs = wholeNumber(stages[index]?.runs ?? NaN);
      expect(await text('runs')).toBe(`${runs} runs of the network instead of ${actions}`);
    }
  });

  it('goes back from the end of a stage, also when it was stopped a little later', async () => {
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await page.clock.install({ time: 0 });
    await page.goto(url);
    await page.clock.pauseAt(3_600_000);
    const end = 0.02 * Math.max(...stepsOfStage(0));
    await page.keyboard.press('Space');
    await page.clock.runFor(50);
    await page.clock.fastForward(1000 * end * Math.ceil(4 / end));
    await page.clock.runFor(100);
    await page.clock.fastForward(300);
    await page.keyboard.press('Space');
    expect(await time()).toBeCloseTo(end);
    await page.keyboard.press('ArrowLeft');
    expect(await time()).toBeCloseTo(end - 0.02);
  });

  it('shows the game that is pointed at', async () => {
    await page.goto(url);
    const { width = NaN, height = NaN } = (await page.locator('#all').boundingBox()) ?? {};
    await page.locator('#all').click({ position: { x: 0.35 * width, y: 0.75 * height } });
    expect(await text('name')).toBe('Game 74');
    expect(await page.locator('#game').inputValue()).toBe('74');
    await page.getByLabel('After 6,400 steps').check({ force: true });
    await page.locator('#time').fill('60');
    expect(await text('state')).toMatch(new RegExp(` ${stepsOfStage(1)[73] ?? NaN} steps$`));
  });

  it('waits to be started where motion is not wanted', async () => {
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await page.goto(url);
    expect(await text('play')).toBe('Play');
    await page.waitForTimeout(200);
    expect(await time()).toBe(0);
  });

  it('fits on a phone', async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    await page.goto(url);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360);
  });

  it.each([
    ['light', { width: 1280, height: 800 }],
    ['dark', { width: 1280, height: 800 }],
    ['light', { width: 360, height: 740 }],
  ] as const)('has no fault that axe finds, %s, %j', async (colorScheme, viewport) => {
    // So that it stands still.
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.setViewportSize(viewport);
    await page.goto(url);
    expect(await faults(page)).toEqual([]);
  });
});

it('The learning curve is an SVG that a browser and others can draw', async () => {
  const opened = await open(1);
  const updates = await train(opened, 2);
  await opened.app.close();
  const svg = learningCurve(updates);
  expect(svg.match(/M[\d.]+ [\d.]+h0(?!m)/g)).toHaveLength(updates.at(-1)?.ended.length ?? NaN);
  expect(svg).toContain('class="limit"');
  expect(svg).not.toContain('NaN');
  const { data } = await sharp(Buffer.from(svg)).raw().toBuffer({ resolveWithObject: true });
  expect(new Set(data).size).toBeGreaterThan(20);
});
