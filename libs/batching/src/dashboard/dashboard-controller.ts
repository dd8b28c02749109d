import {
  applyDecorators,
  Controller,
  Get,
  HttpCode,
  Inject,
  Logger,
  Post,
  Req,
  Res,
  ServiceUnavailableException,
  SetMetadata,
  type Type,
  UseGuards,
  VERSION_NEUTRAL,
} from '@nestjs/common';
import { type ApplicationQueues, REGISTRY } from '../core/application.js';
import { applyChange, checkChange } from './change-settings.js';
import type { DashboardOptions } from './dashboard-options.js';
import { type AnyRequest, type AnyResponse, begin, checkSameOriginJson, readJson } from './exchange.js';
import { LiveFeed } from './live-feed.js';
import { PageFile, TimelineFile } from './page-file.js';
import { knobsOf } from './queue-recorder.js';

const EVENTS = {
  'content-type': 'text/event-stream; charset=utf-8',
  // Compression would hold frames back.
  'cache-control': 'no-store, no-transform',
  // Or nginx would keep the events until it has enough of them.
  'x-accel-buffering': 'no',
};

/** Makes the controller of one `forRoot()`: its path, its guards, and whether settings may be changed. */
export function createDashboardController({ path, guards, tune }: DashboardOptions): Type {
  const page = new PageFile();
  const timeline = new TimelineFile();
  const decorate = applyDecorators(
    Controller({ path, version: VERSION_NEUTRAL }),
    UseGuards(...guards),
    // What `@ApiExcludeController()` of @nestjs/swagger sets: these routes are no part of the application's API.
    SetMetadata('swagger/apiExcludeController', [true]),
  );

  @decorate
  class BatchingDashboardController {
    constructor(@Inject(LiveFeed) protected readonly feed: LiveFeed) {}

    @Get()
    page(@Res() response: AnyResponse): void {
      begin(response, 200, page.headers).end(page.html);
    }

    @Get('timeline.js')
    timeline(@Res() response: AnyResponse): void {
      begin(response, 200, timeline.headers).end(timeline.script);
    }

    @Get('events')
    events(@Req() { method }: AnyRequest, @Res() response: AnyResponse): void {
      const open = () => begin(response, 200, EVENTS);
      // Routers answer HEAD by the route of GET: without a body the stream would have no end.
      if (method === 'HEAD') open().end();
      else this.feed.add(open);
    }
  }
  if (!tune) return BatchingDashboardController;

  // Without `tune` there is no such route at all.
  @decorate
  class TuningController extends BatchingDashboardController {
    readonly #logger = new Logger('BatchingDashboard');

    constructor(
      @Inject(LiveFeed) feed: LiveFeed,
      @Inject(REGISTRY) private readonly registry: ApplicationQueues,
    ) {
      super(feed);
    }

    @Post('settings')
    @HttpCode(200)
    async change(@Req() request: AnyRequest, @Res() response: AnyResponse): Promise<void> {
      checkSameOriginJson(request);
      const names = this.registry.list();
      const change = checkChange(await readJson(request), (name) =>
        names.includes(name) ? this.feed.initial(name) : null,
      );
      // The shutdown sets `maxDelay` itself.
      if (this.feed.isEnding) throw new ServiceUnavailableException('the application is shutting down');
      const queue = names.includes(change.queue) ? this.registry.get(change.queue) : undefined;
      const changed = applyChange(queue, change);
      if (changed.length > 0) {
        this.#logger.log(
          `${change.queue}: ${changed.join(', ')}, until the restart (by ${request.ip ?? 'a viewer'})`,
        );
      }
      const body = JSON.stringify({ queue: change.queue, settings: queue && knobsOf(queue.stats()) });
      begin(response, 200, {
        'content-type': 'application/json; charset=utf-8',
        'cache-control': 'no-store',
      }).end(body);
    }
  }
  return TuningController;
}
