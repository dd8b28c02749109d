import { asBatchedService, type BatchFunction, type KeyedBatchFunction } from 'nest-batching/core';

/** Like `new DataLoader(batchLoad)`, but without its cache. */
export function dataLoader<Key, Value>(batchLoad: BatchFunction<Key, Value>) {
  return asBatchedService(Infinity, 0, {
    dispatch: 'eager',
    concurrency: Infinity,
    maxQueued: 0,
    keyBy: (key: Key) => key,
    coalesce: true,
  })(batchLoad);
}

/** Like `pLimit(concurrency)`: takes a function without parameters. */
export function limit(concurrency: number) {
  return asBatchedService(1, 0, { dispatch: 'eager', concurrency, maxQueued: 0 })(
    (tasks: (() => Promise<unknown>)[]) => tasks.map((task) => task()),
  );
}

/** Like `new Batcher({ batchingFunction, maxBatchSize, queuingDelay })` of promise-batcher. */
export function promiseBatcher<Input, Result>(
  batchingFunction: BatchFunction<Input, Result>,
  maxBatchSize = Infinity,
  queuingDelay = 1,
) {
  return asBatchedService(maxBatchSize, queuingDelay, {
    dispatch: 'fixed',
    concurrency: Infinity,
    maxQueued: 0,
  })(batchingFunction);
}

/** Like `create({ fetcher, resolver, scheduler: windowScheduler(ms) })` of batshit, with a `Map` in place of the resolver. */
export function batshit<Query, Item>(fetcher: KeyedBatchFunction<Query, Item>, ms = 10) {
  return asBatchedService(Infinity, ms, {
    dispatch: 'fixed',
    concurrency: Infinity,
    maxQueued: 0,
    keyBy: (query: Query) => query,
    missing: 'undefined',
    coalesce: true,
  })(fetcher);
}

/** Like `BatchedService(function, batch_size, max_delay)` of as_a_service, with the delay in ms. */
export function asAService<Input, Result>(
  batchFunction: BatchFunction<Input, Result>,
  batchSize: number,
  maxDelay: number,
) {
  return asBatchedService(batchSize, maxDelay, { dispatch: 'fixed', maxQueued: 0 })(batchFunction);
}
