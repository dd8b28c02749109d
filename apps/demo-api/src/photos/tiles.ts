/** Side of a tile, in pixels: what the network gets. */
export const TILE_SIDE = 84;
/** How many times as many pixels the network gives, in each direction. */
export const SCALE = 2;
/**
 * How far the network sees, in pixels of its input: seven convolutions of 3×3 and one of 5×5 see nine, and the last one,
 * after the enlargement, one more. What is that far from the edge of a tile is as if the whole picture had been run.
 */
export const CONTEXT = 10;

/** 8-bit RGB, row by row. */
export interface Picture {
  readonly values: Uint8Array | Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
}

/** A square of a picture, and the part of it that is kept. */
export interface Tile {
  readonly across: Span;
  readonly down: Span;
}

/** A tile in one direction, in pixels of the picture: it begins at `start`; kept is what lies from `from` to `to`. */
interface Span {
  readonly start: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Divides a picture of at least 84×84 pixels into tiles. None reaches beyond the picture, so that at its edges the network
 * sees what it would see there of the whole picture: nothing. Each pixel is kept of exactly one tile, at least `CONTEXT`
 * from those edges of it that are not edges of the picture.
 */
export function tilesOf({ width, height }: Pick<Picture, 'width' | 'height'>): Tile[] {
  const columns = spansOf(width);
  return spansOf(height).flatMap((down) => columns.map((across) => ({ across, down })));
}

/** As few spans as cover the length, evenly spread; two neighbours share what they both have at its middle. */
function spansOf(length: number): Span[] {
  const last = Math.ceil((length - TILE_SIDE) / (TILE_SIDE - 2 * CONTEXT));
  const starts = Array.from({ length: last + 1 }, (_, i) =>
    i === 0 ? 0 : Math.round((i * (length - TILE_SIDE)) / last),
  );
  const seams = starts.slice(1).map((start, i) => Math.floor(((starts[i] ?? 0) + TILE_SIDE + start) / 2));
  return starts.map((start, i) => ({ start, from: seams[i - 1] ?? 0, to: seams[i] ?? length }));
}

/** A tile's 84×84 pixels. */
export function cut({ values, width }: Picture, { across, down }: Tile): Uint8Array {
  const tile = new Uint8Array(TILE_SIDE * TILE_SIDE * 3);
  for (let y = 0; y < TILE_SIDE; y++) {
    const begin = 3 * ((down.start + y) * width + across.start);
    tile.set(values.subarray(begin, begin + 3 * TILE_SIDE), 3 * TILE_SIDE * y);
  }
  return tile;
}

/** What is kept of a tile, enlarged by now, and where it belongs in the enlarged picture. */
export function kept(enlarged: Uint8ClampedArray, tile: Tile): Picture & { left: number; top: number } {
  const { across, down } = tile;
  const [left, top] = [SCALE * across.from, SCALE * down.from];
  const [width, height] = [SCALE * across.to - left, SCALE * down.to - top];
  const moved = (span: Span) => ({ start: span.start - span.from, from: 0, to: span.to - span.from });
  const picture = { values: new Uint8Array(3 * width * height), width, height };
  paste(enlarged, { across: moved(across), down: moved(down) }, picture);
  return { ...picture, left, top };
}

/** Puts what is kept of a tile, enlarged by now, into the enlarged picture. */
export function paste(enlarged: Uint8ClampedArray, { across, down }: Tile, { values, width }: Picture): void {
  const [left, right] = [SCALE * across.from, SCALE * across.to];
  for (let y = SCALE * down.from; y < SCALE * down.to; y++) {
    const row = 3 * ((y - SCALE * down.start) * SCALE * TILE_SIDE - SCALE * across.start);
    values.set(enlarged.subarray(row + 3 * left, row + 3 * right), 3 * (y * width + left));
  }
}
