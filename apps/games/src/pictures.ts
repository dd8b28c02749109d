import { readFile } from 'node:fs/promises';
import { ANGLE_LIMIT, MAX_STEPS, type Observation, TIME_STEP, TRACK_LIMIT } from './cart-pole.js';
import { type Progress, TARGET } from './games.js';

/** The return of every game as a dot, the mean of the last 100 as a line, in SVG. Takes what each update led to. */
export function learningCurve(updates: readonly Progress[]): string {
  const { steps = 0, ended = [] } = updates.at(-1) ?? {};
  const unit = 20_000 * Math.ceil(steps / 160_000);
  return drawChart({
    title: 'Learning to balance a pole',
    x: { name: 'steps played by all sessions', marks: marks(unit, Math.ceil(steps / unit)) },
    y: { name: 'return', marks: marks(100, MAX_STEPS / 100) },
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

function marks(unit: number, count: number): number[] {
  return Array.from({ length: count + 1 }, (_, i) => i * unit);
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

/** Lines, and perhaps dots, over two axes. */
export interface Chart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly lines: readonly Series[];
  /** Faint, behind the lines. */
  readonly dots?: Series;
  /** A value of y that is marked by a dashed line. */
  readonly limit?: number;
}

interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

interface Axis {
  readonly name: string;
  /** The values that are written at the axis, which goes from the first to the last of them. */
  readonly marks: readonly number[];
  readonly logarithmic?: boolean;
}

type Point = readonly [x: number, y: number];

const WIDTH = 720;
const HEIGHT = 360;
const LEFT = 64;
const RIGHT = WIDTH - 40;
const TOP = 76;
const BOTTOM = HEIGHT - 56;
/** Told apart by the colour-blind, on light and on dark (after Okabe and Ito). */
const COLOURS = ['#2b8cd6', '#e69f00', '#009e73', '#cc79a7'];

/** Draws it as SVG, light or dark as its reader prefers. */
export function drawChart({ title, x, y, lines, dots, limit }: Chart): string {
  const toX = scale(x, LEFT, RIGHT);
  const toY = scale(y, BOTTOM, TOP);
  const at = ([px, py]: Point) => `${toX(px)} ${toY(py)}`;
  const parts = [
    `<rect width="${WIDTH}" height="${HEIGHT}" rx="8" class="ground"/>`,
    `<text x="${LEFT}" y="30" class="title">${title}</text>`,
  ];
  for (const mark of y.marks) {
    parts.push(`<path d="M${LEFT} ${toY(mark)}H${RIGHT}" class="grid"/>`);
    parts.push(`<text x="${LEFT - 10}" y="${toY(mark)}" dy="4" text-anchor="end">${inWords(mark)}</text>`);
  }
  for (const mark of x.marks) {
    parts.push(`<text x="${toX(mark)}" y="${BOTTOM + 20}" text-anchor="middle">${inWords(mark)}</text>`);
  }
  parts.push(
    `<text x="${(LEFT + RIGHT) / 2}" y="${HEIGHT - 14}" text-anchor="middle">${x.name}</text>`,
    `<text transform="translate(18 ${(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${y.name}</text>`,
  );
  if (dots) parts.push(`<path d="${dots.points.map((dot) => `M${at(dot)}h0`).join('')}" class="dots"/>`);
  if (limit !== undefined) parts.push(`<path d="M${LEFT} ${toY(limit)}H${RIGHT}" class="limit"/>`);
  let legend = LEFT;
  const explain = (name: string, sign: string) => {
    parts.push(`<path d="M${legend} 50h${sign}/><text x="${legend + 26}" y="54">${name}</text>`);
    legend += 50 + 7 * name.length;
  };
  for (const [i, { name, points }] of lines.entries()) {
    const style = `class="line" stroke="${COLOURS[i % COLOURS.length] ?? ''}"`;
    parts.push(`<path d="M${points.map(at).join('L')}" ${style}/>`);
    explain(name, `18" ${style}`);
  }
  if (dots) explain(dots.name, '0m9 0h0m9 0h0" class="dots"');
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">
<title>${title}</title>
<style>
  svg { font: 12px system-ui, sans-serif; }
  text { fill: #62656d; }
  path { fill: none; }
  .ground { fill: #ffffff; }
  .title { fill: #16181d; font-size: 15px; font-weight: 600; }
  .grid { stroke: #e2e1da; }
  .dots { stroke: #8a8d96; stroke-opacity: .65; stroke-width: 3; stroke-linecap: round; }
  .limit { stroke: #8a8d96; stroke-dasharray: 5 4; }
  .line { stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round; }
  @media (prefers-color-scheme: dark) {
    text { fill: #9aa0ac; }
    .ground { fill: #181b21; }
    .title { fill: #eceef2; }
    .grid { stroke: #2a2e37; }
  }
</style>
${parts.join('\n')}
</svg>
`;
}

function scale({ marks, logarithmic = false }: Axis, from: number, to: number): (value: number) => string {
  const measure = logarithmic ? Math.log : Number;
  const first = measure(marks[0] ?? NaN);
  const last = measure(marks.at(-1) ?? NaN);
  return (value) => (from + ((measure(value) - first) / (last - first)) * (to - from)).toFixed(1);
}

function inWords(value: number): string {
  return value.toLocaleString('en');
}
