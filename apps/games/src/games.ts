import { type DynamicModule, Inject, Injectable, Module } from '@nestjs/common';
import { randomNumbers } from '@app/figures';
import { type Batched, BatchingModule, InjectBatched } from 'nest-batching';
import { CartPole, type Observation } from './cart-pole.js';
import { NetworkSettings, PolicyNetwork, SESSIONS } from './policy-network.js';
import { Ppo, type Transition } from './ppo.js';

/** What is known after each update of the network. */
export interface Progress {
  /** Steps played so far, by all sessions together. */
  readonly steps: number;
  /** The games that have ended, one after the other. */
  readonly ended: readonly EndedGame[];
  /** Mean return of the last 100 of them; 0 as long as there are fewer. */
  readonly mean: number;
  /** Observations per batch since the update before. */
  readonly meanBatch: number;
}

export interface EndedGame {
  /** The sum of its rewards. */
  readonly return: number;
  /** Steps that all sessions together had played when it ended. */
  readonly steps: number;
}

/** One game of each session, played without learning. */
export interface PlayedGames {
  /** Of each game what was seen, from its start to its end. */
  readonly games: readonly (readonly Observation[])[];
  /** How often the network ran for all of them, as counted by its queue. */
  readonly runs: number;
}

/** The mean return of 100 games in a row with which Gym counts CartPole-v1 as solved. */
export const TARGET = 475;

/** Steps that each session plays between two updates. */
const ROLLOUT = 64;

@Injectable()
export class Games {
  readonly #random: () => number;

  constructor(
    @InjectBatched(PolicyNetwork) private readonly policy: Batched<PolicyNetwork>,
    @Inject(PolicyNetwork) private readonly network: PolicyNetwork,
    @Inject(Ppo) private readonly ppo: Ppo,
    @Inject(NetworkSettings) { seed }: NetworkSettings,
  ) {
    this.#random = randomNumbers(seed);
  }

  /** All sessions play, then the network learns from that, and so on for as long as the caller asks for more. */
  async *train(): AsyncGenerator<Progress, never> {
    const games = this.#newGames();
    const ended: EndedGame[] = [];
    for (let steps = 0; ;) {
      this.network.explores = true;
      const batchesBefore = this.policy.act.queue.stats().batches;
      const rollouts = await Promise.all(
        games.map((game) => play(game, this.policy, (count) => count === ROLLOUT)),
      );
      const meanBatch = (SESSIONS * ROLLOUT) / (this.policy.act.queue.stats().batches - batchesBefore);
      await this.ppo.learn(rollouts);
      ended.push(...endedGames(rollouts, steps));
      steps += SESSIONS * ROLLOUT;
      const last = ended.slice(-100);
      const sum = last.reduce((total, game) => total + game.return, 0);
      yield { steps, ended, mean: last.length < 100 ? 0 : sum / 100, meanBatch };
    }
  }

  /**
   * Each session plays one new game greedily: it takes the likelier action and tries nothing. What it saw, from the start to
   * the end, is returned. The games begin at the same 100 observations in every call, where no game of the training begins.
   */
  async playGreedily(): Promise<PlayedGames> {
    this.network.explores = false;
    const runsBefore = this.policy.act.queue.stats().batches;
    const games = await Promise.all(
      Array.from({ length: SESSIONS }, async (_, i) => {
        const game = new CartPole(randomNumbers(-1 - i));
        const start = game.observation;
        const played = await play(game, this.policy, (_count, isOver) => isOver);
        return [start, ...played.map(({ next }) => next)];
      }),
    );
    return { games, runs: this.policy.act.queue.stats().batches - runsBefore };
  }

  /** Environment steps per second of all sessions together, measured for so long, with batches of at most `batchSize`. */
  async measure(batchSize: number, milliseconds: number): Promise<number> {
    this.policy.act.queue.batchSize = batchSize;
    const games = this.#newGames();
    const begin = performance.now();
    const isLate = () => performance.now() - begin >= milliseconds;
    const rollouts = await Promise.all(games.map((game) => play(game, this.policy, isLate)));
    return (1000 * rollouts.flat().length) / (performance.now() - begin);
  }

  #newGames(): CartPole[] {
    return Array.from({ length: SESSIONS }, () => new CartPole(randomNumbers(this.#random() * 2 ** 32)));
  }
}

/**
 * One session, written as if it were alone. It goes on with its game from where that stands; a game that is over is
 * followed by the next, so that all sessions have something to ask in every round and batches stay full.
 */
async function play(
  game: CartPole,
  policy: Batched<PolicyNetwork>,
  isEnough: (count: number, isOver: boolean) => boolean,
): Promise<Transition[]> {
  const played: Transition[] = [];
  do {
    if (game.isOver) game.reset();
    const { observation } = game;
    const action = await policy.act(observation);
    played.push({ observation, action, ...game.step(action) });
  } while (!isEnough(played.length, game.isOver));
  return played;
}

/** Those of all sessions, in the order in which they ended. */
function endedGames(rollouts: readonly (readonly Transition[])[], stepsBefore: number): EndedGame[] {
  return rollouts
    .flatMap((rollout) =>
      rollout.flatMap(({ gained, terminated, truncated }, i) =>
        terminated || truncated ? [{ return: gained, steps: stepsBefore + (i + 1) * SESSIONS }] : [],
      ),
    )
    .sort((one, other) => one.steps - other.steps);
}

@Module({ imports: [BatchingModule.forRoot()], providers: [PolicyNetwork, Ppo, Games] })
export class GamesModule {
  /** @param imports what else the application has */
  static with(settings: NetworkSettings, imports: DynamicModule[] = []): DynamicModule {
    const provider = { provide: NetworkSettings, useValue: settings };
    return { module: GamesModule, imports, providers: [provider] };
  }
}
