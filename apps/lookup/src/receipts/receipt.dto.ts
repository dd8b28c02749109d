import { ApiProperty, ApiSchema } from '@nestjs/swagger';
import type { Receipt } from './receipt-counter.js';

/** A receipt in the reference of the API. */
@ApiSchema({ name: 'Receipt' })
export class ReceiptDto implements Receipt {
  @ApiProperty({ type: 'integer', minimum: 1, description: 'One more than that of the receipt before' })
  receipt!: number;

  @ApiProperty({ type: 'integer', description: 'The number of the member that has paid' })
  member!: number;
}
