import type { ServerResponse } from 'node:http';
import { Controller, Get, Header, Headers, StreamableFile } from '@nestjs/common';
import { ApiErrors } from '@app/serving';
import { ApiExtraModels, ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { liveErrors } from '../api-errors.js';
import { RawResponse } from '../http/caller.js';
import { eventSchema } from '../http/event-schema.js';
import { LiveDto } from './live.dto.js';
import { LiveView } from './live-view.js';

const summary = (value: number) => ({
  count: 1,
  mean: value,
  p50: value,
  p90: value,
  p99: value,
  max: value,
});

/** After one digit. */
const exampleLive = {
  now: 1_795_821_958_360,
  queues: [
    {
      name: 'DigitClassifier.classify',
      state: 'started',
      options: {
        batchSize: 64,
        maxDelay: 5,
        dispatch: 'adaptive',
        concurrency: 2,
        maxQueued: 10_000,
        onFull: 'reject',
        maxCost: null,
        maxQueuedCost: null,
        aging: 1000,
        isolateErrors: true,
        runTimeout: null,
      },
      submitted: 1,
      coalesced: 0,
      settled: 1,
      results: 1,
      errors: 0,
      dropped: 0,
      drops: { aborted: 0, timeout: 0, full: 0, stopped: 0 },
      waiting: 0,
      running: 0,
      blocked: 0,
      batches: 1,
      dispatches: { size: 0, delay: 0, idle: 1, drain: 0 },
      runningBatches: 0,
      batchSizes: summary(1),
      waitTime: summary(0.099),
      runTime: summary(2.047),
    },
  ],
  batches: [
    {
      queue: 'DigitClassifier.classify',
      size: 1,
      reason: 'idle',
      waited: 0.099,
      ran: 2.047,
      at: 1_795_821_958_203,
    },
  ],
};
const exampleEvent = `id: 1\nretry: 1000\ndata: ${JSON.stringify(exampleLive)}\n\n`;

@ApiTags('queues')
@Controller('queues')
export class QueuesController {
  constructor(private readonly view: LiveView) {}

  @ApiOperation({
    summary: 'Watch the queues',
    description:
      'Server-sent events without a name, four a second, each with every queue as it is and the batches that have ended since the ' +
      'event before. The first has the last 200 batches. An EventSource that was cut off goes on where it was.',
  })
  @ApiExtraModels(LiveDto)
  @ApiHeader({
    name: 'last-event-id',
    required: false,
    description: 'The `id` of the last event that came, to go on after it; an EventSource sends it by itself',
    schema: { type: 'string', pattern: '^[0-9]+$' },
  })
  @ApiOkResponse({
    content: { 'text/event-stream': { schema: eventSchema({ message: LiveDto }), example: exampleEvent } },
  })
  @ApiErrors(...liveErrors)
  @Header('Cache-Control', 'no-store')
  // Or nginx would keep the events until it has enough of them.
  @Header('X-Accel-Buffering', 'no')
  @Get('live')
  live(
    @RawResponse() response: ServerResponse,
    @Headers('last-event-id') lastEventId?: string,
  ): StreamableFile {
    // Routers answer HEAD by the route of GET: without a body the stream would have no end.
    if (response.req.method === 'HEAD')
      return new StreamableFile(Buffer.alloc(0), { type: 'text/event-stream' });
    return new StreamableFile(this.view.open(response, lastEventId), { type: 'text/event-stream' });
  }
}
