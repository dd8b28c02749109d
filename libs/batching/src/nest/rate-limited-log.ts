import type { Logger } from '@nestjs/common';

/** Shortest time between two lines of one kind, in milliseconds. */
const INTERVAL = 10_000;

interface Kind {
  /** Number of lines that were held back. */
  heldBack: number;
  /** The last of them. */
  last: string;
  timer: NodeJS.Timeout;
}

/**
 * Limits warnings that may come thousands of times a second. The first line of a kind is logged at once.
 * After that, at most one line per kind is logged in 10 s: the last that was held back, with the number of
 * the others.
 */
export class RateLimitedLog {
  readonly #kinds = new Map<string, Kind>();

  constructor(private readonly logger: Pick<Logger, 'warn'>) {}

  warn(kind: string, line: string): void {
    const known = this.#kinds.get(kind);
    if (known) {
      known.heldBack++;
      known.last = line;
      return;
    }
    this.logger.warn(line);
    const timer = setInterval(() => {
      this.#release(kind);
    }, INTERVAL);
    this.#kinds.set(kind, { heldBack: 0, last: '', timer: timer.unref() });
  }

  /** Logs the lines that were held back. */
  flush(): void {
    for (const kind of [...this.#kinds.keys()]) {
      this.#release(kind);
      clearInterval(this.#kinds.get(kind)?.timer);
      this.#kinds.delete(kind);
    }
  }

  #release(name: string): void {
    const kind = this.#kinds.get(name);
    if (!kind) return;
    if (kind.heldBack === 0) {
      clearInterval(kind.timer);
      this.#kinds.delete(name);
      return;
    }
    const others = kind.heldBack - 1;
    this.logger.warn(
      others > 0 ? `${kind.last} (and ${others} more like it since the last line)` : kind.last,
    );
    kind.heldBack = 0;
  }
}
