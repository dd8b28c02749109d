import { Controller, UseFilters } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { type Batched, BatchingExceptionFilter, InjectBatched } from 'nest-batching';
import { Prices } from './prices.js';

@Controller()
@UseFilters(BatchingExceptionFilter)
export class PricesHandler {
  constructor(@InjectBatched(Prices) private readonly prices: Batched<Prices>) {}

  @MessagePattern('price')
  price(@Payload() product: string): Promise<number> {
    return this.prices.of(product, { timeout: 2000 }); // as long as its client waits
  }
}
