import { ApiProperty, ApiSchema } from '@nestjs/swagger';
import type { Member } from './member.js';

/** A member in the reference of the API. */
@ApiSchema({ name: 'Member' })
export class MemberDto implements Member {
  @ApiProperty({
    type: 'integer',
    minimum: 1,
    maximum: 2_147_483_647,
    description: 'The number of the member',
  })
  id!: number;

  @ApiProperty()
  name!: string;

  @ApiProperty({ description: 'In small letters; no two members have the same' })
  email!: string;

  @ApiProperty()
  city!: string;

  @ApiProperty({ type: 'integer', description: 'Year of birth' })
  born!: number;

  @ApiProperty({ type: 'integer', description: 'The year in which they joined, at the age of 6 to 120' })
  joined!: number;
}
