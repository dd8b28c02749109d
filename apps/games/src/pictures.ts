import { readFile } from 'node:fs/promises';
import { drawChart } from '@app/figures';
import { ANGLE_LIMIT, MAX_STEPS, type Observation, TIME_STEP, TRACK_LIMIT } from './cart-pole.js';
import { type Progress, TARGET } from './games.js';

/** The return of every game as a dot, the mean of the last 100 as a line, in SVG. Takes what each update led to. */
export function learningCurve(updates: readonly Progress[]): string {
  const ended = updates.at(-1)?.ended ?? [];
  return drawChart({
    title: 'Learning to balance a pole',
    x: { name: 'steps played by all sessions' },
    y: { name: 'return' },
    limit: TARGET,
    dots: { name: 'one game', points: ended.map((game) => [game.steps, game.return]) },
    lines: [
      {
        name: 'mean of the last 100 games',
        points: updates.filter(({ mean }) => mean > 0).map((update) => [update.steps, update.mean]),
      },
    ],
  });
}

/** What all sessions played at one stage of the training. */
export interface Stage {
  /** Steps that had been learned from by then. */
  readonly steps: number;
  /** Of each game what was seen, from its start to its end. */
  readonly games: readonly (readonly Observation[])[];
}

/** A page that plays the games in a browser, with all that it needs inside. */
export async function replayPage(stages: readonly Stage[]): Promise<string> {
  const page = await readFile(new URL('./replay.html', import.meta.url), 'utf8');
  const data = JSON.stringify({
    timeStep: TIME_STEP,
    maxSteps: MAX_STEPS,
    trackLimit: TRACK_LIMIT,
    angleLimit: ANGLE_LIMIT,
    stages: stages.map(({ steps, games }) => ({
      steps,
      lengths: games.map((observations) => observations.length),
      places: encode(games),
    })),
  });
  return page.replace('"the games"', () => data);
}

/** Of each observation the cart's position in tenths of a millimetre and the pole's angle in units of 10⁻⁵ rad. */
function encode(games: Stage['games']): string {
  const values = games
    .flat()
    .flatMap(([position, , angle]) => [Math.round(position * 1e4), Math.round(angle * 1e5)]);
  return Buffer.from(Int16Array.from(values).buffer).toString('base64');
}
