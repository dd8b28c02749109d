// @ts-check
import { colour, element } from './elements.js';

/** @typedef {import('./api.js').Grid} Grid */
/** @typedef {import('./api.js').Tile} Tile */
/** @typedef {'first' | 'second'} Name which of two photos */

/** Blocks that are shown: a photo of a million pixels has 64. */
const MOST_BLOCKS = 80;

/** A photo's tiles, drawn in its place as they come: those that are missing have a frame in the photo's colour. */
export class Tiles {
  #isEnded = false;

  /**
   * @param {HTMLCanvasElement} canvas over the photo
   * @param {Name} name
   */
  constructor(canvas, name) {
    this.canvas = canvas;
    this.name = name;
    canvas.width = canvas.height = 0;
  }

  /** @param {Grid} grid */
  begin({ across, down }) {
    const { canvas } = this;
    canvas.width = across.at(-1) ?? 0;
    canvas.height = down.at(-1) ?? 0;
    const context = this.#context;
    context.strokeStyle = colour(colourOf[this.name]);
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

/** @type {Record<Name, string>} as in style.css */
const colourOf = { first: 'size', second: 'delay' };

/** The batches in which tiles travelled: a block each, with a cell for each tile in the colour of its photo. */
export class Blocks {
  /** @type {Map<number, { item: HTMLElement, cells: HTMLElement[], tiles: Record<Name, number>, size: number }>} */
  #blocks = new Map();

  constructor() {
    element('blocks').replaceChildren();
    element('shared-status').textContent = '';
  }

  /**
   * @param {Name} name
   * @param {Tile} tile
   */
  add(name, { journey: { batch, size, place } }) {
    const block = this.#blocks.get(batch) ?? this.#open(batch, size);
    const cell = block.cells[place];
    if (cell) cell.dataset.photo = name;
    block.tiles[name]++;
    const { first, second } = block.tiles;
    const others = size - first - second;
    const parts = [
      first > 0 ? `${first} of the photo` : '',
      second > 0 ? `${second} of the second photo` : '',
      others > 0 ? `${others} of others` : '',
    ];
    const words = /** @type {HTMLElement} */ (block.item.querySelector('.hidden'));
    words.textContent = `Batch of ${size}: ${parts.filter(Boolean).join(', ')}`;
    const all = [...this.#blocks.values()];
    const shared = all.filter(({ tiles, size: most }) => most > Math.max(tiles.first, tiles.second));
    element('shared-status').textContent =
      `${all.length} ${all.length === 1 ? 'batch' : 'batches'}, ${shared.length} shared`;
  }

  /**
   * @param {number} batch
   * @param {number} size
   */
  #open(batch, size) {
    const item = document.createElement('li');
    const cells = Array.from({ length: size }, () => document.createElement('i'));
    for (const cell of cells) cell.dataset.photo = 'others';
    const words = document.createElement('span');
    words.className = 'hidden';
    item.append(...cells, words);
    const block = { item, cells, tiles: { first: 0, second: 0 }, size };
    this.#blocks.set(batch, block);
    const list = element('blocks');
    list.append(item);
    if (list.children.length > MOST_BLOCKS) list.firstElementChild?.remove();
    return block;
  }
}
