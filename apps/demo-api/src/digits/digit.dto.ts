import { Integer } from '@app/serving';
import { ApiProperty, ApiPropertyOptional, ApiSchema } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsBoolean } from 'class-validator';
import type { DispatchReason } from 'nest-batching';
import type { Digit } from './digit-classifier.js';
import type { Journey } from './journeys.js';

const score = { type: 'number', minimum: 0, maximum: 1 } as const;
const figure = { type: 'integer', minimum: 0, maximum: 9 } as const;

/** A picture as numbers, row by row. */
export const pixelsSchema = {
  type: 'array' as const,
  minItems: 784,
  maxItems: 784,
  items: { type: 'integer' as const, minimum: 0, maximum: 255 },
  description: '28 × 28 grey values, row by row: 0 is paper, 255 is ink',
};

@ApiSchema({ name: 'Journey' })
export class JourneyDto implements Journey {
  @ApiProperty({ type: 'integer', description: 'The number of its batch' })
  batch!: number;

  @ApiProperty({ type: 'integer', description: 'Inputs in that batch' })
  size!: number;

  @ApiProperty({ type: 'integer', description: 'Its place among them, from 0' })
  place!: number;

  @ApiProperty({
    enum: ['size', 'delay', 'idle', 'drain'],
    description:
      'Why the batch left: it was full, the delay was over, a slot was free, or the queue was drained',
  })
  reason!: DispatchReason;

  @ApiProperty({ description: 'Milliseconds that it waited' })
  waited!: number;

  @ApiProperty({ description: 'Milliseconds that its batch ran' })
  ran!: number;
}

@ApiSchema({ name: 'Digit' })
export class DigitDto implements Digit {
  @ApiProperty({ ...figure, description: 'What it was read as' })
  digit!: number;

  @ApiProperty({ ...score, description: 'The score of that digit' })
  confidence!: number;

  @ApiProperty({
    type: 'array',
    minItems: 10,
    maxItems: 10,
    items: score,
    description: 'One per digit 0–9; together 1',
  })
  scores!: number[];

  @ApiPropertyOptional({ type: JourneyDto, description: 'How it travelled, with `?journey=true`' })
  journey?: JourneyDto;
}

export class DigitQuery {
  @ApiPropertyOptional({
    type: 'boolean',
    default: false,
    description: 'Whether to tell how digits travelled',
  })
  @Transform(({ value }: { value: unknown }) => (value === 'true' ? true : value === 'false' ? false : value))
  @IsBoolean({ message: 'true or false' })
  readonly journey: boolean = false;
}

/** One of MNIST's test digits. */
@ApiSchema({ name: 'Sample' })
export class SampleDto {
  @ApiProperty(pixelsSchema)
  pixels!: number[];

  @ApiProperty({ ...figure, description: 'The digit that it shows' })
  label!: number;
}

export class SamplesQuery {
  @ApiPropertyOptional({ type: 'integer', minimum: 1, maximum: 1000, default: 100, example: 1 })
  @Integer(1, 1000)
  readonly count: number = 100;

  @ApiPropertyOptional({ type: 'integer', minimum: 0, maximum: 4_294_967_295, default: 0, example: 0 })
  @Integer(0, 4_294_967_295)
  readonly seed: number = 0;
}
