// @ts-check
import { colour, element, write } from './elements.js';

/** @typedef {import('./api.js').Grid} Grid */
/** @typedef {import('./api.js').Tile} Tile */
/** @typedef {0 | 1} Photo which of two photos */
/** @typedef {{ names: string[], of: (batch: number) => number[] | undefined }} Shares */

/** A photo's tiles, drawn in its place as they come: those that are missing have a frame in the photo's colour. */
export class Tiles {
  #isEnded = false;

  /**
   * @param {HTMLCanvasElement} canvas over the photo
   * @param {Photo} photo
   */
  constructor(canvas, photo) {
    this.canvas = canvas;
    this.photo = photo;
    canvas.width = canvas.height = 0;
  }

  /** @param {Grid} grid */
  begin({ across, down }) {
    const { canvas } = this;
    canvas.width = across.at(-1) ?? 0;
    canvas.height = down.at(-1) ?? 0;
    const context = this.#context;
    context.strokeStyle = colour(`photo-${this.photo + 1}`);
    context.lineWidth = 2;
    for (const [column, left] of across.slice(0, -1).entries()) {
      for (const [row, top] of down.slice(0, -1).entries()) {
        const [right = 0, bottom = 0] = [across[column + 1], down[row + 1]];
        context.strokeRect(left + 1, top + 1, right - left - 2, bottom - top - 2);
      }
    }
  }

  /** @param {Tile} tile */
  async draw({ left, top, jpeg }) {
    const bytes = Uint8Array.from(atob(jpeg), (char) => char.charCodeAt(0));
    const picture = await createImageBitmap(new Blob([bytes], { type: 'image/jpeg' }));
    if (!this.#isEnded) this.#context.drawImage(picture, left, top);
    picture.close();
  }

  /** What comes later is not drawn: another photo may be there by then. */
  end() {
    this.#isEnded = true;
  }

  get #context() {
    return /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext('2d'));
  }
}

/** The batches in which the tiles of one or two photos travel, which the timeline shows by photo. */
export class Batches {
  /** Tiles of each photo, by the number of the batch. @type {Map<number, { size: number, tiles: number[] }>} */
  #batches = new Map();

  /** @param {string[]} photos their names */
  constructor(photos) {
    this.photos = photos;
    const timeline = /** @type {HTMLElement & { shares: Shares }} */ (element('timeline'));
    timeline.shares = { names: photos, of: (batch) => this.#batches.get(batch)?.tiles };
    this.#tell();
  }

  /**
   * @param {Photo} photo
   * @param {Tile} tile
   */
  add(photo, { journey: { batch, size } }) {
    const known = this.#batches.get(batch) ?? { size, tiles: this.photos.map(() => 0) };
    known.tiles[photo]++;
    this.#batches.set(batch, known);
    this.#tell();
  }

  /** Forgets them: another process numbers its batches anew. */
  forget() {
    this.#batches.clear();
    this.#tell();
  }

  #tell() {
    const all = [...this.#batches.values()];
    const shared = all.filter(({ size, tiles }) => size > Math.max(...tiles));
    const batches = `${all.length} ${all.length === 1 ? 'batch' : 'batches'}`;
    write(element('shared'), all.length === 0 ? '' : `${batches}, ${shared.length} shared`);
  }
}
