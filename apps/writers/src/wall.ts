import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorBodyOf } from '@app/serving';
import type { Batched } from 'nest-batching';
import type { Network } from './network.js';
import type { RaceReport } from './race.js';
import type { EventStream } from './event-stream.js';
import type { Order, Writer } from './writer.js';

/** Milliseconds between two events. */
const PERIOD = 100;
/** Texts whose time to the first character counts: the last ones. */
const RECENT = 100;
/** Characters that were not sent yet at which texts wait for the reader of the wall. */
const MOST_UNSENT = 64_000;

/** What has happened on a wall since the event before. */
interface Changes {
  began: [number: number, prompt: string][];
  texts: Record<number, string>;
  ended: [number: number, reason: string][];
  figures?: Figures;
  race?: RaceReport;
}

interface Figures {
  /** Texts of this wall that are written now. */
  writing: number;
  /** Texts of all visitors that are written now. */
  everywhere: number;
  /** Characters of this wall per second, since the event before. */
  speed: number;
  /** Texts that shared a step, in the mean of the steps since the event before; 0 if there was none. */
  share: number;
  /** Milliseconds from joining to the first character, in the median of the last texts; null before the first. */
  first: number | null;
}

/** A text on a wall. */
export class Line {
  readonly #controller = new AbortController();
  readonly #begun = performance.now();
  /** Milliseconds from joining to the first character. */
  first: number | undefined;
  /** Characters that were written. */
  length = 0;

  constructor(
    readonly number: number,
    private readonly onText: (line: Line, text: string) => void,
    private readonly onEnd: (line: Line, reason: string) => void,
  ) {}

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  append(text: string): void {
    this.first ??= performance.now() - this.#begun;
    this.length += text.length;
    this.onText(this, text);
  }

  /** @param error why, where the text is not done */
  end(error?: unknown): void {
    this.onEnd(this, error === undefined ? 'done' : errorBodyOf(error).message);
  }

  leave(reason: Error): void {
    this.#controller.abort(reason);
  }
}

/** Texts of one visitor, of which any number is written at the same time and sent as one stream. */
export class Wall {
  readonly id = randomUUID();
  readonly #lines = new Map<number, Line>();
  readonly #firsts: number[] = [];
  #last = 0;
  #changes: Changes = { began: [], texts: {}, ended: [] };
  #unsent = 0;
  #since: { time: number; steps: number; batches: number };
  /** Texts that wait for the reader. */
  readonly #waiting = new Set<() => void>();

  constructor(
    readonly stream: EventStream,
    private readonly writer: Writer,
    private readonly network: Batched<Network>,
  ) {
    this.#since = this.#now();
    stream.signal.addEventListener('abort', () => {
      this.clear(stream.signal.reason as Error);
      this.#wake();
    });
  }

  /** Sends an event ten times a second. Rejects with the reason when the stream ends. */
  async run(everywhere: () => number): Promise<never> {
    await this.stream.send('wall', { id: this.id });
    for (;;) {
      await this.stream.send('changes', this.#take(everywhere()));
      await sleep(PERIOD);
    }
  }

  /** A new text, which its caller writes. */
  begin(prompt: string): Line {
    const line = new Line(++this.#last, this.#onText, this.#onEnd);
    this.#lines.set(line.number, line);
    this.#changes.began.push([line.number, prompt]);
    return line;
  }

  /** Writes a text, to its end, or until it has to leave. */
  async write(line: Line, order: Order): Promise<void> {
    try {
      // The texts of a wall take turns with those of others.
      for await (const text of this.writer.write(order, { signal: line.signal, tenant: this })) {
        line.append(text);
        if (this.#unsent >= MOST_UNSENT && !this.stream.signal.aborted) {
          await this.#room(line.signal);
        }
      }
      line.end();
    } catch (error) {
      line.end(error);
    }
  }

  /** Ends texts; numbers of others, such as those that have ended, are ignored. */
  leave(numbers: Iterable<number>, reason: Error): void {
    for (const number of numbers) this.#lines.get(number)?.leave(reason);
  }

  /** Ends all texts. */
  clear(reason: Error): void {
    this.leave(this.#lines.keys(), reason);
  }

  /** Shows how far a race is. */
  tell(race: RaceReport): void {
    this.#changes.race = race;
  }

  readonly #onText = ({ number, first = 0, length }: Line, text: string): void => {
    if (length === text.length) this.#firsts.push(first);
    if (this.#firsts.length > RECENT) this.#firsts.shift();
    this.#changes.texts[number] = (this.#changes.texts[number] ?? '') + text;
    this.#unsent += text.length;
  };

  readonly #onEnd = ({ number }: Line, reason: string): void => {
    this.#lines.delete(number);
    this.#changes.ended.push([number, reason]);
  };

  /** What has happened since the last call. */
  #take(everywhere: number): Changes {
    const now = this.#now();
    const { time, steps, batches } = this.#since;
    const firsts = this.#firsts.toSorted((a, b) => a - b);
    const figures = {
      writing: this.#lines.size,
      everywhere,
      speed: Math.round((1000 * this.#unsent) / (now.time - time)),
      share: now.batches === batches ? 0 : (now.steps - steps) / (now.batches - batches),
      first: firsts[firsts.length >> 1] ?? null,
    };
    const changes = { ...this.#changes, figures };
    this.#since = now;
    this.#changes = { began: [], texts: {}, ended: [] };
    this.#unsent = 0;
    this.#wake();
    return changes;
  }

  /** Resolves when the reader has read, or the text is to leave. */
  #room(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const goOn = () => {
        signal.removeEventListener('abort', goOn);
        this.#waiting.delete(goOn);
        resolve();
      };
      this.#waiting.add(goOn);
      signal.addEventListener('abort', goOn);
      if (signal.aborted) goOn();
    });
  }

  #wake(): void {
    for (const goOn of this.#waiting) goOn();
  }

  #now(): { time: number; steps: number; batches: number } {
    const { settled, batches } = this.network.step.queue.stats();
    return { time: performance.now(), steps: settled, batches };
  }
}
