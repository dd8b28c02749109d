import { Presets, SingleBar } from 'cli-progress';

/**
 * A progress bar that is drawn on a terminal only. Elsewhere, as in a log file, it writes nothing, so the
 * program should print its result when it ends.
 *
 * @param format text with `{bar}`, `{value}`, `{total}`, `{percentage}`, `{eta_formatted}` and names of the
 *   payload of `start()` and `update()`; at most 80 columns, of which the bar takes 12
 * @param stream where to draw it; default: stderr
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
      // Otherwise it turns off the terminal's line wrapping, which stays off if the program is interrupted.
      linewrap: true,
    },
    Presets.shades_classic,
  );
}
