import { once } from 'node:events';
import { Agent, get, type IncomingMessage, request as post } from 'node:http';
import {
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import {
  type CanActivate,
  type ExecutionContext,
  Injectable,
  Logger,
  Module,
  type NestApplicationOptions,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { map, type Observable } from 'rxjs';
import { BatchingModule } from 'nest-batching';
import { BatchingDashboardModule } from 'nest-batching/dashboard';
import { type DashboardApp, type Frame, startApp } from './dashboard.js';

const adapters = ['express', 'fastify'] as const;
const silent: Pick<NestApplicationOptions, 'logger' | 'abortOnError'> = {
  logger: false,
  abortOnError: false,
};

describe.each(adapters)('The dashboard on %s', (adapter) => {
  let running: DashboardApp | undefined;
  const start = async (...[options, more]: Parameters<typeof startApp>) =>
    (running = await startApp(options, { adapter, ...more }));

  afterEach(async () => {
    await running?.app.close();
    running = undefined;
    jest.restoreAllMocks();
  });

  it('is there only at its path, as one page that loads nothing else', async () => {
    const { url } = await start({ path: 'admin/queues' });
    const page = await fetch(`${url}/admin/queues`);
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const html = await page.text();
    expect(html).not.toMatch(/(src|href)="(?!data:)/);
    expect(html.match(/<script>/g)).toHaveLength(1);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toMatch(
      /default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; connect-src 'self'/,
    );
    expect((await fetch(`${url}/batching`)).status).toBe(404);
  });

  it('shows every queue, live', async () => {
    const { url, digits, printer } = await start();
    const viewer = await watch(`${url}/batching/events`);
    expect(viewer.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    expect(viewer.headers['cache-control']).toBe('no-store, no-transform');
    const [first] = await viewer.frames(1);
    expect(first).toMatchObject({ isWhole: true, tune: false });
    expect(first?.queues.map(({ name }) => name)).toEqual(['Digits.classify', 'Printer.print']);
    await Promise.allSettled([...digits.submitMany([1, 2, -1]), printer('page')]);
    const batches = (frames: Frame[]) =>
      frames.flatMap(({ queues }) =>
        queues.flatMap(({ name, ended }) => ended.map((batch) => [name, batch[5], batch[7]])),
      );
    const frames = await viewer.until((all) => batches(all).length >= 2);
    expect(batches(frames).sort()).toEqual([
      ['Digits.classify', 3, 1],
      ['Printer.print', 1, 0],
    ]);
    expect(frames.at(-1)?.queues[0]?.figures).toMatchObject({ batches: 1, inputs: 3, results: 2, errors: 1 });
    viewer.close();
  });

  it('has the same frames for all who watch, and a whole one for whoever comes later', async () => {
    const { url, digits } = await start();
    const first = await watch(`${url}/batching/events`);
    await first.frames(1);
    const second = await watch(`${url}/batching/events`);
    await second.frames(1);
    await digits(1);
    const hasBatch = (all: Frame[]) => all.some(({ queues }) => (queues[0]?.ended.length ?? 0) > 0);
    const [one, two] = [(await first.until(hasBatch)).at(-1), (await second.until(hasBatch)).at(-1)];
    expect(one).toEqual(two);
    const late = await watch(`${url}/batching/events`);
    const [whole] = await late.frames(1);
    expect(whole).toMatchObject({ isWhole: true, epoch: one?.epoch });
    expect(whole?.queues[0]?.ended).toEqual(one?.queues[0]?.ended);
    for (const viewer of [first, second, late]) viewer.close();
  });

  it('changes nothing unless it may', async () => {
    const { url, digits } = await start();
    const answer = await change(url, { queue: 'Digits.classify', batchSize: 2 });
    expect(answer.status).toBe(404);
    expect(digits.queue.batchSize).toBe(32);
  });

  it('changes settings for JSON of its own origin, until the restart, and logs it', async () => {
    const { url, digits, app } = await start({ tune: true, unguarded: true });
    const log = jest.spyOn(Logger.prototype, 'log');
    const settings = { batchSize: 8, maxDelay: 2, dispatch: 'fixed' };
    const answer = await change(url, { queue: 'Digits.classify', ...settings });
    expect([answer.status, await answer.json()]).toEqual([200, { queue: 'Digits.classify', settings }]);
    expect(digits.queue.stats().options).toMatchObject(settings);
    expect(log.mock.calls.map(([line]) => line as unknown)).toEqual([
      'Digits.classify: batchSize 32 → 8, maxDelay 5 → 2, dispatch adaptive → fixed, until the restart (by 127.0.0.1)',
    ]);
    const viewer = await watch(`${url}/batching/events`);
    const [frame] = await viewer.frames(1);
    expect(frame).toMatchObject({
      tune: true,
      queues: [
        { settings, initial: { batchSize: 32, maxDelay: 5, dispatch: 'adaptive' } },
        { name: 'Printer.print', initial: null },
      ],
    });
    viewer.close();
    await app.close();
    expect((await start({ tune: true, unguarded: true })).digits.queue.batchSize).toBe(32);
  });

  it.each([
    ['another origin', { origin: 'https://evil.example' }, 403],
    ['another site, says the browser', { 'sec-fetch-site': 'cross-site' }, 403],
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
    ['a form that hides JSON', { 'content-type': 'text/plain' }, 415],
  ])('takes nothing from %s', async (_, headers, status) => {
    const { url, digits } = await start({ tune: true, unguarded: true });
    const answer = await change(url, { queue: 'Digits.classify', batchSize: 8 }, headers);
    expect(answer.status).toBe(status);
    expect(digits.queue.batchSize).toBe(32);
  });

  it('sets a queue that had no limits back to what it had', async () => {
    const none = { queues: { 'Digits.classify': { batchSize: Infinity, maxDelay: Infinity } } };
    const { url, digits } = await start({ tune: true, unguarded: true }, { batching: none });
    const settings = (batchSize: number | null, maxDelay: number | null) =>
      change(url, { queue: 'Digits.classify', batchSize, maxDelay });
    expect((await settings(8, 2)).status).toBe(200);
    expect(digits.queue).toMatchObject({ batchSize: 8, maxDelay: 2 });
    const answer = await settings(null, null);
    expect(await answer.json()).toMatchObject({ settings: { batchSize: null, maxDelay: null } });
    expect(digits.queue).toMatchObject({ batchSize: Infinity, maxDelay: Infinity });
  });

  it('says what is wrong with a change', async () => {
    const { url } = await start({ tune: true, unguarded: true });
    const answers = [
      await change(url, { queue: 'Digits.classify', batchSize: 0 }),
      await change(url, { queue: 'Printer.print', batchSize: 3 }),
      await change(url, { queue: 'Nothing.here', batchSize: 3 }),
    ];
    const bodies = await Promise.all(answers.map((answer) => answer.json() as Promise<{ message: string }>));
    expect(answers.map(({ status }, index) => [status, bodies[index]?.message])).toEqual([
      [400, 'batchSize: expected an integer of 1 to 65536, got 0'],
      [400, 'Printer.print has no settings of batches here: its calls run one at a time, or on other nodes'],
      [404, "no queue is called 'Nothing.here'"],
    ]);
  });

  it('is protected by its guards: the page, the events and the settings', async () => {
    @Injectable()
    class Secret {
      readonly word = 'open sesame';
    }
    @Module({ providers: [Secret], exports: [Secret] })
    class SecretModule {}
    @Injectable()
    class Guard implements CanActivate {
      constructor(private readonly secret: Secret) {}
      canActivate(context: ExecutionContext): boolean {
        const { headers } = context.switchToHttp().getRequest<{ headers: Record<string, string> }>();
        return headers['x-secret'] === this.secret.word;
      }
    }
    Reflect.defineMetadata('design:paramtypes', [Secret], Guard);
    const { url, digits } = await start({ tune: true, guards: [Guard], imports: [SecretModule] });
    const body = { queue: 'Digits.classify', batchSize: 8 };
    for (const path of ['', '/events']) expect((await fetch(`${url}/batching${path}`)).status).toBe(403);
    expect((await change(url, body)).status).toBe(403);
    expect(digits.queue.batchSize).toBe(32);
    const headers = { 'x-secret': 'open sesame' };
    expect((await fetch(`${url}/batching`, { headers })).status).toBe(200);
    expect((await change(url, body, headers)).status).toBe(200);
    expect(digits.queue.batchSize).toBe(8);
  });

  it('is not changed by what the application does to its own answers', async () => {
    class Wrap {
      intercept(_: ExecutionContext, next: { handle(): Observable<unknown> }): Observable<unknown> {
        return next.handle().pipe(map((data) => ({ data })));
      }
    }
    const { url } = await start(
      { tune: true, unguarded: true },
      {
        providers: [{ provide: APP_INTERCEPTOR, useClass: Wrap }],
        prepare: (app) => {
          app.setGlobalPrefix('api');
          app.enableVersioning();
        },
      },
    );
    expect(await (await fetch(`${url}/api/batching`)).text()).toMatch(/^<!doctype html>/);
    const viewer = await watch(`${url}/api/batching/events`);
    expect(await viewer.frames(1)).toHaveLength(1);
    viewer.close();
    expect((await change(`${url}/api`, { queue: 'Digits.classify', batchSize: 8 })).status).toBe(200);
  });

  it('lets the application close while it is watched', async () => {
    const { url, app } = await start();
    const viewer = await watch(`${url}/batching/events`);
    await viewer.frames(1);
    await app.close();
    await viewer.ended();
    running = undefined;
  });

  it('takes no request for a viewer that asks for the head of the events only', async () => {
    const { url } = await start({ maxViewers: 1 });
    for (let each = 0; each < 2; each++) {
      const answer = await fetch(`${url}/batching/events`, { method: 'HEAD' });
      expect([answer.status, answer.headers.get('content-type')]).toEqual([
        200,
        'text/event-stream; charset=utf-8',
      ]);
    }
    const viewer = await watch(`${url}/batching/events`);
    expect(await viewer.frames(1)).toHaveLength(1);
    viewer.close();
  });

  it('keeps no place for a viewer that left while a guard was asked', async () => {
    const left: string[] = [];
    class Slow implements CanActivate {
      async canActivate(context: ExecutionContext): Promise<boolean> {
        const { headers, socket } = context.switchToHttp().getRequest<IncomingMessage>();
        if (headers['x-leaves'] === undefined) return true;
        left.push('asked');
        await once(socket, 'close');
        setImmediate(() => left.push('answered'));
        return true;
      }
    }
    const { url } = await start({ maxViewers: 1, guards: [Slow] });
    const request = get(`${url}/batching/events`, { agent: false, headers: { 'x-leaves': 'yes' } });
    request.on('error', () => undefined);
    const until = async (word: string) => {
      while (left.at(-1) !== word) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await until('asked');
    request.destroy();
    await until('answered');
    const viewer = await watch(`${url}/batching/events`);
    expect(await viewer.frames(1)).toHaveLength(1);
    viewer.close();
  });

  it('refuses more viewers than it may have, with 503', async () => {
    const { url } = await start({ maxViewers: 1 });
    const viewer = await watch(`${url}/batching/events`);
    await viewer.frames(1);
    const refused = await fetch(`${url}/batching/events`);
    expect(refused.status).toBe(503);
    expect(await refused.text()).toContain('the dashboard is open 1 times, as often as it may be');
    viewer.close();
  });

  it('can be there twice: for all to look at, and for some to tune', async () => {
    const { url } = await start(
      { path: 'look' },
      { imports: [BatchingDashboardModule.forRoot({ path: 'tune', tune: true, unguarded: true })] },
    );
    expect((await fetch(`${url}/look`)).status).toBe(200);
    expect((await change(`${url}/tune`, { queue: 'Digits.classify', batchSize: 8 }, {}, '')).status).toBe(
      200,
    );
    expect((await change(`${url}/look`, { queue: 'Digits.classify', batchSize: 8 }, {}, '')).status).toBe(
      404,
    );
  });
});

describe('The dashboard', () => {
  it('does not start without the queues', async () => {
    const { NestFactory } = await import('@nestjs/core');
    @Module({ imports: [BatchingDashboardModule.forRoot()] })
    class App {}
    await expect(NestFactory.create(App, silent)).rejects.toThrow(
      'BatchingDashboardModule needs BatchingModule.forRoot() in the same application',
    );
  });

  it('works over HTTP/2', async () => {
    const { app, url, digits } = await startApp({ tune: true, unguarded: true }, { adapter: 'http2' });
    const client = connect(url);
    const ask = (path: string, headers: OutgoingHttpHeaders = {}, body?: object) => {
      const stream = client.request({ ':path': path, ...headers });
      stream.end(body && JSON.stringify(body));
      return stream.setEncoding('utf8');
    };
    const statusOf = async (stream: ClientHttp2Stream) => {
      const [{ ':status': status }] = (await once(stream, 'response')) as [IncomingHttpHeaders];
      return status;
    };
    const page = ask('/batching');
    expect(await statusOf(page)).toBe(200);
    expect((await page.toArray()).join('')).toMatch(/^<!doctype html>/);
    const events = ask('/batching/events');
    expect(await statusOf(events)).toBe(200);
    const [first] = (await once(events, 'data')) as [string];
    expect(first).toContain('"name":"Digits.classify"');
    const change = (origin: string) =>
      ask(
        '/batching/settings',
        { ':method': 'POST', 'content-type': 'application/json', origin },
        { queue: 'Digits.classify', batchSize: 8 },
      );
    expect(await statusOf(change('https://evil.example'))).toBe(403);
    expect(digits.queue.batchSize).toBe(32);
    expect(await statusOf(change(url))).toBe(200);
    expect(digits.queue.batchSize).toBe(8);
    client.destroy();
    await app.close();
  });

  it('says that a body is too long, and keeps its connection, where the application parses no bodies', async () => {
    const { app, url, digits } = await startApp({ tune: true, unguarded: true }, { bodyParser: false });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set<number | undefined>();
    const send = async (body: object): Promise<[status: number | undefined, text: string]> => {
      const headers = { 'content-type': 'application/json' };
      const request = post(`${url}/batching/settings`, { method: 'POST', agent, headers });
      // In chunks, so that no length is known in advance.
      request.write(JSON.stringify(body));
      request.end();
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      ports.add(response.socket.localPort);
      return [response.statusCode, (await response.setEncoding('utf8').toArray()).join('')];
    };
    const long = await send({ queue: 'x'.repeat(1_000_000) });
    expect(long).toEqual([413, expect.stringContaining('expected at most 4096 bytes')]);
    expect(await send({ queue: 'Digits.classify', batchSize: 8 })).toEqual([200, expect.any(String)]);
    expect(digits.queue.batchSize).toBe(8);
    expect(ports.size).toBe(1);
    agent.destroy();
    await app.close();
  });

  it('does not start if anybody could change settings', () => {
    expect(() => BatchingDashboardModule.forRoot({ tune: true })).toThrow('tune: expected guards, got none');
  });

  it('is no part of what Swagger documents', async () => {
    const { DocumentBuilder, SwaggerModule } = await import('@nestjs/swagger');
    const { NestFactory } = await import('@nestjs/core');
    @Module({
      imports: [BatchingModule.forRoot(), BatchingDashboardModule.forRoot({ tune: true, unguarded: true })],
    })
    class App {}
    const app = await NestFactory.create(App, silent);
    expect(SwaggerModule.createDocument(app, new DocumentBuilder().build()).paths).toEqual({});
    await app.close();
  });
});

function change(
  url: string,
  body: object,
  headers: Record<string, string> = {},
  path = '/batching',
): Promise<Response> {
  return fetch(`${url}${path}/settings`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

/** Reads server-sent events over a connection of its own: `fetch` opens a new one in advance when it is aborted. */
async function watch(url: string) {
  const request = get(url, { agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const chunks = response.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>;
  const frames: Frame[] = [];
  let text = '';
  let isEnded = false;
  const until = async (isEnough: (frames: Frame[]) => boolean): Promise<Frame[]> => {
    while (!isEnough(frames) && !isEnded) {
      const next = await chunks.next();
      isEnded = next.done ?? false;
      text += next.done ? '' : next.value;
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        frames.push(JSON.parse(/^data: (.*)$/m.exec(text.slice(0, end))?.[1] ?? '') as Frame);
        text = text.slice(end + 2);
      }
    }
    return frames;
  };
  return {
    headers: response.headers,
    until,
    frames: (count: number) => until((all) => all.length >= count),
    ended: () => until(() => false),
    close: () => {
      request.destroy();
    },
  };
}
