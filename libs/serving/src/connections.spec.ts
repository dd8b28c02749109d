import { once } from 'node:events';
import { Agent, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  Controller,
  Get,
  type INestApplication,
  Module,
  type NestApplicationOptions,
  Res,
  StreamableFile,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { ServingModule } from './serving.module.js';

/** More than the buffers of both ends hold, so that it is under way until the client has read. */
const LARGE = 64_000_000;

@Controller()
class TestController {
  release: () => void = () => undefined;

  @Get('large')
  large(): StreamableFile {
    return new StreamableFile(Buffer.alloc(LARGE));
  }

  @Get('slow')
  async slow(
    @Res({ passthrough: true }) reply: { header: (name: string, value: string) => unknown },
  ): Promise<string> {
    reply.header('X-Slow', 'yes');
    await new Promise<void>((resolve) => (this.release = resolve));
    return 'done';
  }
}

@Module({
  imports: [ServingModule.forRoot({ timeout: 10_000, delay: 250 })],
  controllers: [TestController],
})
class TestModule {}

describe.each(['express', 'fastify'])('Connections of a server that is closing, %s', (name) => {
  let app: INestApplication;
  let url: string;
  let agent: Agent;
  /** The paths that were asked for. */
  let accepted: (string | undefined)[];

  beforeEach(async () => {
    const adapter = name === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
    const options: Pick<NestApplicationOptions, 'logger'> = { logger: ['error'] };
    app = await NestFactory.create(TestModule, adapter, options);
    await app.listen(0, '127.0.0.1');
    const server = app.getHttpServer() as Server;
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    agent = new Agent({ keepAlive: true, maxSockets: 1 });
    accepted = [];
    server.on('request', ({ url }) => accepted.push(url));
  });
  afterEach(async () => {
    agent.destroy();
    await app.close();
  });

  const begin = async (path: string): Promise<IncomingMessage> => {
    const [response] = (await once(request(`${url}${path}`, { agent }).end(), 'response')) as [
      IncomingMessage,
    ];
    return response;
  };
  const bytesOf = async (response: IncomingMessage): Promise<number> => {
    let bytes = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) bytes += chunk.length;
    return bytes;
  };

  it('sends the rest of an answer that has begun, however slow its reader', async () => {
    const response = await begin('/large');
    const closed = app.close();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await bytesOf(response)).toBe(LARGE);
    await closed;
  });

  it('takes no more requests from a connection after an answer that began with keep-alive', async () => {
    const response = await begin('/large');
    expect(response.headers.connection).not.toBe('close');
    const next = once(request(`${url}/slow`, { agent }).end(), 'response');
    const refused = expect(next).rejects.toMatchObject({ code: 'ECONNRESET' });
    const closed = app.close();
    await new Promise((resolve) => setTimeout(resolve, 100));
    await bytesOf(response);
    await refused;
    await closed;
    expect(accepted).toEqual(['/large']);
  });
});
