import { describe, expect, it } from '@jest/globals';
import { readDelivered } from './frames.js';

describe('readDelivered', () => {
  it.each([
    ['a server alone', '$JS.ACK.app=a_2eb.nodes.2.924.925.1795835384932789909.17'],
    ['a domain', '$JS.ACK.hub.ACCOUNT.app=a_2eb.nodes.2.924.925.1795835384932789909.17.token9'],
    ['an account', '$JS.ACK._.ACCOUNT.app=a_2eb.nodes.2.924.925.1795835384932789909.17.5'],
  ])('reads what %s writes', (_, reply) => {
    const delivered = readDelivered(reply);
    expect(delivered).toMatchObject({ deliveries: 2, waiting: 17 });
    expect(delivered?.storedAt).toBeCloseTo(1795835384932.79, 1);
  });

  it('takes no other subject for one', () => {
    expect(readDelivered('_INBOX.a.b')).toBeUndefined();
    expect(readDelivered('')).toBeUndefined();
  });
});
