import { Controller, HttpCode, Post, Query, Res, type StreamableFile } from '@nestjs/common';
import { ApiExtraModels, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { ApiErrors } from '../api-document.js';
import { CallerSignal } from '../http/caller.js';
import { eventStream } from '../http/event-stream.js';
import { Race } from './race.js';
import { RaceQuery, RaceResultDto } from './race.dto.js';

const exampleEvents = [
  'event: progress\ndata: {"lane":"oneByOne","elapsed":0,"time":2000,"digits":0}\n',
  'event: progress\ndata: {"lane":"batched","elapsed":1900,"time":2000,"digits":17216}\n',
  'event: result\ndata: {"callers":128,"time":2000,"step":20,"oneByOne":{…},"batched":{…},"ratio":2.4}\n',
].join('\n');

/** One by one against batched. */
@ApiTags('race')
@ApiExtraModels(RaceResultDto)
@Controller('race')
export class RaceController {
  constructor(private readonly race: Race) {}

  @ApiOperation({
    summary: 'Race: one by one against batched',
    description:
      'Virtual callers on the server have test digits read for two seconds one by one, and then for two seconds in batches; ' +
      'only the size of the batches differs. Server-sent events: `progress`, ten a second; at the end `result`, which is a ' +
      '`RaceResult`, or `error`, with the body of any other error. One race is run at a time. It ends when the connection ' +
      'is closed.',
  })
  @ApiOkResponse({
    content: { 'text/event-stream': { schema: { type: 'string' }, example: exampleEvents } },
  })
  @ApiErrors(400, 409, 503)
  @HttpCode(200)
  @Post()
  run(
    @Query() { callers }: RaceQuery,
    @CallerSignal() signal: AbortSignal,
    @Res({ passthrough: true }) reply: { header(name: string, value: string): unknown },
  ): Promise<StreamableFile> {
    // Or nginx would keep the events until it has enough of them.
    reply.header('X-Accel-Buffering', 'no');
    return eventStream(async (send) => {
      const result = await this.race.run(callers, signal, (progress) => {
        send('progress', progress);
      });
      send('result', result);
    });
  }
}
