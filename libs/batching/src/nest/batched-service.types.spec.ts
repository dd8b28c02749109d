import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from '@jest/globals';
import ts from 'typescript';

/** Compiles pieces of TypeScript as files of this folder, and returns the compiler's messages. */
const folder = dirname(fileURLToPath(import.meta.url));

const header = `
import { applyDecorators, Injectable, SetMetadata } from '@nestjs/common';
import {
  BatchedService, SerialService, InjectBatched, getBatchedToken, BatchingRegistry, asBatchedService, BatchQueue, type Batched, type BatchedMethod, type BatchContext,
} from '../index.js';

export const secret = Symbol('secret');
export class Digit { value = 1 }
export class Note { name = ''; message = ''; text = '' }
export class Classifier {
  field = 1;
  async classify(images: readonly Uint8Array[]): Promise<(Digit | Error)[]> { return images.map(() => new Digit()); }
  async later(texts: string[]): Promise<(Promise<number | Error> | string)[]> { return texts.map(async (text) => text.length); }
  parse(texts: string[]): number[] { return texts.map(Number); }
  async [secret](texts: string[], batch?: BatchContext): Promise<number[]> { return texts.map(() => batch?.signal.aborted ? 0 : 1); }
  async notes(texts: string[]): Promise<Note[]> { return texts.map(() => new Note()); }
  async score(texts: string[]): Promise<Float32Array> { return Float32Array.from(texts, Number); }
  async byId(ids: readonly number[]): Promise<Map<number, Digit | Error>> { return new Map(ids.map((id) => [id, new Digit()])); }
  async byIdOrNot(ids: number[]): Promise<Map<string, Digit | undefined>> { return new Map(ids.map((id) => [String(id), new Digit()])); }
  async load(path: string): Promise<number> { return path.length; }
  async swap(pair: [string, number]): Promise<[number, string]> { return [pair[1], pair[0]]; }
  async none(): Promise<number> { return 1; }
  async watched(texts: string[], batch: BatchContext): Promise<number[]> { return texts.map(() => batch.signal.aborted ? 0 : 1); }
  async limited(text: string, limit?: number): Promise<number> { return limit ?? text.length; }
  async two(one: string, other: string): Promise<string> { return one + other; }
  private hidden(texts: string[]): string[] { return texts; }
  onApplicationShutdown(signal?: string): void { this.hidden([signal ?? '']); }
}
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
export function same<A, B>(_: Equal<A, B>): void {}
`;

/** A member of a class. */
const methods = (body: string) => `${header}\nexport class Service { ${body} }\n`;

const pieces = {
  // May be marked.
  mutable: methods(
    '@BatchedService(8, 5) async run(inputs: number[]): Promise<string[]> { return inputs.map(String); }',
  ),
  readonly: methods(
    '@BatchedService(8, 5) async run(inputs: readonly number[]): Promise<readonly string[]> { return inputs.map(String); }',
  ),
  synchronous: methods(
    '@BatchedService(8, 5) run(inputs: number[]): string[] { return inputs.map(String); }',
  ),
  errors: methods(
    '@BatchedService(8, 5, { onFull: "wait" }) async run(inputs: number[]): Promise<(string | Error)[]> { return inputs.map(String); }',
  ),
  typedArray: methods(
    '@BatchedService(8, 5) async run(inputs: string[]): Promise<Float32Array> { return Float32Array.from(inputs, Number); }',
  ),
  batch: methods(
    '@BatchedService(8, 5) async run(inputs: number[], batch: BatchContext): Promise<number[]> { batch.signal.throwIfAborted(); return inputs; }',
  ),
  optionalBatch: methods(
    '@BatchedService(8, 5) async run(inputs: number[], batch?: BatchContext): Promise<number[]> { batch?.signal.throwIfAborted(); return inputs; }',
  ),
  keyed: methods(
    '@BatchedService(8, 5, { keyBy: (id: number) => id, coalesce: true }) async run(ids: number[]): Promise<Map<number, string | Error>> { return new Map(ids.map((id) => [id, String(id)])); }',
  ),
  keyedArray: methods(
    '@BatchedService(8, 5, { keyBy: (id: number) => id }) async run(ids: number[]): Promise<string[]> { return ids.map(String); }',
  ),
  keyedMissing: methods(
    '@BatchedService(8, 5, { keyBy: (id: number) => id, missing: "undefined" }) async run(ids: number[]): Promise<Map<number, string | undefined>> { return new Map(ids.map((id) => [id, String(id)])); }',
  ),
  generic: methods('@BatchedService(8, 5) async run<T>(inputs: T[]): Promise<T[]> { return inputs; }'),
  symbol: methods(
    '@BatchedService(8, 5) async [secret](inputs: number[]): Promise<number[]> { return inputs; }',
  ),
  any: methods('@BatchedService(8, 5) async run(inputs: any): Promise<any> { return inputs; }'),
  throwing: methods(
    '@BatchedService(8, 5) async run(inputs: number[]): Promise<never> { throw new Error(String(inputs)); }',
  ),
  serial: methods('@SerialService() async run(input: string): Promise<number> { return input.length; }'),
  serialArray: methods(
    '@SerialService({ maxQueued: 5 }) sum(numbers: number[]): number { return numbers.length; }',
  ),
  serialTuple: methods(
    '@SerialService() async run(pair: [number, number]): Promise<[number, number]> { return pair; }',
  ),

  anySettings: methods(
    'static readonly config: any = {}; @BatchedService(Service.config.size, Service.config.delay) async run(inputs: number[]): Promise<number[]> { return inputs; }',
  ),

  // A team's own decorators.
  wrapped: `${header}
    export const OnGpu = (options?: Parameters<typeof BatchedService>[2]) => BatchedService(64, 5, options);
    export const OnDevice = () => SerialService({ maxQueued: 5 });
    export const Audited = () => applyDecorators(SetMetadata('audited', true), BatchedService(8, 2));
    export const AuditedAlone = () => applyDecorators(SerialService(), SetMetadata('audited', true));
    export class Service {
      @OnGpu({ concurrency: 2 }) async run(inputs: number[]): Promise<number[]> { return inputs; }
      @OnDevice() async load(input: string): Promise<number> { return input.length; }
      @Audited() async audited(inputs: number[]): Promise<number[]> { return inputs; }
      @AuditedAlone() async alone(input: string): Promise<number> { return input.length; }
    }`,
  wrappedNoArray: `${header}
    export const OnGpu = () => BatchedService(64, 5);
    export class Service { @OnGpu() async run(input: number): Promise<number[]> { return [input]; } }`,

  // May not be marked.
  noParameter: methods('@BatchedService(8, 5) async run(): Promise<number[]> { return []; }'),
  twoParameters: methods(
    '@BatchedService(8, 5) async run(inputs: number[], user: string): Promise<string[]> { return inputs.map(() => user); }',
  ),
  optionalParameter: methods(
    '@BatchedService(8, 5) async run(inputs: number[], limit?: number): Promise<number[]> { return inputs.map(() => limit ?? 1); }',
  ),
  threeParameters: methods(
    '@BatchedService(8, 5) async run(inputs: number[], batch: BatchContext, user: string): Promise<string[]> { return inputs.map(() => user); }',
  ),
  noArray: methods('@BatchedService(8, 5) async run(input: number): Promise<number[]> { return [input]; }'),
  rest: methods('@BatchedService(8, 5) async run(...inputs: number[]): Promise<number[]> { return inputs; }'),
  tuple: methods(
    '@BatchedService(8, 5) async run(inputs: [number, number]): Promise<number[]> { return inputs; }',
  ),
  noResults: methods(
    '@BatchedService(8, 5) async run(inputs: number[]): Promise<number> { return inputs.length; }',
  ),
  nothing: methods('@BatchedService(8, 5) run(inputs: number[]): void { inputs.pop(); }'),
  map: methods(
    '@BatchedService(8, 5) async run(inputs: number[]): Promise<Map<number, number>> { return new Map(inputs.entries()); }',
  ),
  missingUndeclared: methods(
    '@BatchedService(8, 5, { keyBy: (id: number) => id, missing: "undefined" }) async run(ids: number[]): Promise<Map<number, string>> { return new Map(ids.map((id) => [id, String(id)])); }',
  ),
  tupleResult: methods(
    '@BatchedService(8, 5) async run(inputs: number[]): Promise<[number]> { return [inputs.length]; }',
  ),
  property: methods('@BatchedService(8, 5) run = async (inputs: number[]): Promise<number[]> => inputs;'),
  accessor: methods('@BatchedService(8, 5) get run(): number { return 1; }'),
  isStatic: methods(
    '@BatchedService(8, 5) static async run(inputs: number[]): Promise<number[]> { return inputs; }',
  ),
  isPrivate: methods(
    '@BatchedService(8, 5) private async run(inputs: number[]): Promise<number[]> { return inputs; } use() { return this.run([]); }',
  ),
  name: methods(
    '@BatchedService(8, 5, { name: 5 }) async run(inputs: number[]): Promise<number[]> { return inputs; }',
  ),
  noDelay: methods('@BatchedService(8) async run(inputs: number[]): Promise<number[]> { return inputs; }'),
  noArguments: methods('@BatchedService() async run(inputs: number[]): Promise<number[]> { return inputs; }'),
  optionsAlone: methods(
    '@BatchedService({ batchSize: 8, maxDelay: 5 }) async run(inputs: number[]): Promise<number[]> { return inputs; }',
  ),
  optionsSecond: methods(
    '@BatchedService(8, { maxDelay: 5 }) async run(inputs: number[]): Promise<number[]> { return inputs; }',
  ),
  noCall: methods('@BatchedService async run(inputs: number[]): Promise<number[]> { return inputs; }'),
  serialNoParameter: methods('@SerialService() async run(): Promise<number> { return 1; }'),
  serialTwoParameters: methods(
    '@SerialService() async run(one: number, other: number): Promise<number> { return one + other; }',
  ),
  serialBatch: methods('@SerialService() async run(inputs: number[]): Promise<number[]> { return inputs; }'),
  serialMap: methods(
    '@SerialService() async run(inputs: number[]): Promise<Map<number, number>> { return new Map(inputs.entries()); }',
  ),
  serialProperty: methods('@SerialService() run = (input: number): number => input;'),
  serialConcurrency: methods(
    '@SerialService({ concurrency: 2 }) async run(input: string): Promise<number> { return input.length; }',
  ),

  // Views.
  view: `${header}
    export async function use(view: Batched<Classifier>): Promise<void> {
      same<keyof Batched<Classifier>, 'classify' | 'score' | 'later' | 'parse' | 'notes' | 'byId' | 'byIdOrNot' | 'load' | 'swap' | 'watched' | 'limited' | typeof secret>(true);
      same<Batched<Classifier>['classify'], BatchedMethod<Uint8Array, Digit>>(true);
      same<Batched<Classifier>['later'], BatchedMethod<string, number | string>>(true);
      same<Batched<Classifier>['parse'], BatchedMethod<string, number>>(true);
      same<Batched<Classifier>['score'], BatchedMethod<string, number>>(true);
      same<Batched<Classifier>[typeof secret], BatchedMethod<string, number>>(true);
      same<Batched<Classifier>['watched'], BatchedMethod<string, number>>(true);
      same<Batched<Classifier>['limited'], BatchedMethod<string, number>>(true);
      same<Batched<Classifier>['notes'], BatchedMethod<string, Note>>(true);
      same<Batched<Classifier>['byId'], BatchedMethod<number, Digit>>(true);
      same<Batched<Classifier>['byIdOrNot'], BatchedMethod<number, Digit | undefined>>(true);
      same<Batched<Classifier>['load'], BatchedMethod<string, number>>(true);
      same<Batched<Classifier>['swap'], BatchedMethod<[string, number], [number, string]>>(true);
      const digit: Digit = await view.classify(new Uint8Array(), { timeout: 5, signal: AbortSignal.timeout(5) });
      const digits: Promise<Digit>[] = view.classify.submitMany([new Uint8Array()]);
      view.classify.queue.batchSize = digit.value + digits.length;
      same<keyof Batched<Classifier>['classify'], 'submitMany' | 'queue'>(true);
      const service: BatchedService<number, string> = asBatchedService(8, 5)(async (xs: number[]) => xs.map(String));
      await service(view.parse.queue.maxDelay);
      const later: BatchedService<number, string> = asBatchedService(8, 5)((xs: number[]) => xs.map(async (x) => String(x)));
      const mixed = asBatchedService(8, 5)(async (xs: number[]) => xs.map((x) => (x > 1 ? new RangeError() : x > 0 ? Promise.resolve(x) : x)));
      same<typeof mixed, BatchedService<number, number>>(true);
      await later(1);
      const byKey = async (xs: number[]) => new Map(xs.map((x) => [x, x > 1 ? new RangeError() : String(x)]));
      const keyed = asBatchedService(8, 5, { keyBy: (x) => x, coalesce: true })(byKey);
      same<typeof keyed, BatchedService<number, string>>(true);
      const sparse = asBatchedService(8, 5, { keyBy: (x) => x, missing: 'undefined' })(byKey);
      same<typeof sparse, BatchedService<number, string | undefined>>(true);
      const queue = new BatchQueue(byKey, { batchSize: 8, maxDelay: 5, keyBy: (x) => x * 2 });
      same<typeof queue, BatchQueue<number, string>>(true);
      new BatchQueue<number, string | undefined>(byKey, { batchSize: 8, maxDelay: 5, keyBy: (x) => x, missing: 'undefined' });
      const method: BatchedMethod<number, string> = service;
      await method(1);
      service.start();
      await Promise.all([service.submit(1), service.drain(), service.stop()]);
    }
    export const ofRegistry = (registry: BatchingRegistry): Batched<Classifier> => registry.view(Classifier);
    export const ofToken = (registry: BatchingRegistry): Batched<Classifier> => registry.view('fast', Classifier);
    export const token: string = getBatchedToken(Classifier) + getBatchedToken('fast') + getBatchedToken(secret);`,
  mapWithoutKeys: `${header}
    export const wrong = asBatchedService(8, 5)(async (xs: number[]) => new Map(xs.map((x) => [x, x])));`,
  queueWithoutKeys: `${header}
    export const wrong = new BatchQueue(async (xs: number[]) => new Map(xs.map((x) => [x, x])), { batchSize: 8, maxDelay: 5 });`,
  queueMissing: `${header}
    export const wrong = new BatchQueue<number, number>((xs) => new Map(xs.entries()), { batchSize: 8, maxDelay: 5, keyBy: (x) => x, missing: 'undefined' });`,
  arrayThroughView: `${header}
    export const wrong = (view: Batched<Classifier>) => view.parse(['1']);`,
  stopThroughView: `${header}
    export const wrong = (view: Batched<Classifier>) => view.parse.stop();`,
  submitThroughView: `${header}
    export const wrong = (view: Batched<Classifier>) => view.parse.submit('1');`,
  unmarkable: `${header}
    export const wrong = (view: Batched<Classifier>) => view.none();`,

  // Injections.
  injected: `${header}
    export abstract class Base { abstract run(inputs: number[]): Promise<number[]> }
    export class Generic<T> { run(inputs: T[]): T[] { return inputs; } }
    @Injectable()
    export class Controller {
      @InjectBatched(Classifier) readonly property!: Batched<Classifier>;
      @InjectBatched(Classifier) private readonly own!: Batched<Classifier>;
      constructor(
        @InjectBatched(Classifier) private readonly digits: Batched<Classifier>,
        readonly other: string,
        @InjectBatched(Base) base: Batched<Base>,
        @InjectBatched(Classifier) some: Pick<Batched<Classifier>, 'classify'>,
        @InjectBatched(Classifier) anything: any,
        @InjectBatched(Generic<number>) generic: Batched<Generic<number>>,
        @InjectBatched('fast', Classifier) fast: Batched<Classifier>,
        @InjectBatched(secret, Classifier) exact: Batched<Classifier>,
      ) { void [this.digits, this.own, base, some, anything, generic, fast, exact]; }
    }`,
  injectedClass: `${header}
    export class Controller { constructor(@InjectBatched(Classifier) readonly digits: Classifier) {} }`,
  injectedOther: `${header}
    export class Other { run(inputs: number[]): number[] { return inputs; } }
    export class Controller { constructor(readonly first: string, @InjectBatched(Classifier) readonly digits: Batched<Other>) {} }`,
  injectedTokenAsOther: `${header}
    export class Other { run(inputs: number[]): number[] { return inputs; } }
    export class Controller { constructor(@InjectBatched('fast', Classifier) readonly digits: Batched<Other>) {} }`,
  injectedProperty: `${header}
    export class Controller { @InjectBatched(Classifier) readonly digits!: Classifier; }`,
  injectedName: `${header}
    export class Controller { constructor(@InjectBatched('Classifier') readonly digits: Batched<Classifier>) {} }`,
} satisfies Record<string, string>;

type Piece = keyof typeof pieces;
const said = new Map<string, string>();

beforeAll(() => {
  const configFile = join(folder, '../../../../tsconfig.json');
  const config = ts.getParsedCommandLineOfConfigFile(
    configFile,
    {},
    {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic: (diagnostic) => {
        throw new Error(ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n'));
      },
    },
  );
  const options: ts.CompilerOptions = { ...config?.options, noEmit: true, noUnusedLocals: false };
  const sources = new Map(
    Object.entries(pieces).map(([name, text]) => [join(folder, `piece-${name}.ts`), text]),
  );
  const host = ts.createCompilerHost(options);
  const readFile = host.readFile.bind(host);
  host.readFile = (path) => sources.get(path) ?? readFile(path);
  const program = ts.createProgram([...sources.keys()], options, host);
  for (const name of Object.keys(pieces)) {
    const file = program.getSourceFile(join(folder, `piece-${name}.ts`));
    const diagnostics = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    said.set(
      name,
      diagnostics.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')).join('\n'),
    );
  }
}, 60_000);

describe('the compiler accepts', () => {
  it.each<Piece>([
    'mutable',
    'readonly',
    'synchronous',
    'errors',
    'typedArray',
    'batch',
    'optionalBatch',
    'keyed',
    'keyedArray',
    'keyedMissing',
    'generic',
    'symbol',
    'any',
    'throwing',
    'serial',
    'serialArray',
    'serialTuple',
    'anySettings',
    'wrapped',
    'view',
    'injected',
  ])('%s', (piece) => {
    expect(said.get(piece)).toBe('');
  });
});

describe('the compiler says what is wrong with', () => {
  it.each<[Piece, string]>([
    ['noParameter', 'the method has no parameter: it must take the array of inputs'],
    ...(['twoParameters', 'optionalParameter', 'threeParameters'] as const).map((piece): [Piece, string] => [
      piece,
      'after the inputs only their batch can follow, `batch?: BatchContext`: put the rest into each input',
    ]),
    [
      'noArray',
      'the parameter must be an array, the inputs of a batch; for one input at a time there is @SerialService()',
    ],
    [
      'rest',
      'the parameter must be an array, the inputs of a batch; for one input at a time there is @SerialService()',
    ],
    ['tuple', 'the parameter is a tuple: it must be an array, because batches differ in size'],
    [
      'noResults',
      'the method must return an array of results, or a Promise of one: one result per input, in their order',
    ],
    [
      'nothing',
      'the method must return an array of results, or a Promise of one: one result per input, in their order',
    ],
    [
      'map',
      'the method returns a Map: the options must have keyBy, which says what the keys of its inputs are',
    ],
    [
      'missingUndeclared',
      "with missing: 'undefined' the Map must be declared as one of results or undefined, as its callers get them",
    ],
    ['tupleResult', 'the method returns a tuple: it must return an array, one result per input'],
    ['property', 'a property cannot be marked: make it a method'],
    ['accessor', 'an accessor cannot be marked: make it a method'],
    ['isStatic', 'a static method cannot be marked: only methods of an injected instance can be batched'],
    ['isPrivate', 'a private or protected method cannot be marked: Batched<C> could not offer it'],
    [
      'wrappedNoArray',
      'the parameter must be an array, the inputs of a batch; for one input at a time there is @SerialService()',
    ],
    ...(['noDelay', 'noArguments', 'optionsAlone', 'optionsSecond', 'noCall'] as const).map(
      (piece): [Piece, string] => [
        piece,
        'call it with batchSize and maxDelay, then options if any: @BatchedService(64, 5, { concurrency: 2 })',
      ],
    ),
  ])('%s under @BatchedService()', (piece, sentence) => {
    expect(said.get(piece)).toContain(`Record<"@BatchedService()", "${sentence}">`);
  });

  it.each<[Piece, string]>([
    ['serialNoParameter', 'the method has no parameter: it must take the input'],
    [
      'serialTwoParameters',
      'the method has more than one required parameter: put them into one object, the input',
    ],
    [
      'serialBatch',
      'array in, array or Map out is the shape of @BatchedService(), as which Batched<C> would type it: wrap the input in an object',
    ],
    [
      'serialMap',
      'array in, array or Map out is the shape of @BatchedService(), as which Batched<C> would type it: wrap the input in an object',
    ],
    ['serialProperty', 'a property cannot be marked: make it a method'],
  ])('%s under @SerialService()', (piece, sentence) => {
    expect(said.get(piece)).toContain(`Record<"@SerialService()", "${sentence}">`);
  });

  it.each<[Piece, string]>([
    ['name', "Type 'number' is not assignable to type 'string'"],
    ['serialConcurrency', "'concurrency' does not exist in type"],
    ['mapWithoutKeys', "'PromiseLike<Results<"],
    ['queueWithoutKeys', 'No overload matches this call'],
    ['queueMissing', '\'"undefined"\' is not assignable to type \'"reject"\''],
    ['arrayThroughView', "Argument of type 'string[]' is not assignable to parameter of type 'string'"],
    ['stopThroughView', "Property 'stop' does not exist on type 'BatchedMethod<string, number>'"],
    ['submitThroughView', "Property 'submit' does not exist on type 'BatchedMethod<string, number>'"],
    ['unmarkable', "Property 'none' does not exist on type 'Batched<Classifier>'"],
    ['injectedName', "Argument of type 'string' is not assignable to parameter of type 'Class<"],
  ])('%s', (piece, sentence) => {
    expect(said.get(piece)).toContain(sentence);
  });

  it.each<[Piece, string]>([
    ['injectedClass', 'Classifier'],
    ['injectedOther', 'Batched<Other>'],
    ['injectedTokenAsOther', 'Batched<Other>'],
    ['injectedProperty', 'Classifier'],
  ])('%s', (piece, declared) => {
    expect(said.get(piece)).toContain(
      `{ '@InjectBatched()': "declare it as the view, Batched<C>"; declared: ${declared}; expected: Batched<Classifier>; }`,
    );
  });
});
