import type { ServerResponse } from 'node:http';
import { Controller, Get, Header, Headers, StreamableFile } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { ApiErrors } from '../api-document.js';
import { RawResponse } from '../http/caller.js';
import { LiveView } from './live-view.js';

@ApiTags('queues')
@Controller('queues')
export class QueuesController {
  constructor(private readonly view: LiveView) {}

  @ApiOperation({
    summary: 'Watch the queues',
    description:
      'Server-sent events, four a second: `queues`, every queue as it is, and `batches`, those that have left since ' +
      'the event before. An EventSource that was cut off goes on where it was.',
  })
  @ApiOkResponse({ content: { 'text/event-stream': { schema: { type: 'string' } } } })
  @ApiErrors(503)
  @Header('Cache-Control', 'no-store')
  // Or nginx would keep the events until it has enough of them.
  @Header('X-Accel-Buffering', 'no')
  @Get('live')
  live(
    @RawResponse() response: ServerResponse,
    @Headers('last-event-id') lastEventId?: string,
  ): StreamableFile {
    return new StreamableFile(this.view.open(response, lastEventId), { type: 'text/event-stream' });
  }
}
