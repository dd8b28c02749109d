import type { ServerResponse } from 'node:http';
import { ApiError, CONFIGURATION } from '@app/serving';
import { Inject, Injectable } from '@nestjs/common';
import { type Batched, InjectBatched } from 'nest-batching';
import type { Configuration } from './configuration.js';
import { Network } from './network.js';
import { Streams } from './streams.js';
import { Wall } from './wall.js';
import { type Order, Writer } from './writer.js';

/** The walls that are open. */
@Injectable()
export class Walls {
  readonly #walls = new Map<string, Wall>();

  constructor(
    private readonly streams: Streams,
    private readonly writer: Writer,
    @InjectBatched(Network) private readonly network: Batched<Network>,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  /**
   * Sends a new wall, until its reader leaves or the server shuts down.
   *
   * @throws {ApiError} 503 where there are as many walls as there may be
   */
  async open(response: ServerResponse): Promise<void> {
    const { maxWalls } = this.configuration;
    if (this.#walls.size >= maxWalls) {
      const message = `${this.#walls.size} walls are open, as many as may be`;
      throw new ApiError(503, 'ERR_TOO_MANY_WALLS', message, { details: { limit: maxWalls }, retryAfter: 5 });
    }
    const stream = this.streams.open(response);
    const wall = new Wall(stream, this.writer, this.network);
    this.#walls.set(wall.id, wall);
    // At once, as texts that joined before its loop looks again would write to nobody.
    stream.signal.addEventListener('abort', () => this.#walls.delete(wall.id));
    try {
      await wall.run(() => this.streams.taken);
    } catch (error) {
      stream.fail(error);
    }
  }

  /** @throws {ApiError} 404 where there is no such wall any more */
  get(id: string): Wall {
    const wall = this.#walls.get(id);
    if (wall) return wall;
    throw new ApiError(
      404,
      'ERR_NO_SUCH_WALL',
      'there is no such wall; a wall ends with its stream, GET /walls opens one',
    );
  }

  /**
   * Adds texts to a wall; the seed of each is one higher than that of the one before.
   *
   * @returns the number of the first; the others follow
   * @throws {ApiError} 503 where there are not as many places
   */
  join(wall: Wall, order: Order, count: number): number {
    const leave = this.streams.takePlaces(count);
    const [first = 0] = Array.from({ length: count }, (_, i) => {
      const line = wall.begin(order.prompt);
      void wall.write(line, { ...order, seed: (order.seed + i) >>> 0 }).finally(leave);
      return line.number;
    });
    return first;
  }
}
