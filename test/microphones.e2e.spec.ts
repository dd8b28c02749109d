import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { createSession, getBatchedToken, type Batched } from 'nest-batching';
import { MicrophoneGateway } from '../apps/microphones/src/microphone.gateway.js';
import { Places } from '../apps/microphones/src/places.js';
import { readRecording } from '../apps/microphones/src/recording.js';
import {
  silence,
  VoiceDetector,
  type VoiceState,
  type Heard,
} from '../apps/microphones/src/voice-detector.js';
import { WallGateway } from '../apps/microphones/src/wall.gateway.js';
import { message, MicrophoneClient, startMicrophones } from './microphones.js';

const recording = readRecording();

/** The frames of the recording from one on, round and round. */
function framesFrom(start: number, count: number): Float32Array[] {
  return Array.from(
    { length: count },
    (_, i) => recording[(start + i) % recording.length] ?? new Float32Array(),
  );
}

function messages(frames: readonly Float32Array[], as?: 'int16' | 'float32'): Buffer[] {
  return frames.map((samples, number) => message(number, samples, as));
}

/** What each of a crowd hears, all at once. */
function hearTogether(
  hear: Batched<VoiceDetector>['hear'],
  crowd: readonly (readonly Float32Array[])[],
): Promise<number[][]> {
  return Promise.all(
    crowd.map(async (frames) => {
      const options = { initialState: silence, maxPending: frames.length };
      await using session = createSession<Float32Array, VoiceState, Heard>(hear, options);
      const heard = await Promise.all(frames.map((frame) => session.push(frame)));
      return heard.map(({ speech }) => speech);
    }),
  );
}

describe('The microphones', () => {
  let app: INestApplication;
  let url: string;

  beforeAll(async () => {
    ({ app, url } = await startMicrophones());
  });
  afterAll(() => app.close());

  const detector = () => app.get<Batched<VoiceDetector>>(getBatchedToken(VoiceDetector), { strict: false });
  const alone = async (frames: readonly Float32Array[]) =>
    (await hearTogether(detector().hear, [frames]))[0] ?? [];

  it('hear what is said in a recording, and when', async () => {
    const client = await MicrophoneClient.open(url);
    const heard = await client.hear(messages(recording));
    client.socket.close();
    const segments = heard.flatMap(({ segment }) => segment ?? []);
    // The recording has two sentences, with silence after each: recording/README.md.
    expect(segments.map(({ from, to }) => [Math.round(from), Math.round(to)])).toEqual([
      [0, 7],
      [9, 12],
    ]);
    expect(heard.map(({ frame }) => frame)).toEqual(recording.map((_, frame) => frame));
  });

  it('hear the same, bit by bit, in a crowd as alone', async () => {
    const crowd = Array.from({ length: 100 }, (_, i) => framesFrom(37 * i, 12 + (i % 7)));
    const { batches: before } = detector().hear.queue.stats();
    const together = await hearTogether(detector().hear, crowd);
    const { batches } = detector().hear.queue.stats();
    expect(crowd.flat().length / (batches - before)).toBeGreaterThan(16);
    for (const [i, frames] of crowd.entries()) expect(together[i]).toEqual(await alone(frames));
  });

  it('would be heard to be crossed: with the states of two microphones exchanged once, all that follows differs', async () => {
    const [one, other] = [framesFrom(40, 30), framesFrom(300, 30)];
    const { hear } = detector();
    let exchanged = silence();
    for (const input of other.slice(0, 9)) ({ state: exchanged } = await hear({ input, state: exchanged }));
    let steps = 0;
    const crossed = createSession<Float32Array, VoiceState, Heard>(
      (step, options) => hear(++steps === 10 ? { ...step, state: exchanged } : step, options),
      { initialState: silence },
    );
    const right = await alone(one);
    const wrong: number[] = [];
    for (const frame of one) wrong.push((await crossed.push(frame)).speech);
    expect(wrong.slice(0, 9)).toEqual(right.slice(0, 9));
    expect(wrong.slice(9).some((speech, i) => speech !== right[9 + i])).toBe(true);
    expect(
      Math.max(...wrong.slice(9).map((speech, i) => Math.abs(speech - (right[9 + i] ?? 0)))),
    ).toBeGreaterThan(1e-3);
  });

  it('take floats as well as integers, and answer with the same', async () => {
    const frames = framesFrom(10, 20);
    const [integers, floats] = await Promise.all(
      (['int16', 'float32'] as const).map(async (as) => {
        const client = await MicrophoneClient.open(url);
        const heard = await client.hear(messages(frames, as));
        client.socket.close();
        return heard.map(({ speech }) => speech);
      }),
    );
    expect(floats).toEqual(integers);
    expect(floats).toEqual(await alone(frames));
  });

  it('hear each its own sound, where two are heard at once', async () => {
    const sounds = [framesFrom(10, 20), framesFrom(300, 20)];
    const clients = await Promise.all(sounds.map(() => MicrophoneClient.open(url)));
    const heard = await Promise.all(clients.map((client, i) => client.hear(messages(sounds[i] ?? []))));
    for (const { socket } of clients) socket.close();
    const right = await Promise.all(sounds.map(alone));
    expect(heard.map((answers) => answers.map(({ speech }) => speech))).toEqual(right);
    expect(right[0]).not.toEqual(right[1]);
    await until(() => app.get(Places).taken === 0);
  });

  it('give up their places when their connections end, whichever way', async () => {
    const clients = await Promise.all(Array.from({ length: 3 }, () => MicrophoneClient.open(url)));
    await Promise.all(clients.map((client) => client.hear(messages(framesFrom(0, 1)))));
    expect(app.get(Places).taken).toBe(3);
    clients[0]?.socket.close();
    clients[1]?.socket.terminate();
    // Ends with frames on the way.
    for (const frame of messages(framesFrom(0, 10))) clients[2]?.socket.send(frame);
    clients[2]?.socket.terminate();
    await until(() => app.get(Places).taken === 0);
  });

  const [good] = messages(framesFrom(0, 1));
  it.each([
    ['a frame out of order', message(7, framesFrom(0, 1)[0] ?? new Float32Array()), 1008, 'ERR_FRAME_ORDER'],
    ['a frame that is too short', Buffer.alloc(100), 1007, 'ERR_FRAME_LENGTH'],
    ['an empty message', Buffer.alloc(0), 1007, 'ERR_FRAME_LENGTH'],
    ['text', 'hello', 1003, 'ERR_FRAME_TEXT'],
    ['text as long as a frame', 'x'.repeat(1028), 1003, 'ERR_FRAME_TEXT'],
    ['JSON that names an event', '{"event":"bytes","data":[1]}', 1003, 'ERR_FRAME_TEXT'],
    ['NaN', message(0, new Float32Array(512).fill(NaN), 'float32'), 1007, 'ERR_FRAME_SAMPLES'],
    [
      'an infinite sample',
      message(0, new Float32Array(512).fill(Infinity), 'float32'),
      1007,
      'ERR_FRAME_SAMPLES',
    ],
  ])('end with a reason after %s, and the others go on', async (_, bad, closeCode, code) => {
    const [client, other] = await Promise.all([MicrophoneClient.open(url), MicrophoneClient.open(url)]);
    client.socket.send(bad);
    expect(await client.closed).toBe(closeCode);
    expect(client.ended).toMatchObject({ code, message: expect.stringContaining('expected') as unknown });
    expect(await other.hear([good ?? Buffer.alloc(0)])).toHaveLength(1);
    other.socket.close();
    await other.closed;
    await until(() => app.get(Places).taken === 0);
  });

  it.each([
    ['a message that is too large, before they have read it', Buffer.alloc(1_000_000), 1009],
    ['text that is no UTF-8', Buffer.of(0xff), 1007],
  ])('end after %s', async (_, bytes, closeCode) => {
    const client = await MicrophoneClient.open(url);
    client.socket.send(bytes, { binary: closeCode === 1009 });
    expect(await client.closed).toBe(closeCode);
    await until(() => app.get(Places).taken === 0);
  });

  it('show a wall of what each of a crowd hears, which ends with its connection', async () => {
    const client = new MicrophoneClient(url, '/wall');
    await once(client.socket, 'open');
    const looks: { microphones: number; heard: number; levels: number[] }[] = [];
    client.socket.on('message', (data: Buffer) => {
      looks.push((JSON.parse(data.toString()) as { data: (typeof looks)[0] }).data);
    });
    client.socket.send('{"microphones":40}');
    await until(() => looks.some(({ heard, levels }) => heard > 0 && levels.some((level) => level >= 50)));
    expect(looks.at(-1)).toMatchObject({ microphones: 40 });
    expect(app.get(Places).taken).toBe(40);
    client.socket.send('{"microphones":5}');
    await until(() => app.get(Places).taken === 5);
    client.socket.close();
    await until(() => app.get(Places).taken === 0);
  });

  it.each([
    '{"microphones":-1}',
    '{"microphones":1001}',
    '{"microphones":"5"}',
    'null',
    '{',
    Buffer.from('{"microphones":1}'),
  ])('refuse a wall of %s', async (text) => {
    const client = new MicrophoneClient(url, '/wall');
    await once(client.socket, 'open');
    client.socket.send(text);
    expect(await client.closed).toBe(1007);
    expect(client.ended?.code).toBe('ERR_WALL');
  });
});

describe('The bounds of the microphones', () => {
  let app: INestApplication | undefined;
  afterEach(() => app?.close());

  it('refuse the thousand-and-first with when to try again, and one that goes makes room', async () => {
    let url: string;
    ({ app, url } = await startMicrophones({ IDLE_TIMEOUT: '3600000' }));
    const clients = await openMany(url, 1000);
    const refused = await MicrophoneClient.open(url);
    expect(await refused.closed).toBe(1013);
    expect(refused.ended).toEqual({
      code: 'ERR_MICROPHONES_FULL',
      message: 'all 1000 places are taken; try again in 5 s',
      retryAfter: 5000,
    });
    clients[0]?.socket.close();
    await clients[0]?.closed;
    const { taken } = app.get(Places);
    expect(taken).toBeLessThanOrEqual(1000);
    await until(() => app?.get(Places).taken === 999);
    const admitted = await MicrophoneClient.open(url);
    expect(await admitted.hear(messages(framesFrom(0, 1)))).toHaveLength(1);
    for (const client of [...clients, admitted]) client.socket.terminate();
  });

  it('let 500 be heard at once, each of them as if it were alone', async () => {
    let url: string;
    ({ app, url } = await startMicrophones({ IDLE_TIMEOUT: '3600000' }));
    const clients = await openMany(url, 500);
    const sounds = clients.map((_, i) => framesFrom(37 * i, 6));
    const heard = await Promise.all(clients.map((client, i) => client.hear(messages(sounds[i] ?? []))));
    expect(app.get(Places).taken).toBe(500);
    for (const answers of heard) expect(answers.map(({ frame }) => frame)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(heard.flat().some(({ together }) => together > 1)).toBe(true);
    const { hear } = app.get<Batched<VoiceDetector>>(getBatchedToken(VoiceDetector), { strict: false });
    for (let i = 0; i < 500; i += 10) {
      const [alone] = await hearTogether(hear, [sounds[i] ?? []]);
      expect(heard[i]?.map(({ speech }) => speech)).toEqual(alone);
    }
    for (const { socket } of clients) socket.terminate();
    await until(() => app?.get(Places).taken === 0);
  });

  it('end one that sends more frames than may wait', async () => {
    let url: string;
    ({ app, url } = await startMicrophones({ MAX_PENDING: '4' }));
    const client = await MicrophoneClient.open(url);
    const { socket } = client;
    // At once, so that the server reads them together.
    for (const frame of messages(framesFrom(0, 40))) socket.send(frame);
    expect(await client.closed).toBe(1008);
    expect(client.ended).toMatchObject({ code: 'ERR_FRAMES_PENDING' });
    expect(client.heard.length).toBeLessThan(40);
  });

  it('end one that sends nothing', async () => {
    let url: string;
    ({ app, url } = await startMicrophones({ IDLE_TIMEOUT: '100' }));
    const client = await MicrophoneClient.open(url);
    expect(await client.closed).toBe(1008);
    expect(client.ended).toMatchObject({ code: 'ERR_MICROPHONE_IDLE' });
    expect(app.get(Places).taken).toBe(0);
  });

  it('tell those that are heard, and those that come meanwhile, when the server stops', async () => {
    let url: string;
    ({ app, url } = await startMicrophones());
    const [client, wall] = [await MicrophoneClient.open(url), new MicrophoneClient(url, '/wall')];
    await once(wall.socket, 'open');
    const [first, ...rest] = messages(framesFrom(0, 10));
    await client.hear([first ?? Buffer.alloc(0)]);
    for (const frame of rest) client.socket.send(frame);
    const late = ['/microphone', '/wall'].map((path) => new MicrophoneClient(url, path));
    const gateways = [app.get(MicrophoneGateway), app.get(WallGateway)];
    for (const gateway of gateways) gateway.beforeApplicationShutdown();
    for (const one of [client, wall, ...late]) {
      expect(await one.closed).toBe(1001);
      expect(one.ended).toEqual({
        code: 'ERR_GOING_AWAY',
        message: 'the server stops; connect again',
        retryAfter: 1000,
      });
    }
    expect(app.get(Places).taken).toBe(0);
    await app.close();
    app = undefined;
  });

  it('end one that never reads its answers, before these take much memory', async () => {
    let url: string;
    ({ app, url } = await startMicrophones({ MAX_UNREAD: '2048', MAX_PENDING: '10000' }));
    const { port } = new URL(url);
    const socket = connect(Number(port), '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(
      'GET /microphone HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    await once(socket, 'data');
    socket.pause();
    const places = app.get(Places);
    const closed = once(socket, 'close');
    // Until the buffers of the kernel are full; bounded, as each frame has an answer of some 80 bytes.
    const frame = messages([recording[0] ?? new Float32Array()])[0] ?? Buffer.alloc(0);
    for (let number = 0; number < 100_000 && places.taken > 0; number++) {
      frame.writeUInt32LE(number);
      if (!socket.write(masked(frame)))
        await Promise.race([once(socket, 'drain'), until(() => places.taken === 0)]);
    }
    await until(() => places.taken === 0);
    socket.destroy();
    await closed;
  });
});

/** Opens clients, in parts: a listening socket takes only so many connections at a time. */
async function openMany(url: string, count: number): Promise<MicrophoneClient[]> {
  const clients: MicrophoneClient[] = [];
  while (clients.length < count) {
    clients.push(...(await Promise.all(Array.from({ length: 50 }, () => MicrophoneClient.open(url)))));
  }
  return clients;
}

/** A WebSocket frame with bytes, masked with zeros. */
function masked(bytes: Buffer): Buffer {
  const head = Buffer.from([0x82, 0x80 | 126, bytes.length >> 8, bytes.length & 255, 0, 0, 0, 0]);
  return Buffer.concat([head, bytes]);
}

/** Resolves when it holds; the time limit of the test is the only other end. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
