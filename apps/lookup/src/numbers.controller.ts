import { Controller, Get } from '@nestjs/common';
import { BatchingRegistry } from 'nest-batching';
import { MemberDatabase } from './members/member-database.js';

/** What one queue has done since the start. */
interface Numbers {
  queue: string;
  /** Inputs that ran. */
  requests: number;
  /** One batch is one SELECT, or one transaction. */
  batches: number;
  meanBatch: number;
  /** How many SELECTs or transactions there would have been more, without batches. */
  saved: number;
}

/** The numbers on the page. */
@Controller('numbers')
export class NumbersController {
  constructor(
    private readonly database: MemberDatabase,
    private readonly registry: BatchingRegistry,
  ) {}

  @Get()
  numbers(): { database: string; queues: Numbers[] } {
    const queues = this.registry.stats().map(({ name, settled, batches }) => ({
      queue: name,
      requests: settled,
      batches,
      meanBatch: batches === 0 ? 0 : Number((settled / batches).toFixed(1)),
      saved: settled - batches,
    }));
    return { database: this.database.name, queues };
  }
}
