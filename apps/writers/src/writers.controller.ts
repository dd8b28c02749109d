import type { IncomingMessage, ServerResponse } from 'node:http';
import { Body, Controller, Post, Req, Res } from '@nestjs/common';
import { Streams } from './streams.js';
import { Writer } from './writer.js';
import { orderOf, Writing } from './writing.dto.js';

@Controller('writers')
export class WritersController {
  constructor(
    private readonly writer: Writer,
    private readonly streams: Streams,
  ) {}

  /**
   * Writes a text: the event `start` with its seed, `text` for each character, `end`; or `error`, with the body that errors
   * have as answers.
   */
  @Post()
  async write(
    @Body() writing: Writing,
    @Req() request: IncomingMessage,
    @Res() response: ServerResponse,
  ): Promise<void> {
    const order = orderOf(writing);
    const leave = this.streams.takePlaces(1);
    try {
      const stream = this.streams.open(response);
      try {
        await stream.send('start', { seed: order.seed });
        const options = { signal: stream.signal, tenant: request.socket.remoteAddress };
        for await (const text of this.writer.write(order, options)) await stream.send('text', { text });
        stream.end('end', { length: order.length });
      } catch (error) {
        stream.fail(error);
      }
    } finally {
      leave();
    }
  }
}
