import { type BeforeApplicationShutdown, Controller, Headers, type MessageEvent, Sse } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { BatchingRegistry } from 'nest-batching';
import { type Observable, map, ReplaySubject, takeUntil, timer } from 'rxjs';
import { BatchHistory } from './batch-history.js';

/** Milliseconds between two events: what an eye sees as live. */
const PERIOD = 250;
/** Batches to begin with. */
const RECENT = 200;

@ApiTags('queues')
@Controller('queues')
export class QueuesController implements BeforeApplicationShutdown {
  readonly #shutdown = new ReplaySubject<void>(1);

  constructor(
    private readonly registry: BatchingRegistry,
    private readonly history: BatchHistory,
  ) {}

  @ApiOperation({
    summary: 'Watch the queues',
    description:
      'Server-sent events, four a second: `queues`, every queue as it is, and `batches`, those that have left since ' +
      'the event before. An EventSource that was cut off goes on where it was.',
  })
  @ApiOkResponse({ content: { 'text/event-stream': { schema: { type: 'string' } } } })
  @Sse('live')
  live(@Headers('last-event-id') lastEventId?: string): Observable<MessageEvent> {
    const { last } = this.history;
    // A number that is not known, such as one from before a restart, begins with what is recent.
    const known = lastEventId !== undefined && Number(lastEventId) <= last;
    let seen = known ? Number(lastEventId) : last - RECENT;
    return timer(0, PERIOD).pipe(
      takeUntil(this.#shutdown),
      map(() => {
        const batches = this.history.since(seen);
        seen = this.history.last;
        return {
          id: String(seen),
          retry: 1000,
          data: { now: Date.now(), queues: this.registry.stats(), batches },
        };
      }),
    );
  }

  /** Or the server would wait for these streams before it closes. */
  beforeApplicationShutdown(): void {
    this.#shutdown.next();
  }
}
