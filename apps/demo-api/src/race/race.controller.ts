import { ApiErrors } from '@app/serving';
import { Controller, HttpCode, Post, Query, Res, type StreamableFile } from '@nestjs/common';
import { ApiExtraModels, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { raceErrors } from '../api-errors.js';
import { CallerSignal } from '../http/caller.js';
import { eventSchema } from '../http/event-schema.js';
import { eventStream } from '../http/event-stream.js';
import { Race } from './race.js';
import { RaceProgressDto, RaceQuery, RaceResultDto } from './race.dto.js';

/** Some events of a race on two cores that did other things too; of each `read`, three numbers of a hundred. */
const exampleResult = {
  callers: 128,
  time: 2000,
  step: 20,
  oneByOne: { batchSize: 1, digits: 3491, rate: 1745.5, meanBatch: 1, read: [33, 73, 109] },
  batched: { batchSize: 64, digits: 20_160, rate: 10_080, meanBatch: 64, read: [256, 512, 832] },
  ratio: 5.7748496132913205,
};
const exampleEvents = [
  'event: progress\ndata: {"lane":"oneByOne","elapsed":0,"time":2000,"digits":0}\n\n',
  'event: progress\ndata: {"lane":"batched","elapsed":0,"time":2000,"digits":0}\n\n',
  `event: result\ndata: ${JSON.stringify(exampleResult)}\n\n`,
].join('');

/** One by one against batched. */
@ApiTags('race')
@ApiExtraModels(RaceProgressDto, RaceResultDto)
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
    content: {
      'text/event-stream': {
        schema: eventSchema({ progress: RaceProgressDto, result: RaceResultDto, error: 'Error' }),
        example: exampleEvents,
      },
    },
  })
  @ApiErrors(...raceErrors)
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
