import { AsyncLocalStorage } from 'node:async_hooks';
import { Injectable } from '@nestjs/common';
import { type Batched, BatchedService, InjectBatched } from 'nest-batching';
import { ClsService } from 'nestjs-cls';

export interface OrderInput {
  readonly tenant: string;
  readonly id: number;
}

/** What code below reads its tenant from, as a database client with a schema per tenant. */
export const currentTenant = new AsyncLocalStorage<string>();

/** The application provides it. */
export abstract class OrdersTable {
  abstract find(ids: readonly number[]): Promise<string[]>;
}

@Injectable()
export class Orders {
  constructor(private readonly table: OrdersTable) {}

  // A batch has the inputs of one tenant, and runs in a context with that tenant and nothing else.
  @BatchedService(100, 5, { groupBy: ({ tenant }: OrderInput) => tenant })
  find(inputs: readonly OrderInput[]): Promise<string[]> {
    const [first] = inputs;
    return currentTenant.run(String(first?.tenant), () => this.table.find(inputs.map(({ id }) => id)));
  }
}

/** For the code of a request: reads from its context what the batch needs, before the queue. */
@Injectable()
export class MyOrders {
  constructor(
    @InjectBatched(Orders) private readonly orders: Batched<Orders>,
    private readonly cls: ClsService<{ tenant: string }>,
  ) {}

  find(id: number): Promise<string> {
    return this.orders.find({ tenant: this.cls.get('tenant'), id });
  }
}
