import { Injectable } from '@nestjs/common';
import { BatchedService } from 'nest-batching';

/** Where prices come from: the application provides it. */
export abstract class PriceList {
  /** One query for all, with one price per product, in their order. */
  abstract read(products: readonly string[]): Promise<number[]>;
}

@Injectable()
export class Prices {
  constructor(private readonly list: PriceList) {}

  @BatchedService(64, 5)
  of(products: readonly string[]): Promise<number[]> {
    return this.list.read(products);
  }
}
