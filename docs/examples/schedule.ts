import { Injectable, Logger } from '@nestjs/common';
import { Cron, CronExpression } from '@nestjs/schedule';
import { type Batched, InjectBatched } from 'nest-batching';
import { Prices } from './prices.js';

@Injectable()
export class PriceWatch {
  readonly #logger = new Logger(PriceWatch.name);
  readonly latest = new Map<string, number>();
  products: readonly string[] = [];

  constructor(@InjectBatched(Prices) private readonly prices: Batched<Prices>) {}

  @Cron(CronExpression.EVERY_MINUTE, { name: 'prices', waitForCompletion: true }) // never two at once
  async refresh(): Promise<void> {
    const { products } = this;
    // In the batches of the requests, and behind them where inputs wait.
    const prices = await Promise.allSettled(this.prices.of.submitMany(products, { priority: -1 }));
    for (const [index, price] of prices.entries()) {
      const product = String(products[index]);
      if (price.status === 'fulfilled') this.latest.set(product, price.value);
      else this.#logger.warn(`${product} keeps its price: ${String(price.reason)}`);
    }
  }
}
