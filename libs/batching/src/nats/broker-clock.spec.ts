import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { BrokerClock } from './broker-clock.js';

describe('BrokerClock', () => {
  let now: jest.SpiedFunction<typeof performance.now>;

  beforeEach(() => {
    now = jest.spyOn(performance, 'now').mockReturnValue(1000);
  });

  afterEach(() => {
    now.mockRestore();
  });

  it('knows the age by the time that the broker says', () => {
    const clock = new BrokerClock();
    clock.read(1_700_000_000_000, 990, 1000);
    now.mockReturnValue(1095);
    expect(clock.ageOf(1_700_000_000_050)).toBeCloseTo(50, 3);
    // Stored after it was said, by a hair: not negative.
    expect(clock.ageOf(1_700_000_000_200)).toBe(0);
  });

  it('takes the youngest input for new where the broker says no time', () => {
    const clock = new BrokerClock();
    expect(clock.ageOf(5000)).toBe(0);
    now.mockReturnValue(1300);
    expect(clock.ageOf(5100)).toBe(200);
    expect(clock.ageOf(5300)).toBe(0);
    now.mockReturnValue(2000);
    expect(clock.ageOf(5300)).toBe(700);
  });

  it('gets over a clock that is set back', () => {
    const clock = new BrokerClock();
    clock.ageOf(100_000);
    for (let time = 1000; time <= 30_000; time += 1000) {
      now.mockReturnValue(time);
      clock.ageOf(time - 1000);
    }
    expect(clock.ageOf(29_000)).toBe(0);
  });
});
