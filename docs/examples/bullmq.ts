import { BullModule, Processor, WorkerHost } from '@nestjs/bullmq';
import { Inject, Injectable, Module, type OnModuleDestroy } from '@nestjs/common';
import { type Job, UnrecoverableError } from 'bullmq';
import { type Batched, BatchedService, BatchingModule, InjectBatched } from 'nest-batching';

export interface Article {
  id: string;
  text: string;
}

/** The application provides it. */
export abstract class SearchEngine {
  /** One request for all: per article a status as of HTTP, in their order. */
  abstract bulk(articles: readonly Article[]): Promise<{ id: string; status: number }[]>;
}

const BATCH_SIZE = 32;

@Injectable()
export class SearchIndex {
  constructor(@Inject(SearchEngine) private readonly engine: SearchEngine) {}

  @BatchedService(BATCH_SIZE, 20)
  async put(articles: readonly Article[]): Promise<(string | Error)[]> {
    const answers = await this.engine.bulk(articles);
    return answers.map(({ id, status }) => {
      if (status < 400) return id;
      const reason = `${id} was refused: ${status}`;
      return status < 500 ? new UnrecoverableError(reason) : new Error(reason); // the latter is tried again
    });
  }
}

/** After so long without a sign of life from its worker a job is given to another one, ms. */
const lockDuration = Number(process.env.LOCK_DURATION ?? 30_000);

// Two batches: one runs, and the next fills meanwhile.
@Processor('articles', {
  concurrency: 2 * BATCH_SIZE,
  lockDuration,
  stalledInterval: lockDuration,
  maxStalledCount: 5,
})
export class ArticlesWorker extends WorkerHost implements OnModuleDestroy {
  constructor(@InjectBatched(SearchIndex) private readonly index: Batched<SearchIndex>) {
    super();
  }

  process(job: Job<Article>): Promise<string> {
    return this.index.put(job.data); // one job, one result or one error
  }

  /** Takes no more jobs and finishes those it has, before the queues stop. */
  async onModuleDestroy(): Promise<void> {
    await this.worker.close();
  }
}

@Module({
  imports: [
    BullModule.forRoot({ connection: { url: process.env.REDIS_URL } }),
    BullModule.registerQueue({ name: 'articles' }),
    BatchingModule.forRoot(),
  ],
  providers: [SearchIndex, ArticlesWorker],
})
export class WorkerModule {}
