import { readFile } from 'node:fs/promises';
import { drawChart } from '@app/figures';
import { ANGLE_LIMIT, MAX_STEPS, TIME_STEP, TRACK_LIMIT } from './cart-pole.js';
import { type PlayedGames, type Progress, TARGET } from './games.js';

/** The return of every game as a dot, the mean of the last 100 as a line, in SVG. Takes what each update led to. */
export function learningCurve(updates: readonly Progress[]): string {
  return drawChart({
    title: 'Learning to balance a pole',
    x: { name: 'steps played by all sessions' },
    y: { name: 'return' },
    limit: TARGET,
    dots: { name: 'one game', points: returnsOf(updates) },
    lines: [
      {
        name: 'mean of the last 100 games',
        points: meansOf(updates),
      },
    ],
  });
}

/** What all sessions played at one stage of the training. */
export interface Stage extends PlayedGames {
  /** Steps that had been learned from by then. */
  readonly steps: number;
}

/** A page that plays the games in a browser, above the learning curve, with all that it needs inside. */
export async function replayPage(stages: readonly Stage[], updates: readonly Progress[]): Promise<string> {
  const page = await readFile(new URL('./replay.html', import.meta.url), 'utf8');
  const data = JSON.stringify({
    timeStep: TIME_STEP,
    maxSteps: MAX_STEPS,
    trackLimit: TRACK_LIMIT,
    angleLimit: ANGLE_LIMIT,
    target: TARGET,
    returns: returnsOf(updates),
    means: meansOf(updates),
    stages: stages.map(({ steps, games, runs }) => ({
      steps,
      runs,
      lengths: games.map((observations) => observations.length),
      places: encode(games),
    })),
  });
  return page.replace('"the games"', () => data);
}

/** Of each game of the training when it ended, in steps of all sessions, and its return. */
function returnsOf(updates: readonly Progress[]): [steps: number, gained: number][] {
  return (updates.at(-1)?.ended ?? []).map((game) => [game.steps, game.return]);
}

/** After each update the steps so far, and the mean return of the last 100 games, from where 100 have ended. */
function meansOf(updates: readonly Progress[]): [steps: number, mean: number][] {
  return updates.filter(({ mean }) => mean > 0).map(({ steps, mean }) => [steps, mean]);
}

/** Of each observation the cart's position in tenths of a millimetre and the pole's angle in units of 10⁻⁵ rad. */
function encode(games: Stage['games']): string {
  const values = games
    .flat()
    .flatMap(([position, , angle]) => [Math.round(position * 1e4), Math.round(angle * 1e5)]);
  return Buffer.from(Int16Array.from(values).buffer).toString('base64');
}
