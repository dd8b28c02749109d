/** Lines, and perhaps dots, over two axes. */
export interface Chart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  /** The first is drawn on top of the others. At most as many as there are colours: four. */
  readonly lines: readonly Series[];
  /** Faint, behind the lines. */
  readonly dots?: Series;
  /** A value of y that is marked by a dashed line. */
  readonly limit?: number;
}

export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface Axis {
  readonly name: string;
  /**
   * The values that are written at the axis, in ascending order; it reaches at least from the first to the last of them.
   * Default: round values from 0 on, beyond all that is drawn.
   */
  readonly marks?: readonly number[];
  /** Needs marks, all above 0. Default: `false`. */
  readonly logarithmic?: boolean;
}

type Point = readonly [x: number, y: number];

const WIDTH = 720;
const HEIGHT = 360;
const LEFT = 72;
const RIGHT = WIDTH - 40;
const TOP = 76;
const BOTTOM = HEIGHT - 56;
/** For the colour-blind as well, on light and on dark (after Okabe and Ito). */
const COLOURS = ['#2b8cd6', '#e69f00', '#009e73', '#cc79a7'];

/**
 * Draws it as SVG, light or dark as its reader prefers.
 *
 * @throws RangeError when there is nothing to draw, a value cannot be drawn, or there are more lines than colours
 */
export function drawChart({ title, x, y, lines, dots, limit }: Chart): string {
  if (lines.length > COLOURS.length) {
    throw new RangeError(`lines: expected at most ${COLOURS.length}, got ${lines.length}`);
  }
  const points = [...lines, ...(dots ? [dots] : [])].flatMap((series) => series.points);
  const across = layOut(
    x,
    points.map(([value]) => value),
    LEFT,
    RIGHT,
  );
  const up = layOut(
    y,
    [...points.map(([, value]) => value), ...(limit === undefined ? [] : [limit])],
    BOTTOM,
    TOP,
  );
  const at = ([px, py]: Point) => `${across.place(px)} ${up.place(py)}`;
  const parts = [
    `<rect width="${WIDTH}" height="${HEIGHT}" rx="8" class="ground"/>`,
    `<text x="${LEFT}" y="30" class="title">${escape(title)}</text>`,
  ];
  for (const mark of up.marks) {
    parts.push(`<path d="M${LEFT} ${up.place(mark)}H${RIGHT}" class="grid"/>`);
    parts.push(
      `<text x="${LEFT - 10}" y="${up.place(mark)}" dy="4" text-anchor="end">${inWords(mark)}</text>`,
    );
  }
  for (const mark of across.marks) {
    parts.push(
      `<text x="${across.place(mark)}" y="${BOTTOM + 20}" text-anchor="middle">${inWords(mark)}</text>`,
    );
  }
  parts.push(
    `<text x="${(LEFT + RIGHT) / 2}" y="${HEIGHT - 14}" text-anchor="middle">${escape(x.name)}</text>`,
    `<text transform="translate(18 ${(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${escape(y.name)}</text>`,
  );
  if (dots) parts.push(`<path d="${dots.points.map((dot) => `M${at(dot)}h0`).join('')}" class="dots"/>`);
  if (limit !== undefined) parts.push(`<path d="M${LEFT} ${up.place(limit)}H${RIGHT}" class="limit"/>`);
  const style = (line: number) => `class="line" stroke="${String(COLOURS[line])}"`;
  for (const [line, series] of [...lines.entries()].reverse()) {
    parts.push(`<path d="M${series.points.map(at).join('L')}" ${style(line)}/>`);
  }
  let legend = LEFT;
  const explain = (name: string, sign: string) => {
    parts.push(`<path d="M${legend} 50h${sign}/><text x="${legend + 26}" y="54">${escape(name)}</text>`);
    legend += 50 + 7 * name.length;
  };
  for (const [line, { name }] of lines.entries()) explain(name, `18" ${style(line)}`);
  if (dots) explain(dots.name, '0m9 0h0m9 0h0" class="dots"');
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">
<title>${escape(title)}</title>
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

/** Where the values of an axis are drawn that goes from one coordinate to another, and which are written at it. */
function layOut(
  { name, marks, logarithmic = false }: Axis,
  values: readonly number[],
  from: number,
  to: number,
) {
  if (logarithmic && marks === undefined) throw new RangeError(`${name}: a logarithmic axis needs marks`);
  const most = values.reduce((one, other) => Math.max(one, other), -Infinity);
  const written = marks ?? roundMarks(most);
  const measure = logarithmic ? Math.log : Number;
  const all = [...values, ...written].map((value) => {
    if (Number.isFinite(measure(value))) return measure(value);
    throw new RangeError(`${name}: ${value} cannot be drawn`);
  });
  const least = all.reduce((one, other) => Math.min(one, other), Infinity);
  const greatest = all.reduce((one, other) => Math.max(one, other), -Infinity);
  if (!(least < greatest)) throw new RangeError(`${name}: expected at least two values`);
  const place = (value: number) =>
    (from + ((measure(value) - least) / (greatest - least)) * (to - from)).toFixed(1);
  return { marks: written, place };
}

/** From 0 to the first of them that is no less than `most`, in at most six steps of 1, 2, 5, 10, … */
function roundMarks(most: number): number[] {
  if (!(most > 0 && most < Infinity)) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(most / 5));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= most / 5) ?? 10);
  // Rounded, since 3 × 0.1 is not 0.3.
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

function inWords(value: number): string {
  return value.toLocaleString('en');
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
