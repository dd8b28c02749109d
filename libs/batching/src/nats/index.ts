export type { TransportSettings } from '../transport/settings.js';
export { natsTransport, type NatsTransportOptions } from './nats-transport.js';
