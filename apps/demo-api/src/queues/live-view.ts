import type { ServerResponse } from 'node:http';
import { PassThrough, type Readable } from 'node:stream';
import { ApiError, CONFIGURATION, onceOver } from '@app/serving';
import { type BeforeApplicationShutdown, Inject, Injectable } from '@nestjs/common';
import { BatchingRegistry } from 'nest-batching';
import type { Configuration } from '../configuration.js';
import { BatchHistory } from './batch-history.js';

/** Milliseconds between two events: what an eye sees as live. */
const PERIOD = 250;
/** Batches to begin with. */
const RECENT = 200;
/** Most batches in one event: a viewer that was away for longer misses some. */
const MOST_BATCHES = 1000;
/** Ticks in a row that a viewer may read nothing, 30 s. Then its place is free. */
const PATIENCE = 120;

interface Viewer {
  readonly events: PassThrough;
  /** The number of the last batch that it has been sent. */
  seen: number;
  /** Ticks that it has missed in a row, because it had not read the events before. */
  missed: number;
}

/**
 * The queues as they are, for all viewers together: four times a second the statistics are computed once, and the same
 * text is sent to each that has read what was sent before.
 */
@Injectable()
export class LiveView implements BeforeApplicationShutdown {
  readonly #viewers = new Map<Viewer, ServerResponse>();
  /** The number of the last batch in the event before. */
  #seen = 0;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(
    private readonly registry: BatchingRegistry,
    private readonly history: BatchHistory,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  /**
   * @param lastEventId where a viewer that was cut off goes on
   * @returns server-sent events, until the viewer leaves or the application shuts down
   * @throws {ApiError} 503 when there are as many viewers as there may be
   */
  open(response: ServerResponse, lastEventId: string | undefined): Readable {
    const { maxViewers } = this.configuration;
    if (this.#viewers.size >= maxViewers) {
      throw new ApiError(503, 'ERR_TOO_MANY_VIEWERS', `${maxViewers} live views are open, as many as may be`);
    }
    const events = new PassThrough();
    if (this.#ended) return events.end();
    const { last } = this.history;
    // A number that is not known, such as one from before a restart, begins with what is recent.
    const known = lastEventId !== undefined && Number(lastEventId) <= last;
    const viewer = { events, seen: known ? Number(lastEventId) : last - RECENT, missed: 0 };
    this.#viewers.set(viewer, response);
    onceOver(response, () => events.destroy());
    events.once('close', () => {
      this.#viewers.delete(viewer);
      if (this.#viewers.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    });
    // The first event of another viewer comes with the next tick.
    if (!this.#timer) {
      this.#timer = setInterval(() => {
        this.#tick();
      }, PERIOD);
      this.#tick();
    }
    return events;
  }

  /** Or the server would wait for these streams before it closes. */
  beforeApplicationShutdown(): void {
    this.#ended = true;
    for (const { events } of this.#viewers.keys()) events.end();
  }

  #tick(): void {
    const { last } = this.history;
    const queues = JSON.stringify(this.registry.stats());
    const now = Date.now();
    const event = (seen: number) => {
      const batches = JSON.stringify(this.history.since(Math.max(seen, last - MOST_BATCHES)));
      return `id: ${last}\nretry: 1000\ndata: {"now":${now},"queues":${queues},"batches":${batches}}\n\n`;
    };
    const forMost = event(this.#seen);
    for (const [viewer, response] of this.#viewers) {
      if (viewer.events.writableNeedDrain) {
        if (++viewer.missed === PATIENCE) response.destroy();
        continue;
      }
      viewer.events.write(viewer.seen === this.#seen ? forMost : event(viewer.seen));
      viewer.seen = last;
      viewer.missed = 0;
    }
    this.#seen = last;
  }
}
