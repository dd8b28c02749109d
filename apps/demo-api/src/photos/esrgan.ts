import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { TfjsModelOptions } from 'nest-batching/tfjs';
import { appFolder } from '../app-folder.js';
import { TILE_SIDE } from './tiles.js';

/** The package of the network hides its files from `require`: they are in a folder above its main module. */
export const esrganFolder = folderWith(
  'models',
  dirname(createRequire(import.meta.url).resolve('@upscalerjs/default-model')),
);

/** Doubles the sides of pictures, 8-bit RGB, whatever their size; here, of tiles. */
export const esrgan: TfjsModelOptions = {
  name: 'esrgan',
  path: join(esrganFolder, 'models', 'model.json'),
  inputShape: [TILE_SIDE, TILE_SIDE, 3],
  checksums: {
    'model.json': '8efb488c2caed0196a6163e3f06798f9245e92623ffd50654a26c372e09150ea',
    'group1-shard1of1.bin': '5cb464ae4d390ce0a771afd5feaf60fbfcdb18ab48a56db98cdf6b88202369de',
  },
};

/**
 * A tile of the photograph `boats.jpg` and what the network made of it on the backend `cpu`, both 8-bit RGB. None of it was
 * clipped. Rounding differs by 0.5, and a GPU that computes with fewer bits by more.
 */
export function esrganWithTest(): TfjsModelOptions {
  const read = (name: string) => new Uint8Array(readFileSync(join(appFolder, 'models', 'esrgan', name)));
  return { ...esrgan, selfTest: { input: read('tile.rgb'), expected: read('enlarged.rgb'), tolerance: 3 } };
}

function folderWith(name: string, folder: string): string {
  return existsSync(join(folder, name, 'model.json')) ? folder : folderWith(name, dirname(folder));
}
