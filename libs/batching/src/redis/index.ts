export type { TransportSettings } from '../transport/settings.js';
export { redisTransport, type RedisTransportOptions } from './redis-transport.js';
