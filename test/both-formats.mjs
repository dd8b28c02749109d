/**
 * Both formats of the package in one process, under one Nest: as an application gets them whose own code is in one format,
 * and a dependency of whose is in the other. Runs in a project that has nest-batching, Nest and TensorFlow.js in its
 * node_modules. Prints what was checked, and fails with what is wrong.
 */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Controller, Get, Injectable, Module, Param } from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import * as library from 'nest-batching';
import * as dashboard from 'nest-batching/dashboard';
import * as tfjs from 'nest-batching/tfjs';

const require = createRequire(import.meta.url);
const esm = { library, tfjs, dashboard };
const cjs = {
  library: require('nest-batching'),
  tfjs: require('nest-batching/tfjs'),
  dashboard: require('nest-batching/dashboard'),
};
assert.notEqual(esm.library.BatchQueue, cjs.library.BatchQueue, 'two copies are expected');

const folder = mkdtempSync(join(tmpdir(), 'nest-batching-'));
const model = join(folder, 'double.mjs');
writeFileSync(
  model,
  'export const inputs = { x: { shape: [2] } };\nexport const run = (tf, x) => tf.mul(x, 2);\n',
);
try {
  for (const [name, here, there] of [
    ['CommonJS under ES modules', esm, cjs],
    ['ES modules under CommonJS', cjs, esm],
  ]) {
    const errors = [...errorsKnown(here.library, there.library), ...errorsKnown(here.tfjs, there.tfjs)];
    assert(errors.length >= 16, `too few errors: ${errors.join(', ')}`);
    await batches(here, there);
    console.log(
      `${name}: ${errors.length} classes of errors, marks, tokens, views, lanes, the filter, a model, the dashboard`,
    );
  }
} finally {
  rmSync(folder, { recursive: true });
}

function errorsKnown(here, there) {
  const names = Object.keys(here).filter((name) => name.endsWith('Error'));
  for (const name of names) assert(Object.create(there[name].prototype) instanceof here[name], name);
  return names;
}

/** An application with the modules of `here` and classes that use those of `there`. */
async function batches(here, there) {
  class Squares {
    batches = [];
    square(numbers) {
      this.batches.push(numbers.length);
      return numbers.map((number) => number * number);
    }
  }
  Injectable()(Squares);
  const lane = new there.library.Lane();
  mark(there.library.BatchedService(4, 50, { lane }), Squares.prototype, 'square');

  const refusals = [
    [new there.library.QueueFullError('queue', 100, 1200), 503],
    [new there.library.InputCostError('queue', 9, 8), 413],
    [new there.tfjs.ModelInputError('digits', 0, undefined, 'must have 784 numbers; it has 5'), 400],
  ];

  class Calls {
    constructor(squares, double) {
      Object.assign(this, { squares, double });
    }
    square(number) {
      return this.squares.square(Number(number));
    }
    fail(index) {
      throw refusals[index][0];
    }
  }
  Controller()(Calls);
  there.library.InjectBatched(Squares)(Calls, undefined, 0);
  here.tfjs.InjectTfjsModel('double')(Calls, undefined, 1);
  mark(Get('square/:number'), Calls.prototype, 'square');
  mark(Get('fail/:index'), Calls.prototype, 'fail');
  Param('number')(Calls.prototype, 'square', 0);
  Param('index')(Calls.prototype, 'fail', 0);

  class App {}
  Module({
    imports: [
      here.library.BatchingModule.forRoot(),
      there.dashboard.BatchingDashboardModule.forRoot(),
      there.tfjs.TfjsModule.forRoot({ backend: 'cpu' }),
      there.tfjs.TfjsModule.forFeature([{ name: 'double', path: model }]),
    ],
    controllers: [Calls],
    providers: [Squares, { provide: APP_FILTER, useClass: here.library.BatchingExceptionFilter }],
  })(App);

  const app = await NestFactory.create(App, { logger: false, abortOnError: false });
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  const answers = await Promise.all([2, 3, 4].map((number) => fetch(`${url}/square/${number}`)));
  assert.deepEqual(await Promise.all(answers.map((answer) => answer.json())), [4, 9, 16]);
  assert.equal(
    app.get(Squares).batches.reduce((sum, size) => sum + size),
    3,
  );
  for (const [index, [, status]] of refusals.entries()) {
    assert.equal((await fetch(`${url}/fail/${index}`)).status, status);
  }

  assert.equal(here.library.getBatchedToken(Squares), there.library.getBatchedToken(Squares));
  assert.equal(app.get(there.library.getBatchedToken(Squares)), app.get(Calls).squares);
  assert.deepEqual(app.get(here.library.BatchingRegistry).list(), ['Squares.square']);

  const page = await (await fetch(`${url}/batching`)).text();
  assert(page.startsWith('<!doctype html>') && page.includes('EventSource'), 'the dashboard has no page');
  assert.match(await firstChunk(`${url}/batching/events`), /"name":"Squares.square"/);

  const { double } = app.get(Calls);
  assert.deepEqual(
    (await double.predict([[1, 2]])).map((result) => [...result]),
    [[2, 4]],
  );
  await assert.rejects(double.predict([[1, 2, 3]]), (error) => error instanceof here.tfjs.ModelInputError);
  await app.close();
}

/** Over a connection of its own, as the stream does not end. */
function firstChunk(url) {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false }, (response) => {
      response.on('error', () => undefined);
      response.once('data', (chunk) => {
        resolve(String(chunk));
        request.destroy();
      });
    });
    request.once('error', reject);
  });
}

function mark(decorator, prototype, key) {
  decorator(prototype, key, Object.getOwnPropertyDescriptor(prototype, key));
}
