import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import {
  Inject,
  Injectable,
  Module,
  type NestApplicationOptions,
  type OnApplicationBootstrap,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';
import { ModuleRef, NestFactory, SerializedGraph } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  BatchingRegistry,
  getBatchedToken,
  InjectBatched,
} from '../index.js';

/** Loads its weights when its module is initialised. */
@Injectable()
class Model implements OnModuleInit {
  weights = 0;

  async onModuleInit(): Promise<void> {
    await setTimeout(5);
    this.weights = 3;
  }

  @BatchedService(8, 0)
  run(inputs: number[]): number[] {
    return inputs.map((input) => input * this.weights);
  }
}

@Injectable()
class Caller implements OnModuleInit {
  inInit: unknown;

  constructor(@InjectBatched(Model) readonly model: Batched<Model>) {}

  async onModuleInit(): Promise<void> {
    this.inInit = await this.model.run(2).catch((error: unknown) => error);
  }
}

const message = (why: string) =>
  new Error(
    `Model.run is used while onModuleInit() of Model ${why}import ModelModule into the module whose hook uses it, so that ` +
      'Nest initialises it first, or use it from onApplicationBootstrap() on',
  );

async function start(imports: (new () => object)[], providers: Provider[] = []) {
  const app = await Test.createTestingModule({
    imports: [BatchingModule.forRoot(), ...imports],
    providers,
  }).compile();
  await app.init();
  return app;
}

/** Nest 11 calls the hooks of one module all at once, so there a batch of the same module fails at once. */
const { version } = createRequire(import.meta.url)('@nestjs/core/package.json') as { version: string };
const isOrdered = Number.parseInt(version) >= 12;
const inOrder = isOrdered ? it : it.skip;
process.stderr.write(
  `SKIPPED: hooks of ${isOrdered ? 'Nest 11, which calls those of one module all at once' : 'Nest 12, which calls them in order'}: this is Nest ${version}\n`,
);

describe('a batch that a hook asks for', () => {
  @Module({ providers: [Model], exports: [Model] })
  class ModelModule {}

  it('runs after onModuleInit of its provider in an imported module', async () => {
    @Module({ imports: [ModelModule], providers: [Caller] })
    class CallerModule {}
    const app = await start([CallerModule]);
    expect(app.get(Caller).inInit).toBe(6);
    expect(Object.hasOwn(app.get(Model), 'onModuleInit')).toBe(false);
    await app.close();
  });

  inOrder(
    'runs after onModuleInit of its provider in the same module, whatever that depends on',
    async () => {
      const levels = Array.from({ length: 9 }, (_, index) => ({
        provide: `level ${index}`,
        inject: index === 0 ? [] : [`level ${index - 1}`],
        useFactory: () => index,
      }));
      @Injectable()
      class Deep extends Model {
        constructor(@Inject('level 8') readonly level: number) {
          super();
        }
      }
      @Injectable()
      class Helper {
        constructor(@InjectBatched(Deep) readonly view: Batched<Deep>) {}
      }
      @Injectable()
      class DeepCaller implements OnModuleInit {
        result = 0;
        constructor(private readonly helper: Helper) {}
        async onModuleInit(): Promise<void> {
          this.result = await this.helper.view.run(2);
        }
      }
      const app = await start([], [DeepCaller, Helper, Deep, ...levels]);
      expect(app.get(DeepCaller).result).toBe(6);
      await app.close();
    },
  );

  it('fails at once if the module of its provider is not imported and comes later, and says what to do', async () => {
    @Module({ providers: [Caller] })
    class CallerModule {}
    const app = await start([CallerModule, ModelModule]);
    expect(app.get(Caller).inInit).toEqual(message('has not run; '));
    expect(await app.get(Caller).model.run(2)).toBe(6);
    await app.close();
  });

  (isOrdered ? it.skip : it)('fails at once on Nest 11 if its provider is in the same module', async () => {
    const app = await start([], [Caller, Model]);
    expect(String(app.get(Caller).inInit)).toContain('used while onModuleInit() of Model has not run');
    await app.close();
  });

  it('fails at once if the hook of its provider asks for it', async () => {
    @Injectable()
    class Own extends Model {
      warmUp: unknown[] = [];
      @InjectBatched(Own) private readonly view!: Batched<Own>;

      override async onModuleInit(): Promise<void> {
        const all = [this.view.run(1), ...this.view.run.submitMany([2, 3])];
        this.warmUp = (await Promise.allSettled(all)).map(({ status }) => status);
        await super.onModuleInit();
      }
    }
    const app = await start([], [Own]);
    expect(app.get(Own).warmUp).toEqual(['rejected', 'rejected', 'rejected']);
    await app.close();
  });

  inOrder('does not hang in a circle of two', async () => {
    @Injectable()
    class Left extends Model {
      answer: unknown;
      constructor(private readonly modules: ModuleRef) {
        super();
      }
      override async onModuleInit(): Promise<void> {
        const right = this.modules.get(BatchingRegistry, { strict: false }).view(Right);
        this.answer = await right.run(1).catch(() => 'too early');
        await super.onModuleInit();
      }
    }
    @Injectable()
    class Right extends Model {
      answer: unknown;
      @InjectBatched(Left) private readonly left!: Batched<Left>;
      override async onModuleInit(): Promise<void> {
        this.answer = await this.left.run(1).catch(() => 'too early');
        await super.onModuleInit();
      }
    }
    const app = await start([], [Left, Right]);
    expect([app.get(Left).answer, app.get(Right).answer]).toEqual(['too early', 3]);
    await app.close();
  });

  it('runs from onApplicationBootstrap on, wherever its provider is', async () => {
    @Injectable()
    class Late implements OnApplicationBootstrap {
      result = 0;
      @InjectBatched(Model) private readonly model!: Batched<Model>;
      async onApplicationBootstrap(): Promise<void> {
        this.result = await this.model.run(2);
      }
    }
    @Module({ providers: [Late] })
    class LateModule {}
    const app = await start([LateModule, ModelModule]);
    expect(app.get(Late).result).toBe(6);
    await app.close();
  });

  it('fails if onModuleInit of its provider fails, as the application does', async () => {
    @Injectable()
    class Broken extends Model {
      override onModuleInit(): Promise<void> {
        throw new Error('no weights');
      }
    }
    await expect(start([], [Broken])).rejects.toThrow('no weights');
  });
});

describe('a batch that is asked for while Nest creates the providers', () => {
  it('runs at once', async () => {
    const user = {
      provide: 'user',
      inject: [Model, getBatchedToken(Model)],
      useFactory: (_: Model, view: Batched<Model>) => view.run(2),
    };
    const app = await start([], [Model, user]);
    expect(app.get<unknown>('user')).toBe(0);
    expect(await app.get(BatchingRegistry).view(Model).run(2)).toBe(6);
    await app.close();
  });
});

describe('the graph for the devtools', () => {
  it('shows what is behind a view as its dependency', async () => {
    @Module({ imports: [BatchingModule.forRoot()], providers: [Model, Caller] })
    class AppModule {}
    const options: Pick<NestApplicationOptions, 'snapshot' | 'logger'> = { snapshot: true, logger: false };
    const app = await NestFactory.createApplicationContext(AppModule, options);
    const graph = JSON.parse(app.get(SerializedGraph).toString()) as {
      nodes: Record<string, { label: string }>;
      edges: Record<string, { source: string; target: string; metadata: { type: string } }>;
    };
    const edges = Object.values(graph.edges)
      .filter(({ metadata }) => metadata.type === 'class-to-class')
      .map(({ source, target }) => `${graph.nodes[source]?.label} -> ${graph.nodes[target]?.label}`);
    expect(edges).toContain(`Caller -> ${getBatchedToken(Model)}`);
    expect(edges).toContain(`${getBatchedToken(Model)} -> Model`);
    await app.close();
  });
});
