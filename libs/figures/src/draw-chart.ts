/** A chart of lines, and optionally dots, over two axes. */
export interface Chart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  /** At most four; the first is drawn on top of the others. */
  readonly lines: readonly Series[];
  /** Drawn faintly behind the lines. Default: none. */
  readonly dots?: Series;
  /** A value of y at which to draw a dashed line. Default: none. */
  readonly limit?: number;
}

/** A line, or dots, and its name in the legend. */
export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

/** An axis and its scale. */
export interface Axis {
  readonly name: string;
  /**
   * The values that are written at the axis, in ascending order; the axis covers at least these. Default:
   * round values from 0 up to the largest value that is drawn, or the next above it.
   */
  readonly marks?: readonly number[];
  /** Whether the scale is logarithmic; requires `marks`, all above 0. Default: `false`. */
  readonly logarithmic?: boolean;
}

type Point = readonly [x: number, y: number];

const WIDTH = 720;
const HEIGHT = 360;
const LEFT = 72;
const RIGHT = WIDTH - 40;
const TOP = 76;
const BOTTOM = HEIGHT - 56;
/** Distinguishable by colour-blind readers, on light and dark backgrounds (after Okabe and Ito). */
const COLOURS = ['#2b8cd6', '#e69f00', '#009e73', '#cc79a7'];

/**
 * Draws a chart, light or dark by the reader's preference.
 *
 * @returns the text of an SVG file
 * @throws RangeError if an axis has fewer than two values, a value cannot be drawn, or there are more than
 *   four lines
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

/** The marks of an axis between two coordinates, and a function that returns the coordinate of a value. */
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

/** Multiples of a step of 1, 2, 5, 10, …, from 0 to the first that is at least `most`; at most six steps. */
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
