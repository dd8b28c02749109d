import { Agent } from 'node:http';
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { BatchingRegistry } from 'nest-batching';
import { UNITS, VOCABULARY } from '../apps/writers/src/alphabet.js';
import { Network, type Reading, type Step } from '../apps/writers/src/network.js';
import type { EventStream } from '../apps/writers/src/event-stream.js';
import { Streams } from '../apps/writers/src/streams.js';
import { Walls } from '../apps/writers/src/walls.js';
import { randomNumbers } from '@app/figures';
import { send } from './http.js';
import { eventsOf, post, startWriters } from './writers.js';

/** The event `changes` of a wall, as far as it is read here. */
interface Changes {
  began: [number, string][];
  ended: [number, string][];
  race?: { isOver: boolean; isCancelled: boolean; runs: { done: number }[] };
}

describe('The writers', () => {
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    ({ app, url } = await startWriters({ MAX_WRITERS: '300', MAX_WALLS: '2' }));
  });
  afterAll(() => app.close());
  // Nothing that a test left goes on writing.
  afterEach(() => until(() => app.get(Streams).taken === 0));

  async function write(body: object): Promise<{ text: string; last: string; start: unknown }> {
    const response = await post(`${url}/writers`, body);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    let [text, last, start] = ['', '', {} as unknown];
    for await (const { event, data } of eventsOf(response)) {
      if (event === 'text') text += String(data.text);
      if (event === 'start') start = data;
      last = `${event} ${JSON.stringify(data)}`;
    }
    return { text, last, start };
  }

  it('write a text, a character an event', async () => {
    const { text, last, start } = await write({ prompt: 'The ', seed: 4, length: 50 });
    expect(text).toHaveLength(50);
    expect(Array.from(text).every((character) => VOCABULARY.includes(character))).toBe(true);
    expect(start).toEqual({ seed: 4 });
    expect(last).toBe('end {"length":50}');
  });

  it('write the same text for the same seed, whatever the company, and say which seed was drawn', async () => {
    const alone = await write({ prompt: 'Call me ', seed: 11, length: 40 });
    const crowd = Array.from({ length: 40 }, (_, i) =>
      write({ prompt: 'Call me '.slice(0, i % 9), seed: i, length: 10 + i }),
    );
    expect((await write({ prompt: 'Call me ', seed: 11, length: 40 })).text).toBe(alone.text);
    await Promise.all(crowd);
    const { text, start } = await write({ length: 30 });
    expect((await write({ length: 30, ...(start as object) })).text).toBe(text);
  });

  it.each([
    [{ prompt: 7 }, 'prompt: expected a text of at most 200 characters, got 7'],
    [{ prompt: 'x'.repeat(201) }, 'prompt: expected a text of at most 200 characters'],
    [{ prompt: 'naïve 鯨' }, 'got "ï", "鯨"'],
    [{ prompt: '\ud83d' }, 'got "\\ud83d"'],
    [{ temperature: 3 }, 'temperature: expected a number from 0 to 2, got 3'],
    [{ temperature: -0.1 }, 'temperature: expected a number from 0 to 2, got -0.1'],
    [{ length: 1e9 }, 'length: expected an integer from 1 to 2000, got 1000000000'],
    [{ length: 0 }, 'length: expected an integer from 1 to 2000, got 0'],
    [{ seed: 1.5 }, 'seed: expected an integer from 0 to 4294967295, got 1.5'],
    [{ words: 3 }, 'words: expected no such property, only an object with'],
    [[], 'expected an object with'],
  ])('refuse %j with what was expected', async (body, message) => {
    const answer = await post(`${url}/writers`, body);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({
      code: 'ERR_INVALID',
      message: expect.stringContaining(message),
    });
  });

  it('refuse a body that is too large or of another type', async () => {
    expect((await post(`${url}/writers`, { prompt: 'x'.repeat(20_000) })).status).toBe(413);
    const text = await fetch(`${url}/writers`, { method: 'POST', body: 'The whale' });
    expect([text.status, await text.json()]).toEqual([
      415,
      expect.objectContaining({ code: 'ERR_BODY_TYPE' }),
    ]);
  });

  it('take curly quotes for straight ones', async () => {
    const [curly, straight] = await Promise.all(
      ['“Ahab’s ', `"Ahab's `].map((prompt) => write({ prompt, seed: 1, length: 10 })),
    );
    expect(curly?.text).toBe(straight?.text);
  });

  it('give the place of a visitor that leaves to others', async () => {
    const controller = new AbortController();
    const response = await post(`${url}/writers`, { length: 2000 }, controller.signal);
    const release = holdSteps();
    expect(app.get(Streams).taken).toBe(1);
    controller.abort();
    await response.text().catch(() => undefined);
    // Although its step still runs.
    await until(() => app.get(Streams).taken === 0);
    release();
    await until(() => stepStats().runningBatches === 0);
    const { settled, waiting } = stepStats();
    expect(waiting).toBe(0);
    await write({ length: 1, prompt: '' });
    expect(stepStats().settled - settled).toBe(1);
  });

  it('give the place of a visitor that leaves to others, also if its answer waits behind another one', async () => {
    const { hostname, port } = new URL(url);
    const client = connect({ host: hostname, port: Number(port) });
    client.resume();
    const body = JSON.stringify({ length: 2000 });
    const release = holdSteps();
    // A wall has no end.
    client.write(`GET /walls HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`);
    client.write(
      `POST /writers HTTP/1.1\r\nhost: ${hostname}\r\ncontent-type: application/json\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`,
    );
    await until(() => app.get(Streams).taken === 1);
    client.destroy();
    await until(() => app.get(Streams).taken === 0);
    release();
  });

  it('take as many as there are places of a thousand at once, and tell the others when to come again', async () => {
    const agent = new Agent({ maxSockets: 1000 });
    const headers = { 'content-type': 'application/json' };
    const give = app.get(Streams).takePlaces(200);
    const release = holdSteps();
    let refusals = 0;
    const asked = Array.from({ length: 1000 }, async () => {
      const answer = await send(
        `${url}/writers`,
        { method: 'POST', headers, agent },
        JSON.stringify({ length: 3 }),
      );
      // Until then those that have a place keep it.
      if (answer.status === 503 && ++refusals === 900) release();
      return answer;
    });
    const answers = await Promise.all(asked);
    for (let i = 0; i < 200; i++) give();
    agent.destroy();
    const refused = answers.filter(({ status }) => status === 503);
    const taken = answers.filter(({ status }) => status === 200);
    expect([taken.length, refused.length]).toEqual([100, 900]);
    expect(taken.every(({ body }) => body.endsWith('event: end\ndata: {"length":3}\n\n'))).toBe(true);
    expect(refused[0]?.headers['retry-after']).toBe('2');
    expect(JSON.parse(refused[0]?.body ?? '')).toMatchObject({
      code: 'ERR_WRITERS_FULL',
      details: { limit: 300 },
    });
  });

  it('let no crowd slow a visitor down', async () => {
    const { wall, events, end } = await openWall();
    await join(wall, { count: 250, length: 2000 });
    const before = stepStats().batches;
    await write({ prompt: '', length: 40, seed: 1 });
    // 250 others need four batches for a step each; a visitor's step is in each.
    expect(stepStats().batches - before).toBeLessThan(80);
    // Most of the crowd waits for a batch, and gives up its place in the next one with its wall.
    const { drops } = stepStats();
    await end();
    await until(() => app.get(Streams).taken === 0);
    expect(stepStats().drops.aborted).toBeGreaterThan(drops.aborted);
    await events.return(undefined);
  });

  it('join and leave a wall, which is one stream', async () => {
    const { wall, events, end } = await openWall();
    expect(await (await join(wall, { count: 3, length: 20, seed: 5, prompt: 'The ' })).json()).toEqual({
      first: 1,
      count: 3,
    });
    await join(wall, { count: 2, length: 2000 });
    const texts = new Map<number, string>();
    const ended: [number, string][] = [];
    for await (const { data } of events) {
      for (const [number, text] of Object.entries(data.texts as Record<string, string>)) {
        texts.set(Number(number), (texts.get(Number(number)) ?? '') + text);
      }
      ended.push(...(data.ended as [number, string][]));
      const isWriting = [4, 5].every((number) => texts.has(number));
      if (ended.length === 3 && isWriting) await post(`${wall}/departures`, { numbers: [4, 5, 77] });
      if (ended.length === 5) break;
    }
    expect(ended.toSorted(([a], [b]) => a - b)).toEqual([
      ...[1, 2, 3].map((number) => [number, 'done']),
      ...[4, 5].map((number) => [number, 'it left']),
    ]);
    // The seed of each is one higher.
    expect(texts.get(2)).toBe((await write({ prompt: 'The ', length: 20, seed: 6 })).text);
    await end();
  });

  it('race continuous batches against static ones', async () => {
    const { wall, events, end } = await openWall();
    const call = { streams: 8, texts: 12, seed: 3 };
    expect((await post(`${wall}/race`, call)).status).toBe(202);
    const second = await post(`${wall}/race`, call);
    expect([second.status, second.headers.get('retry-after')]).toEqual([503, '10']);
    expect(await second.json()).toMatchObject({ code: 'ERR_RACE_RUNNING' });
    for await (const { data } of events) {
      const race = data.race as { isOver: boolean; runs: object[] } | undefined;
      if (!race?.isOver) continue;
      expect(race.runs).toEqual([
        expect.objectContaining({ batches: 'continuous', done: 12 }),
        expect.objectContaining({ batches: 'static', done: 12 }),
      ]);
      break;
    }
    await end();
  });

  it.each(['continuous', 'static'])('call a race off whose texts leave, in %s batches', async (batches) => {
    const { wall, events, end } = await openWall();
    const call = { streams: 8, texts: 12, seed: 3 };
    await post(`${wall}/race`, call);
    const writing = new Set<number>();
    let last: { isOver: boolean; isCancelled: boolean; runs: { done: number }[] } | undefined;
    for await (const { data } of events) {
      const { began, ended, race } = data as unknown as Changes;
      for (const [number] of began) writing.add(number);
      for (const [number] of ended) writing.delete(number);
      last = race ?? last;
      if (last?.isOver) break;
      const isStatic = last?.runs.length === 2 || last?.runs[0]?.done === 12;
      if (writing.size > 0 && isStatic === (batches === 'static')) {
        await post(`${wall}/departures`, { numbers: [...writing] });
      }
    }
    expect(last).toMatchObject({ isCancelled: true });
    expect(last?.runs.at(-1)?.done).toBeLessThan(12);
    // Another one may begin, and the batch of the first does not go on beside it.
    await until(async () => (await post(`${wall}/race`, call)).status === 202);
    await end();
  });

  it('keep the texts of a wall whose race is refused', async () => {
    const { wall, end } = await openWall();
    await join(wall, { count: 256, length: 2000 });
    const refused = await post(`${wall}/race`, { streams: 64 });
    expect([refused.status, await refused.json()]).toEqual([
      503,
      expect.objectContaining({ code: 'ERR_WRITERS_FULL' }),
    ]);
    expect(app.get(Streams).taken).toBe(256);
    await end();
  });

  it('let nothing join a wall whose reader has left', async () => {
    const open = jest.spyOn(app.get(Streams), 'open');
    const { wall, end } = await openWall();
    const stream = open.mock.results[0]?.value as EventStream;
    open.mockRestore();
    const walls = app.get(Walls);
    const id = wall.slice(wall.lastIndexOf('/') + 1);
    expect(walls.get(id).id).toBe(id);
    const found = new Promise((resolve) => {
      // Its loop has not looked yet.
      stream.signal.addEventListener('abort', () => {
        resolve(attempt(() => walls.get(id)));
      });
    });
    await end();
    expect(await found).toMatchObject({ code: 'ERR_NO_SUCH_WALL' });
  });

  it('open no wall for a HEAD', async () => {
    const open = jest.spyOn(app.get(Walls), 'open');
    const head = await send(`${url}/walls`, { method: 'HEAD' });
    expect([head.status, head.headers['content-type']]).toEqual([200, 'text/event-stream; charset=utf-8']);
    expect(open).not.toHaveBeenCalled();
    open.mockRestore();
  });

  it('say what is wrong with a wall', async () => {
    const missing = await join(`${url}/walls/none`, { count: 1 });
    expect([missing.status, await missing.json()]).toEqual([
      404,
      expect.objectContaining({ code: 'ERR_NO_SUCH_WALL' }),
    ]);
    const [one, two] = [await openWall(), await openWall()];
    const third = await fetch(`${url}/walls`);
    expect([third.status, third.headers.get('retry-after')]).toEqual([503, '5']);
    expect(await third.json()).toMatchObject({ code: 'ERR_TOO_MANY_WALLS' });
    const crowd = await join(one.wall, { count: 1000 });
    expect(await crowd.json()).toMatchObject({
      message: 'count: expected an integer from 1 to 256, got 1000',
    });
    await join(one.wall, { count: 256, length: 2000 });
    const full = await join(two.wall, { count: 256 });
    expect([full.status, await full.json()]).toEqual([
      503,
      expect.objectContaining({ code: 'ERR_WRITERS_FULL' }),
    ]);
    const numbers = await post(`${one.wall}/departures`, { numbers: ['one'] });
    expect(numbers.status).toBe(400);
    await one.end();
    await two.end();
  });

  async function openWall() {
    const controller = new AbortController();
    const events = eventsOf(await fetch(`${url}/walls`, { signal: controller.signal }));
    const first = await events.next();
    const wall = `${url}/walls/${String(first.value?.data.id)}`;
    const end = async () => {
      controller.abort();
      await until(async () => (await post(`${wall}/departures`, { numbers: [] })).status === 404);
    };
    return { wall, events, end };
  }

  /** Has every step wait until the returned function is called. */
  function holdSteps(): () => void {
    const network = app.get(Network);
    const step = network.step.bind(network);
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const spy = jest.spyOn(network, 'step').mockImplementation(async (steps) => {
      await held;
      return step(steps);
    });
    return () => {
      spy.mockRestore();
      release();
    };
  }

  function join(wall: string, crowd: object): Promise<Response> {
    return post(`${wall}/writers`, crowd);
  }

  function stepStats() {
    return app.get(BatchingRegistry).get('Network.step').stats();
  }
});

describe('Writers that are shut down', () => {
  it('end each stream with the reason', async () => {
    const { app, url } = await startWriters();
    const text = eventsOf(await post(`${url}/writers`, { length: 2000 }));
    const wall = eventsOf(await fetch(`${url}/walls`));
    await Promise.all([text.next(), wall.next()]);
    const closed = app.close();
    for (const events of [text, wall]) {
      let last: unknown;
      for await (const event of events) last = event;
      expect(last).toEqual({
        event: 'error',
        data: expect.objectContaining({ statusCode: 503, code: 'ERR_STOPPING' }),
      });
    }
    await closed;
  });
});

describe.each(['wasm', 'cpu'])('The network on %s', (BACKEND) => {
  it('reads the same in 200 random companies, to the last bit', async () => {
    const { app } = await startWriters({ BACKEND });
    const network = app.get(Network);
    const random = randomNumbers(16);
    const below = (limit: number) => Math.floor(random() * limit);
    // Of several steps, so that states are those of texts.
    let steps: Step[] = Array.from({ length: 48 }, () => ({ token: 0, state: new Float32Array(UNITS) }));
    for (let i = 0; i < 4; i++) {
      steps = (await network.step(steps)).map(({ state }) => ({ token: below(VOCABULARY.length), state }));
    }
    const alone: Reading[] = [];
    for (const step of steps) alone.push(...(await network.step([step])));
    for (let company = 0; company < 200; company++) {
      const members = Array.from({ length: 1 + below(64) }, () => below(steps.length));
      const readings = await network.step(members.map((member) => at(steps, member)));
      const differ = members.filter((member, i) => {
        const [read, expected] = [at(readings, i), at(alone, member)];
        return !equal(read.state, expected.state) || !equal(read.scores, expected.scores);
      });
      expect(differ).toEqual([]);
    }
    await app.close();
  });
});

/** What is thrown, else the result. */
function attempt(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new RangeError(`there is no item ${index}`);
  return item;
}

/** Whether two arrays have the same bits. */
function equal(one: Float32Array, other: Float32Array): boolean {
  return Buffer.from(one.buffer).equals(Buffer.from(other.buffer));
}

/** Waits for what other parts of the process do; the time limit is that of the test. */
async function until(isDone: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isDone())) await new Promise((resolve) => setTimeout(resolve, 5));
}
