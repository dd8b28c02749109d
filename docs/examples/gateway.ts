import { UseFilters } from '@nestjs/common';
import {
  ConnectedSocket,
  MessageBody,
  type OnGatewayConnection,
  type OnGatewayDisconnect,
  SubscribeMessage,
  WebSocketGateway,
  WsException,
  type WsResponse,
} from '@nestjs/websockets';
import { type Batched, BatchingExceptionFilter, InjectBatched } from 'nest-batching';
import { Prices } from './prices.js';

@WebSocketGateway()
@UseFilters(BatchingExceptionFilter) // Nest gives gateways no global filters
export class PricesGateway implements OnGatewayConnection, OnGatewayDisconnect {
  readonly #connections = new WeakMap<object, AbortController>();

  constructor(@InjectBatched(Prices) private readonly prices: Batched<Prices>) {}

  handleConnection(client: object): void {
    this.#connections.set(client, new AbortController());
  }

  handleDisconnect(client: object): void {
    this.#connections.get(client)?.abort(new WsException('the connection is closed'));
  }

  @SubscribeMessage('price')
  async price(
    @ConnectedSocket() client: object,
    @MessageBody() product: string,
  ): Promise<WsResponse<number>> {
    const signal = this.#connections.get(client)?.signal; // what waits leaves with its connection
    const data = await this.prices.of(product, { signal, tenant: client }); // connections take turns
    return { event: 'price', data };
  }
}
