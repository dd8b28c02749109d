import type { System } from './transports-load.js';

/** Each is loaded by the processes alone that use it. */
export const systems = {
  local: async () => (await import('./transports-ours.js')).local,
  redis: async () => (await import('./transports-ours.js')).redis,
  nats: async () => (await import('./transports-ours.js')).nats,
  plainRedis: async () => (await import('./transports-plain-redis.js')).plainRedis,
  plainNats: async () => (await import('./transports-plain-nats.js')).plainNats,
  bullmq: async () => (await import('./transports-bullmq.js')).bullmq,
  nestNats: async () => (await import('./transports-nest.js')).nestNats,
  nestRedis: async () => (await import('./transports-nest.js')).nestRedis,
  nestRmq: async () => (await import('./transports-nest.js')).nestRmq,
} satisfies Record<string, () => Promise<System>>;

export type SystemName = keyof typeof systems;
