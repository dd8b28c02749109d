import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { TfjsModelOptions } from 'nest-batching/tfjs';
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
};

function folderWith(name: string, folder: string): string {
  return existsSync(join(folder, name, 'model.json')) ? folder : folderWith(name, dirname(folder));
}
