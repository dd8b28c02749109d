import { ApiProperty, ApiSchema } from '@nestjs/swagger';
import type { Progress } from './photo-upscaler.js';

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
