import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type INestApplication, Logger } from '@nestjs/common';
import { WebSocket } from 'ws';
import { readConfiguration } from '../apps/microphones/src/configuration.js';
import { createApp } from '../apps/microphones/src/create-app.js';

/** Starts the application in this process, on any free port. */
export async function startMicrophones(
  environment: Record<string, string> = {},
): Promise<{ app: INestApplication; url: string }> {
  const app = await createApp(readConfiguration({ PORT: '0', ...environment }));
  // Tests provoke errors and look at what is sent.
  Logger.overrideLogger(false);
  await app.listen(0, '127.0.0.1');
  const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
  return { app, url: `http://127.0.0.1:${port}` };
}

export interface Heard {
  frame: number;
  speech: number;
  together: number;
  took: number;
  segment?: { from: number; to: number };
}

export interface Ended {
  code: string;
  message: string;
  retryAfter?: number;
}

/** A client of `/microphone`. */
export class MicrophoneClient {
  readonly socket: WebSocket;
  readonly heard: Heard[] = [];
  ended: Ended | undefined;
  /** Resolves with the code of the close frame. */
  readonly closed: Promise<number>;

  constructor(url: string, path = '/microphone') {
    this.socket = new WebSocket(new URL(path, url.replace(/^http/, 'ws')));
    this.socket.on('error', () => undefined);
    this.socket.on('message', (data: Buffer) => {
      const { event, data: news } = JSON.parse(data.toString()) as { event: string; data: never };
      if (event === 'heard') this.heard.push(news);
      if (event === 'ended') this.ended = news;
    });
    this.closed = new Promise((resolve) => this.socket.once('close', resolve));
  }

  static async open(url: string): Promise<MicrophoneClient> {
    const client = new MicrophoneClient(url);
    await once(client.socket, 'open');
    return client;
  }

  /** Sends frames, of which at most `window` are on the way; resolves with the answers to all so far. */
  async hear(frames: readonly Buffer[], window = 8): Promise<Heard[]> {
    const before = this.heard.length;
    let sent = 0;
    while (this.heard.length - before < frames.length && this.socket.readyState === WebSocket.OPEN) {
      while (sent < frames.length && sent - (this.heard.length - before) < window) {
        this.socket.send(frames[sent++] ?? Buffer.alloc(0));
      }
      await Promise.race([once(this.socket, 'message'), this.closed]);
    }
    return this.heard;
  }
}

/** A message with one frame. */
export function message(number: number, samples: Float32Array, as: 'int16' | 'float32' = 'int16'): Buffer {
  const bytes = Buffer.alloc(4 + samples.length * (as === 'int16' ? 2 : 4));
  bytes.writeUInt32LE(number);
  samples.forEach((sample, i) => {
    if (as === 'int16') bytes.writeInt16LE(Math.round(32_768 * sample), 4 + 2 * i);
    else bytes.writeFloatLE(sample, 4 + 4 * i);
  });
  return bytes;
}
