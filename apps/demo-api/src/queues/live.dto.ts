import { ApiProperty, ApiSchema } from '@nestjs/swagger';
import type { DispatchReason, QueueStats } from 'nest-batching';
import type { PastBatch } from './batch-history.js';

type Summary = QueueStats['runTime'];

const count = { type: 'integer', minimum: 0 } as const;
const time = { type: 'number', minimum: 0 } as const;
const STATES = ['created', 'started', 'stopping', 'stopped'] satisfies QueueStats['state'][];
const REASONS = ['size', 'delay', 'idle', 'drain'] satisfies DispatchReason[];

@ApiSchema({ name: 'Summary' })
class SummaryDto implements Summary {
  @ApiProperty(count)
  count!: number;

  @ApiProperty(time)
  mean!: number;

  @ApiProperty(time)
  p50!: number;

  @ApiProperty(time)
  p90!: number;

  @ApiProperty(time)
  p99!: number;

  @ApiProperty(time)
  max!: number;
}

/** What is documented of `QueueStats`; there is more. */
@ApiSchema({ name: 'Queue' })
class QueueDto implements Omit<Partial<QueueStats>, 'options'> {
  @ApiProperty({ example: 'DigitClassifier.classify' })
  name!: string;

  @ApiProperty({ enum: STATES })
  state!: QueueStats['state'];

  @ApiProperty({ type: 'object', additionalProperties: true, description: 'The present settings' })
  options!: object;

  @ApiProperty({ ...count, description: 'Inputs that wait now' })
  waiting!: number;

  @ApiProperty({ ...count, description: 'Inputs in the batches that run now' })
  running!: number;

  @ApiProperty({ ...count, description: 'Inputs that ended in a result or an error' })
  settled!: number;

  @ApiProperty({ ...count, description: 'Inputs that left without running' })
  dropped!: number;

  @ApiProperty({ ...count, description: 'Batches that left' })
  batches!: number;

  @ApiProperty({ description: 'Inputs per batch, in the last one to two minutes' })
  batchSizes!: SummaryDto;

  @ApiProperty({ description: 'Milliseconds from submission to the batch, in the last one to two minutes' })
  waitTime!: SummaryDto;

  @ApiProperty({ description: 'Milliseconds of the batch function, in the last one to two minutes' })
  runTime!: SummaryDto;
}

@ApiSchema({ name: 'Batch' })
class BatchDto implements PastBatch {
  @ApiProperty({ description: 'The name of its queue' })
  queue!: string;

  @ApiProperty({ ...count, description: 'Inputs in it' })
  size!: number;

  @ApiProperty({ enum: REASONS, description: 'Why it left' })
  reason!: DispatchReason;

  @ApiProperty({ ...time, description: 'Milliseconds that its oldest input had waited' })
  waited!: number;

  @ApiProperty({ ...time, description: 'Milliseconds that it ran' })
  ran!: number;

  @ApiProperty({ ...count, description: 'When it ended, in milliseconds since 1970' })
  at!: number;
}

/** The data of each event of `GET /queues/live`. */
@ApiSchema({ name: 'Live' })
export class LiveDto {
  @ApiProperty({ ...count, description: "The server's time, in milliseconds since 1970" })
  now!: number;

  @ApiProperty({ type: [QueueDto], description: 'Every queue as it is' })
  queues!: QueueDto[];

  @ApiProperty({ type: [BatchDto], description: 'The batches that have ended since the event before' })
  batches!: BatchDto[];
}
