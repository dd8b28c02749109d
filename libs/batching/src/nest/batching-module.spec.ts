import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, expect, it, jest } from '@jest/globals';
import {
  type CanActivate,
  Controller,
  Inject,
  Injectable,
  Logger,
  Module,
  type ModuleMetadata,
  type OnModuleInit,
  Scope,
  UseGuards,
} from '@nestjs/common';
import { LazyModuleLoader, REQUEST } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  BatchingRegistry,
  getBatchedToken,
  InjectBatched,
  SerialService,
} from '../index.js';

const secret = Symbol('secret');

@Injectable()
class Squares {
  readonly batches: number[][] = [];
  readonly factor: number = 1;

  @BatchedService(3, 1)
  square(numbers: readonly number[]): Promise<number[]> {
    this.batches.push([...numbers]);
    return Promise.resolve(numbers.map((number) => this.factor * number * number));
  }

  helper(text: string): string {
    return text;
  }
}

@Injectable()
class Caller {
  constructor(@InjectBatched(Squares) readonly squares: Batched<Squares>) {}
}

function build(metadata: ModuleMetadata) {
  return Test.createTestingModule({
    ...metadata,
    imports: [BatchingModule.forRoot(), ...(metadata.imports ?? [])],
  });
}

async function compile(metadata: ModuleMetadata) {
  return build(metadata).compile();
}

/** The error of an application that does not start. */
async function refusal(metadata: ModuleMetadata): Promise<string> {
  const app = await compile(metadata);
  const error: unknown = await app.init().catch((reason: unknown) => reason);
  return error instanceof Error ? error.message : 'it started';
}

describe('a view', () => {
  it('takes one input per call; all callers share one queue', async () => {
    @Injectable()
    class Other {
      @InjectBatched(Squares) readonly squares!: Batched<Squares>;
    }
    const app = await compile({ providers: [Squares, Caller, Other] });
    await app.init();
    const [caller, other] = [app.get(Caller), app.get(Other)];
    const results = [
      caller.squares.square(1),
      other.squares.square(2),
      ...caller.squares.square.submitMany([3, 4]),
    ];
    expect(await Promise.all(results)).toEqual([1, 4, 9, 16]);
    expect(app.get(Squares).batches).toEqual([[1, 2, 3], [4]]);
    expect(app.get(BatchingRegistry).list()).toEqual(['Squares.square']);
    expect(caller.squares.square.queue).toBe(app.get(BatchingRegistry).get('Squares.square'));
    expect(app.get<unknown>(getBatchedToken(Squares))).toBe(caller.squares);
    expect(app.get(BatchingRegistry).view(Squares)).toBe(caller.squares);
    await app.close();
  });

  it('does not change the provider itself, which has its array method', async () => {
    const app = await compile({ providers: [Squares] });
    expect(await app.get(Squares).square([2, 3])).toEqual([4, 9]);
  });

  it('has a method whose name is a symbol', async () => {
    class Service {
      @BatchedService(8, 0)
      [secret](texts: string[]): string[] {
        return texts.map((text) => `${text}!`);
      }
    }
    const app = await compile({ providers: [Service] });
    await app.init();
    expect(app.get(BatchingRegistry).list()).toEqual(['Service[Symbol(secret)]']);
    expect(await app.get(BatchingRegistry).view(Service)[secret]('a')).toBe('a!');
  });

  it('rejects one caller with an error in its result’s place', async () => {
    class Service {
      @BatchedService(2, 0)
      parse(texts: string[]): (number | Error)[] {
        return texts.map((text) => (text === 'x' ? new Error('no number') : Number(text)));
      }
    }
    const app = await compile({ providers: [Service] });
    const { parse } = app.get(BatchingRegistry).view(Service);
    const [good, bad] = await Promise.allSettled([parse('1'), parse('x')]);
    expect(good).toEqual({ status: 'fulfilled', value: 1 });
    expect(bad).toMatchObject({ status: 'rejected', reason: new Error('no number') });
  });

  it('calls the method on the instance, so that a test can spy on it', async () => {
    const app = await compile({ providers: [Squares, Caller] });
    const spy = jest.spyOn(app.get(Squares), 'square').mockResolvedValue([7]);
    expect(await app.get(Caller).squares.square(3)).toBe(7);
    expect(spy.mock.calls).toEqual([[[3], { signal: expect.any(AbortSignal) }]]);
  });

  it('runs a serial method one call at a time, in order', async () => {
    class Device {
      readonly log: string[] = [];

      @SerialService()
      async load(path: string): Promise<number> {
        this.log.push(`${path} begins`);
        await new Promise(setImmediate);
        this.log.push(`${path} ends`);
        return path.length;
      }
    }
    const app = await compile({ providers: [Device] });
    const { load } = app.get(BatchingRegistry).view(Device);
    expect(await Promise.all([load('a'), load('bb')])).toEqual([1, 2]);
    expect(app.get(Device).log).toEqual(['a begins', 'a ends', 'bb begins', 'bb ends']);
  });

  it('throws an error that names a method that is not marked', async () => {
    const app = await compile({ providers: [Squares, Caller] });
    expect(() => app.get(Caller).squares.helper).toThrow('Squares.helper is not marked');
  });
});

describe('a view calls what is provided', () => {
  const fake = { square: (numbers: readonly number[]) => Promise.resolve(numbers.map(() => 42)) };

  it('a fake by overrideProvider', async () => {
    const app = await build({ providers: [Squares, Caller] })
      .overrideProvider(Squares)
      .useValue(fake)
      .compile();
    await app.init();
    expect(await app.get(Caller).squares.square(1)).toBe(42);
    expect(app.get(BatchingRegistry).list()).toEqual(['Squares.square']);
  });

  it('another class by overrideProvider, with its own marks', async () => {
    class Eager {
      @BatchedService(7, 0)
      square(numbers: readonly number[]): number[] {
        return numbers.map(() => 7);
      }
    }
    const app = await build({ providers: [Squares, Caller] })
      .overrideProvider(Squares)
      .useClass(Eager)
      .compile();
    const { square } = app.get(Caller).squares;
    expect(await square(1)).toBe(7);
    expect(square.queue.batchSize).toBe(7);
    expect(square.queue.name).toBe('Squares.square');
  });

  it('a fake in place of the view itself', async () => {
    const app = await Test.createTestingModule({
      providers: [
        Caller,
        { provide: getBatchedToken(Squares), useValue: { square: () => Promise.resolve(5) } },
      ],
    }).compile();
    expect(await app.get(Caller).squares.square(1)).toBe(5);
  });

  it('a fake for the view by overrideProvider', async () => {
    const view = { square: () => Promise.resolve(6) };
    const testing = build({ providers: [Squares, Caller] }).overrideProvider(getBatchedToken(Squares));
    const app = await testing.useValue(view).compile();
    await app.init();
    expect(app.get(Caller).squares).toBe(view);
    expect(app.get<unknown>(getBatchedToken(Squares))).toBe(view);
  });

  it('a fake without the method: its callers get an error', async () => {
    const app = await build({ providers: [Squares, Caller] })
      .overrideProvider(Squares)
      .useValue({})
      .compile();
    await expect(app.get(Caller).squares.square(1)).rejects.toThrow(
      'Squares.square: the provided instance has no such method',
    );
  });

  it('useClass, useFactory and useValue', async () => {
    class Tripled extends Squares {
      override readonly factor = 3;
    }
    const factory = { provide: Squares, useFactory: () => Promise.resolve(new Tripled()) };
    for (const provider of [
      { provide: Squares, useClass: Tripled },
      factory,
      { provide: Squares, useValue: new Tripled() },
    ]) {
      const app = await compile({ providers: [provider, Caller] });
      await app.init();
      expect(await app.get(Caller).squares.square(2)).toBe(12);
      expect(app.get(BatchingRegistry).list()).toEqual(['Squares.square']);
    }
  });

  it('useExisting: both names share one queue', async () => {
    abstract class Shapes {
      abstract square(numbers: readonly number[]): Promise<number[]>;
    }
    class ShapesCaller {
      @InjectBatched(Shapes) readonly shapes!: Batched<Shapes>;
    }
    const alias = { provide: Shapes, useExisting: Squares };
    const app = await compile({ providers: [alias, Squares, Caller, ShapesCaller] });
    const results = [app.get(ShapesCaller).shapes.square(1), app.get(Caller).squares.square(2)];
    expect(await Promise.all(results)).toEqual([1, 4]);
    expect(app.get(Squares).batches).toEqual([[1, 2]]);
    expect(app.get(BatchingRegistry).list()).toEqual(['Squares.square']);
  });

  it('an abstract class that another implements', async () => {
    abstract class Classifier {
      abstract classify(images: string[]): Promise<number[]>;
    }
    class LengthClassifier extends Classifier {
      @BatchedService(8, 0)
      override classify(images: string[]): Promise<number[]> {
        return Promise.resolve(images.map((image) => image.length));
      }
    }
    @Injectable()
    class User {
      constructor(@InjectBatched(Classifier) readonly classifier: Batched<Classifier>) {}
    }
    const app = await compile({ providers: [{ provide: Classifier, useClass: LengthClassifier }, User] });
    await app.init();
    expect(await app.get(User).classifier.classify('four')).toBe(4);
    expect(app.get(BatchingRegistry).list()).toEqual(['Classifier.classify']);
  });

  it('inherited marks, but not a method that overrides a marked one without a mark', async () => {
    class Inheriting extends Squares {}
    class Overriding extends Squares {
      override square(numbers: readonly number[]): Promise<number[]> {
        return super.square(numbers);
      }

      @BatchedService(2, 0)
      double(numbers: number[]): number[] {
        return numbers.map((number) => 2 * number);
      }
    }
    const app = await compile({ providers: [Inheriting, Overriding] });
    await app.init();
    const registry = app.get(BatchingRegistry);
    expect(registry.list()).toEqual(['Inheriting.square', 'Overriding.double']);
    expect(await registry.view(Inheriting).square(3)).toBe(9);
    expect(() => registry.view(Overriding).square).toThrow('Overriding.square is not marked');
  });

  it('not a method that the provided subclass overrides without a mark', async () => {
    class Unmarked extends Squares {
      override square(numbers: readonly number[]): Promise<number[]> {
        return super.square(numbers);
      }

      @SerialService()
      load(path: string): string {
        return path;
      }
    }
    const app = await compile({ providers: [{ provide: Squares, useClass: Unmarked }, Caller] });
    await app.init();
    expect(app.get(BatchingRegistry).list()).toEqual(['Squares.load']);
    expect(() => app.get(Caller).squares.square).toThrow('Squares.square is not marked');
  });

  it('two subclasses of one class each have their own queue and token', async () => {
    class Left extends Squares {}
    class Right extends Squares {}
    expect(new Set([Squares, Left, Right].map(getBatchedToken)).size).toBe(3);
    const app = await compile({ providers: [Left, Right] });
    const registry = app.get(BatchingRegistry);
    await Promise.all([registry.view(Left).square(1), registry.view(Right).square(2)]);
    expect(app.get(Left).batches).toEqual([[1]]);
    expect(app.get(Right).batches).toEqual([[2]]);
  });
});

describe('applications', () => {
  @Module({ imports: [BatchingModule.forRoot()], providers: [Squares, Caller] })
  class AppModule {}

  it('share nothing, even with the same module class', async () => {
    const apps = await Promise.all(
      [1, 2].map(() => Test.createTestingModule({ imports: [AppModule] }).compile()),
    );
    await Promise.all(apps.map((app) => app.init()));
    const [one, two] = apps.map((app) => app.get(Caller));
    await Promise.all([one?.squares.square(1), two?.squares.square(2)]);
    expect(apps.map((app) => app.get(Squares).batches)).toEqual([[[1]], [[2]]]);
    await apps[0]?.close();
    expect(await two?.squares.square(3)).toBe(9);
    await expect(one?.squares.square(3)).rejects.toThrow('Squares.square was stopped');
  });

  it('work before init()', async () => {
    const app = await Test.createTestingModule({ imports: [AppModule] }).compile();
    expect(await app.get(Caller).squares.square(2)).toBe(4);
    const { queue } = app.get(Caller).squares.square;
    await app.init();
    expect(app.get(BatchingRegistry).get('Squares.square')).toBe(queue);
  });

  it('may have a plain function as a token', async () => {
    const token = () => 'token';
    const app = await compile({ providers: [Squares, { provide: token, useValue: {} }] });
    await app.init();
    expect(app.get(BatchingRegistry).list()).toEqual(['Squares.square']);
  });

  it('work in onModuleInit of another provider', async () => {
    @Injectable()
    class Early implements OnModuleInit {
      result = 0;
      @InjectBatched(Squares) private readonly squares!: Batched<Squares>;

      async onModuleInit(): Promise<void> {
        this.result = await this.squares.square(5);
      }
    }
    const app = await compile({ providers: [Early, Squares] });
    await app.init();
    expect(app.get(Early).result).toBe(25);
  });

  it('throw an error for a view that is used in a constructor', async () => {
    @Injectable()
    class TooEarly {
      readonly first: Promise<number>;

      constructor(@InjectBatched(Slow) slow: Batched<Slow>) {
        this.first = slow.run(1);
      }
    }
    const slow = {
      provide: Slow,
      useFactory: () => new Promise((resolve) => setImmediate(resolve, new Slow())),
    };
    await expect(compile({ providers: [TooEarly, slow] })).rejects.toThrow(
      'Slow is used before Nest has created it; use its view from onModuleInit on',
    );
  });

  it('have the view of a class that is first injected while they start', async () => {
    @Injectable()
    class Fresh extends Squares {}
    const early = { provide: 'early', useFactory: () => getBatchedToken(Fresh) };
    const app = await compile({ providers: [early, Fresh] });
    expect(app.get<unknown>(getBatchedToken(Fresh))).toBe(app.get(BatchingRegistry).view(Fresh));
  });

  it('inject views into request-scoped providers', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class ScopedCaller extends Caller {}
    const app = await compile({ providers: [Squares, ScopedCaller] });
    await app.init();
    const callers = await Promise.all([app.resolve(ScopedCaller), app.resolve(ScopedCaller)]);
    expect(callers[0]).not.toBe(callers[1]);
    expect(await Promise.all(callers.map(({ squares }) => squares.square(2)))).toEqual([4, 4]);
    expect(app.get(Squares).batches).toEqual([[2, 2]]);
  });

  it('may load this library twice, as ESM and as CommonJS', async () => {
    jest.resetModules();
    const copy = await import('../index.js');
    expect(copy.BatchedService).not.toBe(BatchedService);

    class Service {
      @copy.BatchedService(2, 0)
      run(numbers: number[]): number[] {
        return numbers;
      }
    }
    @Injectable()
    class Both {
      constructor(
        @InjectBatched(Service) readonly here: Batched<Service>,
        @copy.InjectBatched(Service) readonly there: Batched<Service>,
      ) {}
    }
    const app = await compile({ providers: [Service, Both] });
    expect(copy.getBatchedToken(Service)).toBe(getBatchedToken(Service));
    expect(app.get(Both).there).toBe(app.get(Both).here);
    expect(await app.get(Both).there.run(1)).toBe(1);
  });

  it('call the hooks of a provider once, and not on its view', async () => {
    class Hooked extends Squares {
      readonly calls: string[] = [];
      onModuleInit(): void {
        this.calls.push('init');
      }
      onApplicationShutdown(): void {
        this.calls.push('shutdown');
      }
    }
    @Injectable()
    class HookedCaller {
      @InjectBatched(Hooked) readonly hooked!: Batched<Hooked>;
    }
    const app = await compile({ providers: [Hooked, HookedCaller] });
    await app.init();
    const { calls } = app.get(Hooked);
    await app.close();
    expect(calls).toEqual(['init', 'shutdown']);
  });

  it('do not run batches in a caller’s async context', async () => {
    const caller = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    class Observer {
      @BatchedService(1, 0)
      run(inputs: number[]): number[] {
        seen.push(caller.getStore());
        return inputs;
      }
    }
    const app = await compile({ providers: [Observer] });
    await caller.run('first caller', async () => {
      await app.get(BatchingRegistry).view(Observer).run(1);
      seen.push(caller.getStore());
    });
    expect(seen).toEqual([undefined, 'first caller']);
  });

  it('inject views into modules that are loaded lazily', async () => {
    const app = await compile({});
    const other = await compile({ providers: [Squares, Caller] });
    await Promise.all([app.init(), other.init()]);

    const { moduleRef, LazyUser, Lazy } = await loadLazily();
    expect(await moduleRef.get(LazyUser).lazy.run(1)).toBe(2);
    expect(await moduleRef.get(LazyUser).squares.square(3)).toBe(9);
    const registry = app.get(BatchingRegistry);
    expect(registry.list()).toEqual(['Lazy.run', 'Squares.square']);
    expect(registry.view(Lazy)).toBe(moduleRef.get(LazyUser).lazy);
    expect(other.get(BatchingRegistry).list()).toEqual(['Squares.square']);
    await app.close();
    await expect(moduleRef.get(LazyUser).lazy.run(1)).rejects.toThrow('Lazy.run was stopped');

    async function loadLazily() {
      @Injectable()
      class Lazy {
        @BatchedService(2, 0)
        run(numbers: number[]): number[] {
          return numbers.map((number) => number + 1);
        }
      }
      @Injectable()
      class LazyUser {
        constructor(
          @InjectBatched(Lazy) readonly lazy: Batched<Lazy>,
          @InjectBatched(Squares) readonly squares: Batched<Squares>,
        ) {}
      }
      @Module({ providers: [Lazy, LazyUser, Squares] })
      class LazyModule {}
      const moduleRef = await app.get(LazyModuleLoader).load(() => LazyModule);
      return { moduleRef, LazyUser, Lazy };
    }
  });
});

@Injectable()
class Slow {
  @BatchedService(2, 0)
  run(numbers: number[]): number[] {
    return numbers;
  }
}

describe('an application does not start, with an error that names the class,', () => {
  it('without BatchingModule', async () => {
    await expect(Test.createTestingModule({ providers: [Squares, Caller] }).compile()).rejects.toThrow(
      'the argument "Batched<Squares> of BatchingModule.forRoot()" at index [0]',
    );
  });

  it('with BatchingModule but without forRoot()', async () => {
    const app = Test.createTestingModule({ imports: [BatchingModule], providers: [Squares, Caller] });
    await expect(app.compile()).rejects.toThrow('BatchingModule is imported without forRoot()');
  });

  it('with forRoot() twice', async () => {
    @Module({ imports: [BatchingModule.forRoot()] })
    class FeatureModule {}
    expect(await refusal({ imports: [FeatureModule], providers: [Squares] })).toBe(
      'nest-batching cannot start\n' +
        '- BatchingModule.forRoot() is imported 2 times, and each import has queues of its own; ' +
        'import it once, in the root module',
    );
  });

  it('when a method of a controller is marked', async () => {
    @Controller()
    class SquaresController {
      @BatchedService(2, 0)
      square(numbers: number[]): number[] {
        return numbers;
      }
    }
    expect(await refusal({ controllers: [SquaresController] })).toContain(
      "- SquaresController.square is marked with @BatchedService(), but a controller's methods are called by Nest, " +
        'once per request; move it to a provider and inject that with @InjectBatched()',
    );
  });

  it('when a provider with a marked method is request-scoped', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Scoped extends Squares {}
    expect(await refusal({ providers: [Scoped] })).toContain(
      '- Scoped is request-scoped, and inputs of different instances cannot share a batch; ' +
        'make it a singleton, and let the input carry what belongs to one request',
    );
  });

  it('when a provider is request-scoped through a dependency', async () => {
    @Injectable()
    class User {
      constructor(@Inject(REQUEST) readonly request: unknown) {}
    }
    @Injectable()
    class Scoped extends Squares {
      constructor(readonly user: User) {
        super();
      }
    }
    @Injectable()
    class ScopedByProperty extends Squares {
      @Inject(User) readonly user!: User;
    }
    const message = await refusal({ providers: [Scoped, ScopedByProperty, User] });
    expect(message).toContain('- Scoped is request-scoped through its dependency User');
    expect(message).toContain('- ScopedByProperty is request-scoped through its dependency User');
  });

  it('when a provider is transient', async () => {
    @Injectable({ scope: Scope.TRANSIENT })
    class Scoped extends Squares {}
    expect(await refusal({ providers: [Scoped] })).toContain('- Scoped is transient, and inputs');
  });

  it('when no module provides a class whose view is injected', async () => {
    @Injectable()
    class Guard extends Caller implements CanActivate {
      canActivate(): boolean {
        return true;
      }
    }
    @Controller()
    @UseGuards(Guard)
    class PageController extends Caller {}
    const factory = {
      provide: 'factory',
      inject: [getBatchedToken(Squares)],
      useFactory: (view: unknown) => view,
    };
    expect(await refusal({ providers: [Caller, factory], controllers: [PageController] })).toContain(
      '- no module provides Squares (whose view is injected into Caller and factory and PageController and Guard); ' +
        'add it to the providers of one',
    );
  });

  it('when a class whose view is injected is provided under another token', async () => {
    expect(await refusal({ providers: [{ provide: 'SQUARES', useClass: Squares }, Caller] })).toContain(
      "- Squares (whose view is injected into Caller) is provided under 'SQUARES' only, and a view is found by its " +
        "class; add { provide: Squares, useExisting: 'SQUARES' } to the providers",
    );
    abstract class Port {
      abstract square(numbers: readonly number[]): Promise<number[]>;
    }
    expect(await refusal({ providers: [{ provide: Port, useValue: new Squares() }, Caller] })).toContain(
      '{ provide: Squares, useExisting: Port }',
    );
    const token = Symbol('squares');
    expect(await refusal({ providers: [{ provide: token, useClass: Squares }, Caller] })).toContain(
      'is provided under Symbol(squares) only',
    );
    const alias = { provide: Squares, useExisting: 'SQUARES' };
    const providers = [{ provide: 'SQUARES', useClass: Squares }, alias, Caller];
    expect(await refusal({ providers })).toBe('it started');
  });

  it('when nothing is marked in a class whose view is injected', async () => {
    @Injectable()
    class Plain {
      run(inputs: number[]): number[] {
        return inputs;
      }
    }
    @Injectable()
    class PlainCaller {
      @InjectBatched(Plain) readonly plain!: Batched<Plain>;
    }
    expect(await refusal({ providers: [Plain, PlainCaller] })).toContain(
      '- Plain (whose view is injected into PlainCaller) has no method marked with @BatchedService() or ' +
        '@SerialService(); mark one, or inject the class itself',
    );
  });

  it('when two modules provide a class', async () => {
    @Module({ providers: [Squares] })
    class LeftModule {}
    @Module({ providers: [Squares] })
    class RightModule {}
    expect(await refusal({ imports: [LeftModule, RightModule] })).toContain(
      '- Squares is provided by LeftModule and RightModule, each with an instance of its own, ' +
        'and inputs of different instances cannot share a batch; provide it in one module and export it from there',
    );
    const shared = { provide: Squares, useValue: new Squares() };
    @Module({ providers: [shared] })
    class SharedModule {}
    expect(await refusal({ imports: [SharedModule], providers: [shared] })).toBe('it started');
  });

  it('when two classes have one name', async () => {
    const twin = () => {
      class Twin extends Squares {}
      return Twin;
    };
    expect(await refusal({ providers: [twin(), twin()] })).toContain(
      '- two classes have a queue with the name Twin.square; rename one of the classes',
    );
  });

  it('when something else than an instance is provided', async () => {
    expect(await refusal({ providers: [{ provide: Squares, useValue: undefined }, Caller] })).toContain(
      '- Squares: expected an instance to be provided, got undefined',
    );
  });

  it('and lists all problems at once', async () => {
    @Injectable({ scope: Scope.TRANSIENT })
    class Scoped extends Squares {}
    @Controller()
    class SquaresController extends Squares {}
    const message = await refusal({ providers: [Scoped, Caller], controllers: [SquaresController] });
    expect(message.split('\n- ')).toHaveLength(4);
  });

  it('and has the same error at the first use before init()', async () => {
    const app = await compile({ providers: [Caller] });
    expect(() => app.get(Caller).squares.square).toThrow(
      'no module provides Squares (whose view is injected into Caller)',
    );
  });
});

describe('a marked class that is provided under a string only', () => {
  it('is reported by a warning, as it has no view', async () => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
    const app = await compile({ providers: [{ provide: 'SQUARES', useClass: Squares }] });
    await app.init();
    expect(warn.mock.calls).toEqual([
      [
        "Squares has marked methods, but is provided under 'SQUARES' only, and a view is found by its class: " +
          "nothing of it is batched; add { provide: Squares, useExisting: 'SQUARES' } to the providers, or inject the view " +
          "of the token, @InjectBatched('SQUARES', Squares)",
      ],
    ]);
    warn.mockClear();
    abstract class Port {
      abstract square(numbers: readonly number[]): Promise<number[]>;
    }
    const reachable = await compile({
      providers: [
        { provide: 'SQUARES', useClass: Squares },
        { provide: Port, useExisting: 'SQUARES' },
        { provide: 'LIST', useValue: [1, 2] },
        { provide: 'NOTHING', useValue: null },
      ],
    });
    await reachable.init();
    expect(
      await reachable
        .get(BatchingRegistry)
        .view(Port as unknown as typeof Squares)
        .square(2),
    ).toBe(4);
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });
});

describe('getBatchedToken', () => {
  it('is a string, which Nest can always print, and differs for classes of one name', () => {
    const tokens = [1, 2, 3].map(() => getBatchedToken(class Namesake extends Squares {}));
    expect(tokens[0]).toBe('Batched<Namesake> of BatchingModule.forRoot()');
    expect(new Set(tokens).size).toBe(3);
  });

  it('refuses what is not a class', () => {
    expect(() => getBatchedToken(undefined as never)).toThrow(TypeError);
    expect(() => InjectBatched(undefined as never)).toThrow(
      '@InjectBatched(): expected a class, got undefined; if it is imported, the files import each other in a circle',
    );
  });

  it('returns the same token for the same class', () => {
    expect(getBatchedToken(Squares)).toBe(getBatchedToken(Squares));
  });
});
