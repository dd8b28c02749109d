import { CONFIGURATION } from '@app/serving';
import { Inject, Injectable } from '@nestjs/common';
import { type Batched, InjectBatched } from 'nest-batching';
import sharp, { type Raw } from 'sharp';
import type { Configuration } from '../configuration.js';
import { type Journey, Journeys } from '../digits/journeys.js';
import { decodePicture } from '../picture-file.js';
import { PhotoPlaces } from './photo-places.js';
import { TileUpscaler } from './tile-upscaler.js';
import { cut, kept, paste, type Picture, SCALE, type Tile, TILE_SIDE, tilesOf } from './tiles.js';

/** How far an upscaling is, in tiles. */
export interface Progress {
  done: number;
  total: number;
}

/** Where a picture is cut, in pixels of the enlarged one: where columns and rows of tiles begin, and where the last ones end. */
export interface Grid {
  across: number[];
  down: number[];
}

/** What is kept of an enlarged tile. */
export interface EnlargedTile extends Picture {
  /** Where it belongs in the enlarged picture. */
  readonly left: number;
  readonly top: number;
  readonly journey: Journey;
}

export interface UpscaleOptions {
  /** Gives up: tiles that wait leave the queue, and no others are cut. */
  signal?: AbortSignal;
  /** Called when the picture is decoded, and then after each tile. */
  onProgress?: (progress: Progress) => void;
  /** Called when the picture is decoded. */
  onGrid?: (grid: Grid) => void;
  /** Called after each tile. */
  onTile?: (tile: EnlargedTile) => void;
}

/** A decoded file. Its sides are at least those of a tile: what is smaller is continued by its mirror image. */
interface Photo extends Picture {
  /** What of it is the picture in the file. */
  readonly extent: { readonly width: number; readonly height: number };
  /** The opacity of that, enlarged; none where everything is opaque. */
  readonly enlargedAlpha: Buffer | undefined;
}

/** Photos of all callers share batches of tiles. */
@Injectable()
export class PhotoUpscaler {
  readonly #maxPixels: number;

  constructor(
    @InjectBatched(TileUpscaler) private readonly tiles: Batched<TileUpscaler>,
    private readonly journeys: Journeys,
    private readonly places: PhotoPlaces,
    @Inject(CONFIGURATION) { maxPhotoPixels }: Configuration,
  ) {
    this.#maxPixels = maxPhotoPixels;
  }

  /**
   * Doubles the sides of a PNG, JPEG, WebP or GIF picture and gives it as PNG, upright, in sRGB with 8 bits per channel, without its
   * metadata. The network enlarges the colours; opacity is interpolated.
   *
   * @throws {PictureError} for a file that cannot be used
   * @throws {QueueFullError} when too many photos are in progress, or too many pictures wait to be decoded
   */
  async upscale(file: Buffer, options: UpscaleOptions = {}): Promise<Buffer> {
    const { signal } = options;
    const leave = this.places.take();
    try {
      const photo = await openPhoto(file, this.#maxPixels, signal);
      signal?.throwIfAborted();
      const enlarged = await this.#enlarge(photo, options);
      return await toPng(enlarged, photo);
    } finally {
      leave();
    }
  }

  /** Cuts tiles only as fast as they are enlarged: a queue full of one photo's tiles would be memory for nothing. */
  async #enlarge(photo: Photo, { signal, onProgress, onGrid, onTile }: UpscaleOptions): Promise<Picture> {
    const [width, height] = [SCALE * photo.width, SCALE * photo.height];
    const enlarged = { values: new Uint8Array(3 * width * height), width, height };
    const tiles = tilesOf(photo);
    const failed = new AbortController();
    const options = {
      signal: AbortSignal.any([failed.signal, ...(signal ? [signal] : [])]),
      // Photos take turns, however many tiles each has.
      tenant: photo,
    };
    let done = 0;
    onGrid?.(gridOf(tiles));
    onProgress?.({ done, total: tiles.length });
    const rest = tiles.values();
    const takeTurns = async () => {
      for (const tile of rest) {
        const [answer] = await this.journeys.follow(() => [
          this.tiles.upscale(cut(photo, tile), options).then((values) => ({ values })),
        ]);
        const { values, journey } = answer as { values: Uint8ClampedArray; journey: Journey };
        paste(values, tile, enlarged);
        onTile?.({ ...kept(values, tile), journey });
        onProgress?.({ done: ++done, total: tiles.length });
      }
    };
    // As many tiles as may run, and another batch's worth that waits.
    const { batchSize, concurrency } = this.tiles.upscale.queue;
    const turns = batchSize * (concurrency + 1);
    try {
      await Promise.all(Array.from({ length: turns }, takeTurns));
    } catch (error) {
      failed.abort(error);
      throw error;
    }
    return enlarged;
  }
}

function gridOf(tiles: readonly Tile[]): Grid {
  const seams = (direction: 'across' | 'down') => [
    ...new Set(tiles.flatMap(({ [direction]: { from, to } }) => [SCALE * from, SCALE * to])),
  ];
  return { across: seams('across'), down: seams('down') };
}

async function openPhoto(file: Buffer, maxPixels: number, signal: AbortSignal | undefined): Promise<Photo> {
  const limit = { pixels: maxPixels, shortestSide: TILE_SIDE };
  const { data, info } = await decodePicture(file, limit, (picture) => picture.ensureAlpha(), signal);
  const extent = { width: info.width, height: info.height };
  const [width, height] = [Math.max(info.width, TILE_SIDE), Math.max(info.height, TILE_SIDE)];
  const opaque = isOpaque(data);
  const values = await sharp(opaque ? data : await withColourEverywhere(data, extent), rgba(extent))
    .removeAlpha()
    .extend({ right: width - info.width, bottom: height - info.height, extendWith: 'mirror' })
    .raw()
    .toBuffer();
  const enlargedAlpha = opaque
    ? undefined
    : await sharp(data, rgba(extent))
        .resize(SCALE * info.width, SCALE * info.height, { kernel: 'cubic', fit: 'fill' })
        .extractChannel('alpha')
        .raw()
        .toBuffer();
  return { values, width, height, extent, enlargedAlpha };
}

function isOpaque(data: Buffer): boolean {
  for (let i = 3; i < data.length; i += 4) if (data[i] !== 255) return false;
  return true;
}

/**
 * What is transparent has some colour, black most often. It gets the colour of what is seen around it, or the network
 * would enlarge an edge that cannot be seen, and leave a fringe.
 */
async function withColourEverywhere(data: Buffer, extent: Photo['extent']): Promise<Buffer> {
  const surroundings = await sharp(data, rgba(extent)).blur(4).removeAlpha().ensureAlpha().raw().toBuffer();
  return sharp(surroundings, rgba(extent))
    .composite([{ input: data, ...rgba(extent) }])
    .raw()
    .toBuffer();
}

function toPng({ values, width, height }: Picture, { extent, enlargedAlpha }: Photo): Promise<Buffer> {
  const size = { width: SCALE * extent.width, height: SCALE * extent.height };
  const picture = sharp(values, { raw: { width, height, channels: 3 } }).extract({
    left: 0,
    top: 0,
    ...size,
  });
  if (enlargedAlpha) picture.joinChannel(enlargedAlpha, { raw: { ...size, channels: 1 } });
  return picture.png().toBuffer();
}

function rgba(size: { width: number; height: number }): { raw: Raw } {
  return { raw: { ...size, channels: 4 } };
}
