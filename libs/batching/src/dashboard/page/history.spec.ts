import { describe, expect, it } from '@jest/globals';
import type { EndedBatches, Frame, QueueFrame } from '../frame.js';
import { freeze, Histories, ServerClock, waitingAt } from './history.js';

const ended = (id: number, start: number): EndedBatches => [id, 0, start, 10, 2, 8, 0, 0, 1, 10];
const queue = (more: Partial<QueueFrame> = {}): QueueFrame =>
  ({ node: 'n', name: 'q', started: [], ended: [], waiting: 0, ...more }) as QueueFrame;
const frame = (number: number, more: Partial<Frame> = {}): Frame =>
  ({ epoch: 'a', number, now: 1000 + 200 * number, isWhole: false, queues: [queue()], ...more }) as Frame;

describe('Histories', () => {
  it('add up what frames tell', () => {
    const histories = new Histories();
    histories.apply(frame(1, { isWhole: true, queues: [queue({ ended: [ended(1, 900)] })] }));
    histories.apply(
      frame(2, { queues: [queue({ ended: [ended(2, 1200)], started: [[3, 0, 1390, 1, 4, 2]] })] }),
    );
    const history = histories.queues.get('n q');
    expect(history?.ended.map(({ id, end }) => [id, end])).toEqual([
      [1, 910],
      [2, 1210],
    ]);
    expect(history?.started).toMatchObject([{ id: 3, end: Infinity, size: 4, reason: 2 }]);
  });

  it('count nothing twice: neither a frame that comes again nor what was there before a reconnection', () => {
    const histories = new Histories();
    const first = frame(1, { isWhole: true, queues: [queue({ ended: [ended(1, 900)] })] });
    expect(histories.apply(first)).toBe(true);
    expect(histories.apply(first)).toBe(false);
    histories.apply(frame(2, { queues: [queue({ ended: [ended(2, 1200)] })] }));
    histories.apply(
      frame(7, {
        isWhole: true,
        queues: [queue({ ended: [ended(1, 900), ended(2, 1200), ended(3, 1300)] })],
      }),
    );
    expect(histories.queues.get('n q')?.ended.map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  it('begin anew with another process', () => {
    const histories = new Histories();
    histories.apply(frame(50, { queues: [queue({ ended: [ended(1, 900)] }), queue({ name: 'gone' })] }));
    expect(histories.apply(frame(1, { epoch: 'b', now: 10, isWhole: true }))).toBe(true);
    expect([...histories.queues.keys()]).toEqual(['n q']);
    expect(histories.queues.get('n q')?.ended).toEqual([]);
  });

  it('forget what is no longer shown', () => {
    const histories = new Histories();
    for (let number = 1; number < 500; number++) {
      histories.apply(frame(number, { queues: [queue({ ended: [ended(number, 990 + 200 * number)] })] }));
    }
    const { ended: kept = [], waiting = [] } = histories.queues.get('n q') ?? {};
    expect(kept.length).toBeLessThan(110);
    expect(waiting.length).toBeLessThan(110);
  });

  it('are apart for each node', () => {
    const histories = new Histories();
    histories.apply(frame(1, { queues: [queue(), queue({ node: 'm' })] }));
    expect([...histories.queues.keys()]).toEqual(['n q', 'm q']);
  });

  it('stand still once frozen', () => {
    const histories = new Histories();
    histories.apply(frame(1, { queues: [queue({ ended: [ended(1, 900)], waiting: 3 })] }));
    const history = histories.queues.get('n q');
    if (!history) throw new Error('no history');
    const frozen = freeze(history);
    histories.apply(frame(2, { queues: [queue({ ended: [ended(2, 1200)], waiting: 9 })] }));
    expect(frozen.ended).toHaveLength(1);
    expect(waitingAt(frozen, 5000)).toBe(3);
    expect(waitingAt(history, 5000)).toBe(9);
    expect(waitingAt(history, 1300)).toBe(3);
    expect(waitingAt(history, 0)).toBe(0);
  });
});

describe('ServerClock', () => {
  it('goes by the frame with the least delay', () => {
    const clock = new ServerClock();
    clock.update(1000, 55);
    clock.update(1200, 250);
    clock.update(1400, 490);
    expect(clock.at(500)).toBe(1450);
    clock.restart();
    clock.update(10, 500);
    expect(clock.at(510)).toBe(20);
  });
});
