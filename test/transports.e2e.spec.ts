import { describe } from '@jest/globals';
import type { Transport } from 'nest-batching';
import { MemoryBroker, memoryTransport } from 'nest-batching/testing';
import {
  conforms,
  type Harness,
  MAX_DELIVER,
  NO_NODE_TIMEOUT,
  REDELIVER_AFTER,
} from './transport-conformance.js';

const settings = {
  redeliverAfter: REDELIVER_AFTER,
  noNodeTimeout: NO_NODE_TIMEOUT,
  maxDeliver: MAX_DELIVER,
};

describe('the transport in memory', () => {
  conforms(() => {
    const broker = new MemoryBroker();
    const crashes = new Map<Transport, () => void>();
    const harness: Harness = {
      node: () => {
        const node = memoryTransport({ ...settings, broker });
        crashes.set(node, () => {
          node.crash();
        });
        return node;
      },
      kill: (node) => {
        crashes.get(node)?.();
      },
      end: () => Promise.resolve(),
    };
    return Promise.resolve(harness);
  });
});
