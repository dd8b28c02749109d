import { ApiError } from '@app/serving';
import { Injectable } from '@nestjs/common';
import { type Batched, InjectBatched } from 'nest-batching';
import { unevenTexts } from './load.js';
import { Network } from './network.js';
import { StaticBatches } from './static-batches.js';
import { Streams } from './streams.js';
import type { Line, Wall } from './wall.js';
import type { Order } from './writer.js';
import type { RaceCall } from './writing.dto.js';

/** How a race stands: what has run so far, in the order in which it ran. */
export interface RaceReport {
  readonly streams: number;
  readonly texts: number;
  readonly isOver: boolean;
  /** Whether it ended early, as a text of it was made to leave. */
  readonly isCancelled: boolean;
  readonly runs: readonly Run[];
}

interface Run {
  readonly batches: 'continuous' | 'static';
  /** Texts done. */
  readonly done: number;
  /** Characters per second. */
  readonly speed: number;
  /** Milliseconds from the moment at which a text was asked for to its first character. */
  readonly firstP50: number;
  readonly firstP99: number;
  /** Texts that shared a step, in the mean. */
  readonly share: number;
  readonly seconds: number;
}

/** The same texts, written in continuous batches and then in static ones, on a wall. */
@Injectable()
export class Race {
  #isRunning = false;

  constructor(
    @InjectBatched(StaticBatches) private readonly statics: Batched<StaticBatches>,
    @InjectBatched(Network) private readonly network: Batched<Network>,
    private readonly streams: Streams,
  ) {}

  /**
   * Clears the wall and begins a race on it.
   *
   * @throws {ApiError} 503 while another race runs, or where there are not as many places
   */
  begin(wall: Wall, call: RaceCall): void {
    if (this.#isRunning) {
      throw new ApiError(503, 'ERR_RACE_RUNNING', 'another race runs, and two would slow each other down', {
        retryAfter: 10,
      });
    }
    // The texts of the wall have their places until their loops end; a wall whose race is refused keeps them.
    const leave = this.streams.takePlaces(call.streams);
    wall.clear(new ApiError(409, 'ERR_RACE', 'a race began on this wall'));
    this.#isRunning = true;
    void this.#run(wall, call).finally(() => {
      this.#isRunning = false;
      for (let i = 0; i < call.streams; i++) leave();
    });
  }

  async #run(wall: Wall, { streams, texts, seed }: RaceCall): Promise<void> {
    const runs: Run[] = [];
    const report = (run?: Run, { isOver = false, isCancelled = false } = {}) => {
      wall.tell({ streams, texts, isOver, isCancelled, runs: run ? [...runs, run] : [...runs] });
    };
    for (const batches of ['continuous', 'static'] as const) {
      const run = await this.#measure(wall, batches, streams, unevenTexts(texts, seed), report);
      const isCancelled = run.done < texts;
      if (isCancelled) {
        report(run, { isOver: true, isCancelled });
        return;
      }
      runs.push(run);
    }
    report(undefined, { isOver: true });
  }

  /** Writes the texts, `streams` at a time, until one is made to leave: with others in its place the runs could not be compared. */
  async #measure(
    wall: Wall,
    batches: Run['batches'],
    streams: number,
    orders: readonly Order[],
    onProgress: (run: Run) => void,
  ): Promise<Run> {
    const begin = performance.now();
    const before = this.network.step.queue.stats();
    const firsts: number[] = [];
    let [next, done, characters] = [0, 0, 0];
    let hasLeft = false;
    const result = (): Run => {
      const seconds = (performance.now() - begin) / 1000;
      const { settled, batches: ran } = this.network.step.queue.stats();
      const sorted = firsts.toSorted((a, b) => a - b);
      const quantile = (share: number) => sorted[Math.floor(share * sorted.length)] ?? 0;
      return {
        batches,
        done,
        speed: Math.round(characters / seconds),
        firstP50: quantile(0.5),
        firstP99: quantile(0.99),
        share: (settled - before.settled) / Math.max(ran - before.batches, 1),
        seconds,
      };
    };
    const stream = async () => {
      for (let order; !hasLeft && (order = orders[next++]);) {
        const line = wall.begin(order.prompt);
        if (batches === 'continuous') await wall.write(line, order);
        else await this.#writeStatic(line, order);
        if (line.first !== undefined) firsts.push(line.first);
        characters += line.length;
        if (line.length === order.length) done += 1;
        else hasLeft = true;
        onProgress(result());
      }
    };
    await Promise.all(Array.from({ length: streams }, stream));
    return result();
  }

  /** Resolves with the last character, as its reader has the whole text then; the batch goes on. */
  async #writeStatic(line: Line, order: Order): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        const onText = (text: string) => {
          line.append(text);
          if (line.length === order.length) resolve();
        };
        const { signal } = line;
        this.statics.write({ order, onText, signal }, { signal }).catch(reject);
      });
      line.end();
    } catch (error) {
      line.end(error);
    }
  }
}
