import { describe, expect, it } from '@jest/globals';
import { withRoom } from './codec.js';
import { ANSWER_ROOM, writeAnswer } from './envelope.js';
import { msgpackCodec } from './msgpack-codec.js';
import { type PendingCall, PendingCalls } from './pending-calls.js';

const IMAGE = new Uint8Array(10_000);

function sending() {
  const sent: PendingCall<string>[] = [];
  const calls = new PendingCalls<string>(
    {
      node: 'node',
      codec: msgpackCodec,
      context: { errors: new Map(), warn: () => undefined },
      maxPayload: () => 2 ** 20,
    },
    { send: (call) => sent.push(call), cancel: () => undefined },
  );
  const answer = (number: number): void => {
    const bytes = withRoom(ANSWER_ROOM, msgpackCodec.pack('done', 0));
    writeAnswer(bytes, number, 'result');
    calls.answer(bytes);
  };
  return { calls, sent, answer };
}

describe('the memory of the message of a call', () => {
  it('is used again when the broker has the message and the call has ended', async () => {
    const { calls, sent, answer } = sending();
    const first = calls.open('service', IMAGE);
    const [call] = sent;
    if (call) call.sent = 'id';
    answer(1);
    await expect(first).resolves.toBe('done');
    void calls.open('service', IMAGE);
    expect(sent[1]?.write()).toBe(call?.write());
  });

  it('is not while the call goes on, nor where the message may not have been written yet', async () => {
    const { calls, sent, answer } = sending();
    const first = calls.open('service', IMAGE);
    void calls.open('service', IMAGE);
    answer(1);
    await expect(first).resolves.toBe('done');
    void calls.open('service', IMAGE);
    expect(new Set(sent.map((call) => call.write())).size).toBe(3);
  });
});
