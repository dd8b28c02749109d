import { ApiProperty, ApiPropertyOptional, ApiSchema } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsBoolean } from 'class-validator';
import { JourneyDto } from '../digits/digit.dto.js';
import type { Grid, Progress } from './photo-upscaler.js';

export class PhotoQuery {
  @ApiPropertyOptional({
    type: 'boolean',
    default: false,
    description: 'With events: whether to send the grid of the tiles, and each tile as it comes',
  })
  @Transform(({ value }: { value: unknown }) => (value === 'true' ? true : value === 'false' ? false : value))
  @IsBoolean({ message: 'true or false' })
  readonly tiles: boolean = false;
}

const pixels = { type: 'integer', minimum: 0 } as const;

/** The data of the event `grid`. */
@ApiSchema({ name: 'Grid' })
export class GridDto implements Grid {
  @ApiProperty({
    type: 'array',
    items: pixels,
    description: 'Where columns of tiles begin and the last one ends, in pixels of the enlarged photo',
  })
  across!: number[];

  @ApiProperty({ type: 'array', items: pixels, description: 'The same of rows' })
  down!: number[];
}

/** The data of the event `tile`. */
@ApiSchema({ name: 'Tile' })
export class TileDto {
  @ApiProperty({ ...pixels, description: 'Where it belongs in the enlarged photo' })
  left!: number;

  @ApiProperty(pixels)
  top!: number;

  @ApiProperty({ type: JourneyDto, description: 'How it travelled' })
  journey!: JourneyDto;

  @ApiProperty({ format: 'byte', description: 'The enlarged tile as JPEG, in base64' })
  jpeg!: string;
}

/** The data of the event `progress`. */
@ApiSchema({ name: 'Progress' })
export class ProgressDto implements Progress {
  @ApiProperty({ type: 'integer', minimum: 0, description: 'Tiles that are enlarged' })
  done!: number;

  @ApiProperty({ type: 'integer', minimum: 1, description: 'Tiles that the photo has' })
  total!: number;
}

/** The data of the event `picture`. */
@ApiSchema({ name: 'Picture' })
export class PictureDto {
  @ApiProperty({ format: 'byte', description: 'The enlarged photo as PNG, in base64' })
  png!: string;
}
