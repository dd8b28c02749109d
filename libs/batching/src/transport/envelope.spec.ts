import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { withRoom } from './codec.js';
import {
  ANSWER_ROOM,
  type AnswerKind,
  type InputEnvelope,
  inputRoom,
  readAnswer,
  readInput,
  readRoute,
  VERSION,
  writeAnswer,
  writeInput,
  writeTimeout,
} from './envelope.js';

const bytes = () => fc.uint8Array({ maxLength: 40 });
const number = () => fc.double({ noNaN: true, noDefaultInfinity: true });

function inputOf(route: { caller: string; call: number }, { body, ...fields }: InputEnvelope): Buffer {
  const message = withRoom(inputRoom(route.caller, fields), body);
  writeInput(message, route, fields);
  return message;
}

function answerOf(call: number, kind: AnswerKind, body: Uint8Array): Buffer {
  const answer = withRoom(ANSWER_ROOM, body);
  writeAnswer(answer, call, kind);
  return answer;
}

describe('the envelope of an input', () => {
  it('has what was put into it', () => {
    const input = fc.record({
      timeout: fc.option(fc.double({ min: 0, noNaN: true, max: 1e12 }), { nil: undefined }),
      priority: fc.option(number(), { nil: undefined }),
      extras: fc.option(bytes(), { nil: undefined }),
      body: bytes(),
    });
    const route = fc.record({
      caller: fc.string({ maxLength: 32, unit: 'grapheme-ascii' }),
      call: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    });
    fc.assert(
      fc.property(route, input, (to, written) => {
        const message = inputOf(to, written);
        expect(readRoute(message)).toEqual({ version: VERSION, ...to });
        const { timeout, priority, extras, body } = readInput(message);
        expect([timeout, priority]).toEqual([written.timeout, written.priority]);
        expect(extras && [...extras]).toEqual(written.extras && [...written.extras]);
        expect([...body]).toEqual([...written.body]);
      }),
    );
  });

  it('has another timeout when it is sent again, and is else the same', () => {
    const written = { timeout: 500, priority: 2, extras: Buffer.of(7, 8), body: Buffer.of(1, 2, 3) };
    const message = inputOf({ caller: 'caller', call: 9 }, written);
    writeTimeout(message, 123);
    expect(readInput(message)).toEqual({ ...written, timeout: 123 });
    expect(readRoute(message)).toEqual({ version: VERSION, caller: 'caller', call: 9 });
  });

  it('throws a RangeError, and nothing else, for whatever bytes arrive', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (any) => {
        for (const read of [readRoute, readInput, readAnswer]) {
          try {
            read(Buffer.from(any));
          } catch (error) {
            // Of Node's realm.
            expect((error as Error).name).toBe('RangeError');
          }
        }
      }),
    );
  });

  it.each([
    ['timeout', -1, 'timeout: expected milliseconds ≥ 0, got -1'],
    ['timeout', NaN, 'timeout: expected milliseconds ≥ 0, got NaN'],
    ['priority', Infinity, 'priority: expected a finite number, got Infinity'],
  ])('refuses the %s %p', (field, value, message) => {
    const written = { timeout: undefined, priority: undefined, extras: undefined, body: Buffer.of() };
    const damaged = inputOf({ caller: 'a', call: 1 }, { ...written, [field]: value });
    expect(() => readInput(damaged)).toThrow(message);
  });

  it('says whom to answer in any version', () => {
    const message = inputOf(
      { caller: 'caller', call: 7 },
      { timeout: undefined, priority: undefined, extras: undefined, body: Buffer.of(1) },
    );
    message[0] = 99;
    expect(readRoute(message)).toEqual({ version: 99, caller: 'caller', call: 7 });
  });
});

describe('the envelope of an answer', () => {
  it('has what was put into it', () => {
    const answer = answerOf(2 ** 32 - 1, 'error', Buffer.of(1, 2));
    expect(readAnswer(answer)).toEqual({ call: 2 ** 32 - 1, kind: 'error', body: Buffer.of(1, 2) });
    expect(readAnswer(answerOf(0, 'result', Buffer.of()))).toMatchObject({ call: 0, kind: 'result' });
  });

  it('names its call in any version, and no kind that is not known', () => {
    const answer = answerOf(5, 'result', Buffer.of(1));
    answer[5] = 77;
    expect(readAnswer(answer)).toMatchObject({ call: 5, kind: undefined });
    answer[0] = 2;
    expect(readAnswer(answer)).toMatchObject({ call: 5, kind: undefined });
  });
});
