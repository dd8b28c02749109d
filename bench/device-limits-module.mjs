import { performance } from 'node:perf_hooks';

/**
 * Own code for the inference worker that measures its device, through TensorFlow.js as the networks use it. Its input is
 * what to measure and how many numbers, or rows and columns; its result is milliseconds, the median of a few.
 */
export const inputs = { measure: { shape: [1], dtype: 'int32' }, size: { shape: [1], dtype: 'int32' } };

/** In the order of `measures` in device-limits.ts. */
const measures = [upload, readBack, onDevice, matMul];

export async function run(tf, { measure, size }) {
  const [which] = await measure.data();
  const [n] = await size.data();
  // A size of 0 is the trial run at the module's loading.
  return tf.fill(measure.shape, n === 0 ? 0 : await measures[which](tf, n));
}

async function upload(tf, n) {
  const values = numbers(n);
  return medianOf(async () => {
    const start = performance.now();
    const x = tf.tensor1d(values);
    // A device is given the numbers when an op first needs them.
    const value = await first(tf, x);
    const took = performance.now() - start;
    expectClose(value, values[0]);
    x.dispose();
    return took;
  });
}

async function readBack(tf, n) {
  const values = numbers(n);
  const x = tf.tensor1d(values);
  const took = await medianOf(async () => {
    // A new one each time, as TensorFlow.js keeps what it has read.
    const y = tf.neg(x);
    await first(tf, y);
    const start = performance.now();
    const read = await y.data();
    const took = performance.now() - start;
    expectClose(read[n - 1], -values[n - 1]);
    y.dispose();
    return took;
  });
  x.dispose();
  return took;
}

/** One negation, which reads and writes every number once: the nearest to a copy that TensorFlow.js has. */
async function onDevice(tf, n) {
  const values = numbers(n);
  return medianOfMany(async (count) => {
    let x = tf.tensor1d(values);
    await first(tf, x);
    const start = performance.now();
    for (let i = 0; i < count; i++) {
      const y = tf.neg(x);
      x.dispose();
      x = y;
    }
    const value = await first(tf, x);
    const took = performance.now() - start;
    expectClose(value, count % 2 ? -values[0] : values[0]);
    x.dispose();
    return took;
  });
}

async function matMul(tf, n) {
  const values = numbers(n * n);
  let expected = 0;
  for (let i = 0; i < n; i++) expected += values[i] * values[i * n];
  const x = tf.tensor2d(values, [n, n]);
  await first(tf, x);
  const took = await medianOfMany(async (count) => {
    const start = performance.now();
    for (let i = 1; i < count; i++) tf.matMul(x, x).dispose();
    const y = tf.matMul(x, x);
    const value = await first(tf, y);
    const took = performance.now() - start;
    expectClose(value, expected);
    y.dispose();
    return took;
  });
  x.dispose();
  return took;
}

/** The first number of a tensor: it resolves once the device has done all work submitted before. */
async function first(tf, x) {
  const one = tf.slice(
    x,
    x.shape.map(() => 0),
    x.shape.map(() => 1),
  );
  const [value] = await one.data();
  one.dispose();
  return value;
}

/** For about 300 ms, and three times at least, after one for what is compiled or allocated but once. */
async function medianOf(measure) {
  await measure();
  const times = [];
  const end = performance.now() + 300;
  while (times.length < 3 || performance.now() < end) times.push(await measure());
  return times.sort((a, b) => a - b)[times.length >> 1];
}

/** The cost of one run among many that are submitted together, so that about 100 ms of work share one wait for the device. */
async function medianOfMany(measure) {
  await measure(1);
  const count = Math.min(1000, Math.max(1, Math.round(100 / (await measure(1)))));
  return (await medianOf(() => measure(count))) / count;
}

function numbers(n) {
  return Float32Array.from({ length: n }, (_, i) => ((i * 37) % 251) / 251 - 0.5);
}

function expectClose(value, expected) {
  if (!(Math.abs(value - expected) <= 1e-3 * Math.max(1, Math.abs(expected)))) {
    throw new Error(`the device gave ${value} in place of ${expected}`);
  }
}
