import { Presets, SingleBar } from 'cli-progress';

/**
 * A bar that is drawn on a terminal only: elsewhere, as in a log file, it writes nothing, and the program itself says in one
 * line at its end what came of it.
 *
 * @param format `{bar}`, `{value}`, `{total}`, `{percentage}`, `{eta_formatted}`, names of the payload that `start()` and
 * `update()` take, and text; together no wider than 80 columns, of which the bar takes 12
 */
export function progressBar(
  format: string,
  stream: NodeJS.WritableStream = process.stderr,
): Pick<SingleBar, 'start' | 'update' | 'increment' | 'stop'> {
  return new SingleBar(
    {
      format,
      stream,
      barsize: 12,
      etaBuffer: 100,
      // Otherwise it switches the terminal's wrapping off, and a program that is interrupted leaves it so.
      linewrap: true,
    },
    Presets.shades_classic,
  );
}
