import { readFileSync } from 'node:fs';
import { randomNumbers } from '@app/figures';
import { describe, expect, it } from '@jest/globals';
import { type Action, ANGLE_LIMIT, CartPole, type Observation, TRACK_LIMIT } from './cart-pole.js';

interface GoldenGame {
  name: string;
  actions: Action[];
  terminated: boolean;
  truncated: boolean;
  start: Observation;
  /** Some of the states that follow, each with the number of steps that led to it; the last one is among them. */
  states: [steps: number, state: Observation][];
}

const golden = JSON.parse(readFileSync(new URL('../golden/cart-pole.json', import.meta.url), 'utf8')) as {
  games: GoldenGame[];
};

function gameFrom(start: Observation): CartPole {
  const game = new CartPole(randomNumbers(0));
  game.reset(start);
  return game;
}

describe('CartPole against Gymnasium', () => {
  it.each(golden.games)(
    'plays $name as Gymnasium does',
    ({ start, actions, terminated, truncated, states }) => {
      const expected = new Map(states);
      const game = gameFrom(start);
      for (const [i, action] of actions.entries()) {
        const step = game.step(action);
        expect(step).toMatchObject({ reward: 1, gained: i + 1 });
        const isLast = i === actions.length - 1;
        expect([step.terminated, step.truncated]).toEqual(isLast ? [terminated, truncated] : [false, false]);
        expect(game.isOver).toBe(isLast);
        expect(game.observation).toBe(step.next);
        // The sines and cosines of two languages may differ in the last digit, and a pole that stands doubles that in
        // about twelve steps.
        for (const [k, value] of expected.get(i + 1)?.entries() ?? [])
          expect(step.next[k]).toBeCloseTo(value, 9);
      }
    },
  );

  it('has games of all three ends among them', () => {
    expect(golden.games.filter(({ actions, truncated }) => truncated && actions.length === 500)).toHaveLength(
      1,
    );
    const last = golden.games.flatMap(({ states }) => states.slice(-1).map(([, state]) => state));
    const isOff = (place: number) => Math.abs(place) > TRACK_LIMIT;
    const isFallen = (angle: number) => Math.abs(angle) > ANGLE_LIMIT;
    expect(last.filter(([place, , angle]) => isOff(place) && !isFallen(angle))).toHaveLength(2);
    expect(last.filter(([place, , angle]) => !isOff(place) && isFallen(angle))).toHaveLength(3);
  });
});

describe('CartPole', () => {
  it.each([
    ['at the end of the track', [TRACK_LIMIT, 0, 0, 0], false],
    ['beyond the right end of the track', [TRACK_LIMIT, 1e-9, 0, 0], true],
    ['beyond the left end of the track', [-TRACK_LIMIT, -1e-9, 0, 0], true],
    ['at 12°', [0, 0, ANGLE_LIMIT, 0], false],
    ['beyond 12° to the right', [0, 0, ANGLE_LIMIT, 1e-9], true],
    ['beyond 12° to the left', [0, 0, -ANGLE_LIMIT, -1e-9], true],
  ] as [string, Observation, boolean][])('ends a game %s: %p, %p', (_, start, terminated) => {
    expect(gameFrom(start).step(1)).toMatchObject({ terminated, truncated: false });
  });

  it('counts a fall in the very last step as a fall', () => {
    const ends = Array.from({ length: 30 }, (_, i) => {
      const game = gameFrom([0, 0, 0, 0]);
      let step = game.step(0);
      while (!game.isOver) {
        const [, , angle, spin] = game.observation;
        // Pushed to where it leans the pole stands; pushed only to the left, it falls about ten steps later.
        step = game.step(step.gained < 470 + i && angle + spin / 2 > 0 ? 1 : 0);
      }
      return step;
    });
    const last = ends.filter(({ gained }) => gained === 500);
    expect(last.filter(({ terminated, truncated }) => terminated && !truncated)).not.toEqual([]);
    expect(last.filter(({ terminated, truncated }) => !terminated && truncated)).not.toEqual([]);
    expect(last.filter(({ terminated, truncated }) => terminated === truncated)).toEqual([]);
  });

  it('plays no further than its end, and on after a reset', () => {
    const game = gameFrom([0, 0, ANGLE_LIMIT, 1]);
    game.step(1);
    expect(() => game.step(1)).toThrow('the game is over: reset() it before the next step()');
    game.reset();
    expect(game.isOver).toBe(false);
    expect(game.step(1)).toMatchObject({ gained: 1, terminated: false });
  });

  it('begins at random places within ±0.05, the same ones for the same seed', () => {
    const starts = (seed: number) => {
      const game = new CartPole(randomNumbers(seed));
      return Array.from({ length: 1000 }, () => {
        game.reset();
        return game.observation;
      });
    };
    const values = starts(1).flat();
    expect(Math.min(...values)).toBeGreaterThanOrEqual(-0.05);
    expect(Math.min(...values)).toBeLessThan(-0.0499);
    expect(Math.max(...values)).toBeLessThan(0.05);
    expect(Math.max(...values)).toBeGreaterThan(0.0499);
    expect(starts(1)).toEqual(starts(1));
    expect(starts(2)).not.toEqual(starts(1));
  });
});
