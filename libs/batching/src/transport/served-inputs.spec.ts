import { deserialize, serialize } from 'node:v8';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { type Codec, withRoom } from './codec.js';
import { inputRoom, writeInput } from './envelope.js';
import { ServedInputs } from './served-inputs.js';

const codec: Codec = {
  pack: (value, room, allocate) => withRoom(room, serialize(value), allocate),
  unpack: (bytes) => deserialize(bytes) as unknown,
};
const NO_FIELDS = { timeout: undefined, priority: undefined, extras: undefined };

/** The message of a call, as its caller writes it. */
function message(caller: string, call: number): Buffer {
  const bytes = codec.pack(call, inputRoom(caller, NO_FIELDS));
  writeInput(bytes, { caller, call }, NO_FIELDS);
  return bytes;
}

describe('an input whose caller gave up before it came, as messages overtake each other', () => {
  const ran: unknown[] = [];
  const ended: unknown[] = [];
  let served: ServedInputs<number>;

  beforeEach(() => {
    jest.useFakeTimers({ now: 0 });
    served = new ServedInputs<number>(
      {
        codec,
        context: { errors: new Map(), warn: () => undefined },
        maxDeliver: 3,
        maxPayload: () => Infinity,
      },
      { end: (_service, handle, _caller, answer) => ended.push([handle, answer]) },
    );
    served.add('service', { prefetch: 8, maxQueued: 100 }, (input) => {
      ran.push(input);
      return new Promise(() => undefined);
    });
  });

  afterEach(() => {
    jest.useRealTimers();
    ran.length = ended.length = 0;
  });

  const take = (caller: string, call: number) => {
    served.take('service', message(caller, call), 1, 0, call);
  };

  it('is acknowledged without an answer, and does not run', () => {
    served.cancel('service', 'a', 1);
    take('a', 1);
    expect([ran, ended]).toEqual([[], [[1, undefined]]]);
    expect(served.inProgress('service')).toBe(0);
  });

  it('is no other call of that caller, and no call of another one', () => {
    served.cancel('service', 'a', 1);
    take('a', 2);
    take('b', 1);
    expect([ran, ended]).toEqual([[2, 1], []]);
  });

  it('is remembered for at least five seconds, and not for ever', () => {
    served.cancel('service', 'a', 1);
    jest.advanceTimersByTime(4_900);
    served.cancel('service', 'a', 2);
    jest.advanceTimersByTime(4_900);
    served.cancel('service', 'a', 3);
    take('a', 2);
    expect(ran).toEqual([]);
    for (const call of [4, 5]) {
      jest.advanceTimersByTime(5_100);
      served.cancel('service', 'a', call);
    }
    take('a', 1);
    expect(ran).toEqual([1]);
  });

  it('is one of at most ten thousand', () => {
    for (let call = 0; call < 20_001; call++) served.cancel('service', 'a', call);
    take('a', 0);
    take('a', 20_000);
    expect(ran).toEqual([0]);
  });
});
