/** The middle value; of an even number of values, the upper of the two in the middle. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** Ratios round by round as `median (least–most)`: rounds stand beside each other in time, totals do not. */
export function ratio(ours: readonly number[], theirs: readonly number[], digits = 2): string {
  const ratios = ours.map((value, round) => value / (theirs[round] ?? NaN));
  const [least, most] = [Math.min(...ratios), Math.max(...ratios)];
  return `${median(ratios).toFixed(digits)} (${least.toFixed(digits)}–${most.toFixed(digits)})`;
}

/** Rows as aligned text, the first row being the head. */
export function printTable(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const row of rows) {
    console.log(
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('   '),
    );
  }
}

/** The same rows as a table in Markdown. */
export function markdownTable([head = [], ...rows]: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`;
  return [head, head.map((_, column) => (column === 0 ? '---' : '--:')), ...rows].map(line).join('');
}
