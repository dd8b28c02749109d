import { Integer } from '@app/serving';
import { ApiProperty, ApiPropertyOptional, ApiSchema } from '@nestjs/swagger';
import type { LaneResult } from './lane-run.js';
import type { LaneName, RaceProgress, RaceResult } from './race.js';

export class RaceQuery {
  @ApiPropertyOptional({
    type: 'integer',
    minimum: 64,
    maximum: 256,
    default: 128,
    description: 'Virtual callers; each sends its next digit when it has the answer to the one before',
  })
  @Integer(64, 256)
  readonly callers: number = 128;
}

/** The data of the event `progress`. */
@ApiSchema({ name: 'RaceProgress' })
export class RaceProgressDto implements RaceProgress {
  @ApiProperty({ enum: ['oneByOne', 'batched'] })
  lane!: LaneName;

  @ApiProperty({ type: 'integer', description: "Milliseconds of the lane's time that are over" })
  elapsed!: number;

  @ApiProperty({ type: 'integer', description: 'Milliseconds that a lane takes' })
  time!: number;

  @ApiProperty({ type: 'integer', description: 'Digits that it has read so far' })
  digits!: number;
}

@ApiSchema({ name: 'Lane' })
export class LaneDto implements LaneResult {
  @ApiProperty({ type: 'integer', description: 'Most digits in a batch' })
  batchSize!: number;

  @ApiProperty({ type: 'integer', description: 'Digits that were read within the time' })
  digits!: number;

  @ApiProperty({ description: 'Digits per second' })
  rate!: number;

  @ApiProperty({ description: 'Digits in a batch, on average' })
  meanBatch!: number;

  @ApiProperty({
    type: [Number],
    description: 'Digits that had been read after each step of the time',
  })
  read!: number[];
}

/** The data of the event `result`. */
@ApiSchema({ name: 'RaceResult' })
export class RaceResultDto implements RaceResult {
  @ApiProperty({ type: 'integer' })
  callers!: number;

  @ApiProperty({ type: 'integer', description: 'Milliseconds that each lane was measured' })
  time!: number;

  @ApiProperty({ type: 'integer', description: 'Milliseconds between two numbers of `read`' })
  step!: number;

  @ApiProperty({ description: 'Batches of one' })
  oneByOne!: LaneDto;

  @ApiProperty({ description: 'Batches of `BATCH_SIZE`' })
  batched!: LaneDto;

  @ApiProperty({ description: 'The rate of `batched` divided by that of `oneByOne`' })
  ratio!: number;
}
