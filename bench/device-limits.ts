import { join } from 'node:path';
import { Module, type NestApplicationOptions } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  getTfjsModelToken,
  InferenceError,
  type TfjsBackend,
  type TfjsModel,
  TfjsModule,
} from 'nest-batching/tfjs';

/** What a device can do at most through TensorFlow.js: the yardstick for what networks make of it. */
export interface DeviceLimits {
  /** Gigabytes per second from the host's memory to the device. */
  upload: Rate[];
  /** And from the device back. */
  readBack: Rate[];
  /** On the device, of bytes read and bytes written together. */
  onDevice: Rate[];
  /** Products of two square matrices: 10⁹ multiplications and additions per second. */
  matMul: Rate[];
}

export interface Rate {
  /** Bytes of the tensor; of a matrix, its rows. */
  size: number;
  /** 10⁹ per second. */
  rate: number;
}

/** In the order of `measures` in device-limits-module.mjs. */
const measures = ['upload', 'readBack', 'onDevice', 'matMul'] as const;

const mebibyte = 2 ** 20;
const tensorSizes = [1, 4, 16, 64, 128].map((size) => size * mebibyte);
const matrixSizes = [512, 1024, 2048, 4096];

/** Measures each size after the other, up to one that would take longer than `longest` milliseconds. */
export async function deviceLimits(backend: TfjsBackend, longest: number): Promise<DeviceLimits> {
  @Module({
    imports: [
      TfjsModule.forRoot({ backend }),
      TfjsModule.forFeature([
        { name: 'limits', path: join(import.meta.dirname, 'device-limits-module.mjs'), batchSizes: [1] },
      ]),
    ],
  })
  class LimitsModule {}
  const options: Pick<NestApplicationOptions, 'abortOnError'> = { abortOnError: false };
  const app = await NestFactory.createApplicationContext(LimitsModule, options);
  const model = app.get<TfjsModel>(getTfjsModelToken('limits'), { strict: false });

  const rates = async (
    measure: (typeof measures)[number],
    sizes: readonly number[],
    work: (size: number) => number,
  ) => {
    const rates: Rate[] = [];
    for (const [i, size] of sizes.entries()) {
      const numbers = measure === 'matMul' ? size : size / Float32Array.BYTES_PER_ELEMENT;
      let ms: number;
      try {
        const [result] = await model.predict([{ measure: [measures.indexOf(measure)], size: [numbers] }]);
        ms = result?.output?.[0] ?? NaN;
      } catch (error) {
        // The larger ones may be too large for the device.
        if (i === 0 || !(error instanceof InferenceError)) throw error;
        console.log(`${measure} ends before ${size}: ${error.message}`);
        break;
      }
      rates.push({ size, rate: work(size) / ms / 1e6 });
      const next = sizes[i + 1];
      if (next === undefined || (ms * work(next)) / work(size) > longest) break;
    }
    return rates;
  };

  try {
    return {
      upload: await rates('upload', tensorSizes, (bytes) => bytes),
      readBack: await rates('readBack', tensorSizes, (bytes) => bytes),
      onDevice: await rates('onDevice', tensorSizes, (bytes) => 2 * bytes),
      matMul: await rates('matMul', matrixSizes, (rows) => 2 * rows ** 3),
    };
  } finally {
    await app.close();
  }
}

/** Rows for two tables, each with its head: gigabytes per second, and 10⁹ floating-point operations per second. */
export function limitRows({ upload, readBack, onDevice, matMul }: DeviceLimits): {
  bandwidth: string[][];
  products: string[][];
} {
  const row = (name: string, rates: readonly Rate[], sizes: readonly number[]) => [
    name,
    ...sizes.map((size) => {
      const { rate } = rates.find((rate) => rate.size === size) ?? {};
      return rate?.toLocaleString('en', { maximumFractionDigits: rate < 10 ? 2 : rate < 100 ? 1 : 0 }) ?? '';
    }),
  ];
  return {
    bandwidth: [
      ['tensors of', ...tensorSizes.map((size) => `${size / mebibyte} MiB`)],
      row('host to device', upload, tensorSizes),
      row('device to host', readBack, tensorSizes),
      row('on the device', onDevice, tensorSizes),
    ],
    products: [
      ['matrices of', ...matrixSizes.map((size) => `${size} × ${size}`)],
      row('matMul', matMul, matrixSizes),
    ],
  };
}
