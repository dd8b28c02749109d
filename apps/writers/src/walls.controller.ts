import type { ServerResponse } from 'node:http';
import { ApiError } from '@app/serving';
import { Body, Controller, Get, Head, Header, HttpCode, Param, Post, Res } from '@nestjs/common';
import { EVENT_STREAM } from './event-stream.js';
import { Race } from './race.js';
import { Walls } from './walls.js';
import { Crowd, Departure, orderOf, RaceCall } from './writing.dto.js';

@Controller('walls')
export class WallsController {
  constructor(
    private readonly walls: Walls,
    private readonly race: Race,
  ) {}

  /** Opens no wall: without a body its stream would have no end. */
  @Head()
  @Header('Content-Type', EVENT_STREAM)
  head(): void {
    return;
  }

  /** Opens a wall: the event `wall` with its id, then `changes`, ten times a second. */
  @Get()
  open(@Res() response: ServerResponse): Promise<void> {
    return this.walls.open(response);
  }

  /** Adds texts. */
  @Post(':wall/writers')
  join(@Param('wall') id: string, @Body() crowd: Crowd): { first: number; count: number } {
    const order = orderOf(crowd);
    return { first: this.walls.join(this.walls.get(id), order, crowd.count), count: crowd.count };
  }

  /** Ends texts. */
  @HttpCode(204)
  @Post(':wall/departures')
  leave(@Param('wall') id: string, @Body() { numbers }: Departure): void {
    this.walls.get(id).leave(numbers, new ApiError(410, 'ERR_LEFT', 'it left'));
  }

  /** Begins a race between continuous and static batches; the wall shows it. */
  @HttpCode(202)
  @Post(':wall/race')
  begin(@Param('wall') id: string, @Body() call: RaceCall): void {
    this.race.begin(this.walls.get(id), call);
  }
}
