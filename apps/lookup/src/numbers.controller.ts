import { ApiErrors, CONFIGURATION } from '@app/serving';
import { Controller, Get, Inject, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiProperty, ApiSchema, ApiTags } from '@nestjs/swagger';
import { BatchingRegistry } from 'nest-batching';
import type { Configuration } from './configuration.js';
import { MemberDatabase } from './members/member-database.js';

/** What one queue has done since the start. */
interface QueueNumbers {
  queue: string;
  /** Inputs that ran. */
  requests: number;
  /** One batch is one SELECT, or one transaction. */
  batches: number;
  meanBatch: number;
  /** How many SELECTs or transactions there would have been more, without batches. */
  saved: number;
}

interface Numbers {
  database: string;
  /** With how many members a new database is filled: ids from 1 to that are there. */
  members: number;
  /** The statement of a batch of lookups. */
  sql: string;
  /** Requests that the last one answered. */
  lastBatch: number;
  queues: QueueNumbers[];
}

@ApiSchema({ name: 'QueueNumbers' })
class QueueNumbersDto implements QueueNumbers {
  @ApiProperty()
  queue!: string;

  @ApiProperty({ type: 'integer', description: 'Inputs that ran' })
  requests!: number;

  @ApiProperty({ type: 'integer', description: 'One batch is one SELECT, or one transaction' })
  batches!: number;

  @ApiProperty()
  meanBatch!: number;

  @ApiProperty({
    type: 'integer',
    description: 'How many SELECTs or transactions there would have been more, without batches',
  })
  saved!: number;
}

@ApiSchema({ name: 'Numbers' })
class NumbersDto implements Numbers {
  @ApiProperty({ description: 'Where the members are' })
  database!: string;

  @ApiProperty({ type: 'integer', description: 'With how many members a new database is filled' })
  members!: number;

  @ApiProperty({ description: 'The statement of a batch of lookups' })
  sql!: string;

  @ApiProperty({ type: 'integer', description: 'Requests that the last one answered' })
  lastBatch!: number;

  @ApiProperty({ type: [QueueNumbersDto] })
  queues!: QueueNumbersDto[];
}

/** After a look at member 4711, and a receipt. */
const example: Numbers = {
  database: 'SQLite 3.49.2',
  members: 100_000,
  sql: 'SELECT * FROM members WHERE id IN (SELECT value FROM json_each(?))',
  lastBatch: 1,
  queues: [
    { queue: 'MemberDirectory.findById', requests: 2, batches: 2, meanBatch: 1, saved: 0 },
    { queue: 'MemberDirectory.add', requests: 0, batches: 0, meanBatch: 0, saved: 0 },
    { queue: 'ReceiptCounter.next', requests: 1, batches: 1, meanBatch: 1, saved: 0 },
  ],
};

/** The numbers on the page. */
@ApiTags('operations')
@Controller('numbers')
export class NumbersController implements OnModuleInit, OnApplicationShutdown {
  #lastBatch = 0;
  #stopListening: (() => void) | undefined;

  constructor(
    private readonly database: MemberDatabase,
    private readonly registry: BatchingRegistry,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  onModuleInit(): void {
    this.#stopListening = this.registry.onBatch(({ queue, size }) => {
      if (queue === 'MemberDirectory.findById') this.#lastBatch = size;
    });
  }

  onApplicationShutdown(): void {
    this.#stopListening?.();
  }

  @ApiOperation({ summary: 'What the queues did since the start' })
  @ApiOkResponse({ type: NumbersDto, example })
  @ApiErrors()
  @Get()
  numbers(): Numbers {
    const queues = this.registry.stats().map(({ name, settled, batches }) => ({
      queue: name,
      requests: settled,
      batches,
      meanBatch: batches === 0 ? 0 : Number((settled / batches).toFixed(1)),
      saved: settled - batches,
    }));
    const { name, sql } = this.database;
    const { members } = this.configuration;
    return { database: name, members, sql, lastBatch: this.#lastBatch, queues };
  }
}
