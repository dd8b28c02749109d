/**
 * What the built library does on this platform, without a test runner, which needs binaries of its own: for a Node of
 * another system or processor, as in an emulator. Prints what was checked, and fails with what is wrong.
 *
 *     node test/platform.mjs wasm cpu
 */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const built = new URL('../dist/libs/batching/', import.meta.url);
const load = (file) => import(new URL(file, built).href);
const start = (module) => NestFactory.createApplicationContext(module, { logger: ['error', 'warn'] });
const checked = (what) => console.log(`${process.platform} ${process.arch} ${process.version}: ${what}`);

const { asBatchedService } = await load('core/index.js');
const sizes = [];
const square = asBatchedService(3, 100, { dispatch: 'fixed' })((xs) => {
  sizes.push(xs.length);
  return xs.map((x) => x * x);
});
assert.deepEqual(await Promise.all([0, 1, 2, 3].map((x) => square(x))), [0, 1, 4, 9]);
assert.deepEqual(sizes, [3, 1]);
await square.stop();
checked('core');

const { expectBatchInvariant } = await load('testing/index.js');
await expectBatchInvariant((xs) => xs.map((x) => x + 1), [1, 2, 3]);
checked('testing');

const require = createRequire(import.meta.url);
for (const [format, library] of [
  ['ES modules', await load('index.js')],
  ['CommonJS', require(fileURLToPath(new URL('cjs/index.js', built)))],
]) {
  const { BatchedService, BatchingModule, getBatchedToken, InjectBatched } = library;
  class Doubler {
    double(xs) {
      return xs.map((x) => 2 * x);
    }
  }
  class User {}
  const method = Object.getOwnPropertyDescriptor(Doubler.prototype, 'double');
  BatchedService(8, 5)(Doubler.prototype, 'double', method);
  InjectBatched(Doubler)(User, undefined, 0);
  for (const provider of [Doubler, User]) Injectable()(provider);
  class AppModule {}
  Module({ imports: [BatchingModule.forRoot()], providers: [Doubler, User] })(AppModule);
  const app = await start(AppModule);
  const view = app.get(getBatchedToken(Doubler), { strict: false });
  assert.deepEqual(await Promise.all([1, 2, 3].map((x) => view.double(x))), [2, 4, 6]);
  await app.close();
  checked(`Nest, ${format}`);
}

// A folder whose name is no URL as it is, with a model and a module around it.
const parent = mkdtempSync(join(tmpdir(), 'models #1 '));
const folder = join(parent, 'digits');
try {
  cpSync(fileURLToPath(new URL('../apps/demo-api/models/digits', import.meta.url)), folder, {
    recursive: true,
  });
  writeFileSync(
    join(folder, 'module.mjs'),
    `export const inputs = { image: { shape: [28, 28, 1] } };
     export const load = (tf, loadModel) => loadModel('model.json');
     export const run = (tf, images, model) => model.predict(images);`,
  );
  const { getTfjsModelToken, TfjsModule } = await load('tfjs/index.js');
  for (const backend of process.argv.slice(2)) {
    const models = [
      { name: 'files', path: folder },
      { name: 'module', path: join(folder, 'module.mjs') },
    ];
    class ModelsModule {}
    Module({ imports: [TfjsModule.forRoot({ backend }), TfjsModule.forFeature(models)] })(ModelsModule);
    const app = await start(ModelsModule);
    const scores = [];
    for (const { name } of models) {
      const model = app.get(getTfjsModelToken(name), { strict: false });
      scores.push(...(await model.predict([new Float32Array(784).fill(0.5)])));
    }
    assert.equal(scores[0].length, 10);
    assert.deepEqual(scores[0], scores[1]);
    await app.close();
    checked(`tfjs, ${backend}`);
  }
} finally {
  rmSync(parent, { recursive: true });
}
