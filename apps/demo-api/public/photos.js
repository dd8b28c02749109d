// @ts-check
import { ApiError, UnreachableError, upscale } from './api.js';
import { element, show, takeFiles } from './elements.js';
import { showLoupe, startLoupe } from './loupe.js';
import { Batches, Tiles } from './photo-tiles.js';
import { onRestart, onReturn, startQueue } from './queue.js';

/** Most pixels of the smaller copy that is offered of a photo which the server refuses: some seconds' work for a CPU. */
const SMALLER = 250_000;
/** Pixels of the page that the longer side of a small photo has at least, and the width of a narrow one. */
const [LEAST_SIDE, LEAST_WIDTH] = [320, 96];

const stage = element('stage');
const comparison = element('comparison');
const before = /** @type {HTMLImageElement} */ (element('before'));
const after = /** @type {HTMLImageElement} */ (element('after'));
const divider = /** @type {HTMLInputElement} */ (element('divider'));
const status = element('photo-status');
const error = element('photo-error');
const progress = /** @type {HTMLProgressElement} */ (element('photo-progress'));
const cancel = element('cancel');
const smaller = element('smaller');
const actual = /** @type {HTMLInputElement} */ (element('actual'));
const download = /** @type {HTMLAnchorElement} */ (element('download'));

/** What is being enlarged; ended by whatever comes next. */
let enlarging = new AbortController();

/** The batches of what is being enlarged. */
let batches = new Batches(['your photo']);
/** Whether the error that is shown is that the server is not there. */
let isUnreachable = false;

startQueue(['TileUpscaler.upscale'], 'tiles');
onRestart(() => batches.forget());
onReturn(() => {
  if (isUnreachable) show(error, '');
});
startLoupe();
takeFiles(stage, (file) => {
  if (file) void enlarge(file, file.name);
  else fail(new Error('That was no file. Drop a PNG, JPEG, WebP or GIF picture.'));
});
element('sample').addEventListener('click', async () => {
  const boats = await sample();
  if (boats) await enlarge(boats, 'boats.jpg');
});
element('both').addEventListener('click', async () => {
  const boats = await sample();
  if (!boats) return;
  const second = await mirrored(boats);
  await Promise.all([enlarge(boats, 'boats.jpg', ['photo 1', 'photo 2']), accompany(second)]);
});
cancel.addEventListener('click', () => {
  enlarging.abort();
  // The button goes away with what it could cancel.
  element('choose').focus();
});
divider.addEventListener('input', showDivider);
const line = /** @type {HTMLElement} */ (comparison.querySelector('.line'));
line.addEventListener('pointerdown', (event) => line.setPointerCapture(event.pointerId));
line.addEventListener('pointermove', (event) => {
  if (!line.hasPointerCapture(event.pointerId)) return;
  const { left, width } = comparison.getBoundingClientRect();
  divider.value = String((100 * (event.clientX - left)) / width);
  showDivider();
});
actual.addEventListener('change', fit);
new ResizeObserver(fit).observe(stage);

/** @returns {Promise<Blob | undefined>} */
async function sample() {
  const response = await fetch('/page/boats.jpg').catch(() => undefined);
  if (response?.ok) return response.blob();
  fail(new UnreachableError(undefined));
  return undefined;
}

/** @param {Blob} photo */
async function mirrored(photo) {
  const picture = await createImageBitmap(photo);
  const { canvas, context } = canvasOf(picture.width, picture.height);
  context.scale(-1, 1);
  context.drawImage(picture, -picture.width, 0);
  return blobOf(canvas);
}

/**
 * Enlarges a second photo beside the first: their tiles meet in batches.
 * @param {Blob} photo
 */
async function accompany(photo) {
  const { signal } = enlarging;
  const theirs = batches;
  const tiles = new Tiles(/** @type {HTMLCanvasElement} */ (element('companion-tiles')), 1);
  setSource(/** @type {HTMLImageElement} */ (element('companion-photo')), photo);
  show(element('companion-error'), '');
  element('companion').hidden = element('first').hidden = false;
  const onTile = (/** @type {import('./api.js').Tile} */ tile) => {
    if (signal.aborted) return;
    theirs.add(1, tile);
    void tiles.draw(tile);
  };
  try {
    await upscale(photo, signal, {
      onGrid: (grid) => tiles.begin(grid),
      onTile,
      onProgress: () => undefined,
    });
  } catch (reason) {
    // Both are cancelled together.
    if (signal.aborted) return;
    const { message } = /** @type {Error} */ (reason);
    show(element('companion-error'), `The second photo could not be enlarged. ${message}`);
  }
}

/**
 * Shows a photo, and what becomes of it.
 * @param {Blob} photo sent as it is, whatever it is: the server knows best what it can read
 * @param {string} name of its file
 * @param {string[]} [photos] what the timeline calls it, and another one that is enlarged at the same time
 */
async function enlarge(photo, name, photos = ['your photo']) {
  enlarging.abort();
  enlarging = new AbortController();
  const { signal } = enlarging;
  begin(photo);
  const mine = (batches = new Batches(photos));
  const overlay = new Tiles(/** @type {HTMLCanvasElement} */ (element('tiles')), 0);
  signal.addEventListener('abort', () => overlay.end());
  let done = 0;
  let total = 0;
  try {
    const start = performance.now();
    let begun = start;
    const picture = await upscale(photo, signal, {
      onGrid: (grid) => overlay.begin(grid),
      onTile: (tile) => {
        if (signal.aborted) return;
        mine.add(0, tile);
        void overlay.draw(tile);
      },
      onProgress: (now) => {
        ({ done, total } = now);
        if (done === 0) begun = performance.now();
        tellProgress(done, total, performance.now() - begun);
      },
    });
    if (signal.aborted) return;
    await reveal(picture, name, signal);
    if (signal.aborted) return;
    const seconds = (performance.now() - start) / 1000;
    status.textContent =
      `${sizeOf(before)} became ${sizeOf(after)}, ${tiles(total)} in ${seconds.toFixed(1)} s, ` +
      `${(total / seconds).toFixed(1)} a second`;
    element('photo-spoken').textContent = 'The photo is enlarged. Move the slider to compare.';
  } catch (reason) {
    if (enlarging.signal !== signal) return;
    status.textContent = signal.aborted ? `Cancelled after ${done} of ${tiles(total)}` : '';
    if (!signal.aborted) refuse(photo, name, /** @type {Error} */ (reason));
  }
  if (enlarging.signal === signal) progress.hidden = cancel.hidden = true;
}

/** @param {Blob} photo */
function begin(photo) {
  show(error, '');
  isUnreachable = false;
  smaller.hidden = download.hidden = comparison.hidden = true;
  comparison.classList.remove('done');
  element('companion').hidden = element('first').hidden = true;
  showLoupe();
  setSource(before, photo);
  before.onload = () => {
    comparison.hidden = false;
    fit();
  };
  status.textContent = 'Sending…';
  element('photo-spoken').textContent = 'Enlarging…';
  progress.removeAttribute('value');
  progress.hidden = cancel.hidden = false;
}

/**
 * @param {number} done
 * @param {number} total
 * @param {number} took milliseconds
 */
function tellProgress(done, total, took) {
  progress.value = done / total;
  const left = Math.ceil(((took / done) * (total - done)) / 1000);
  const estimate = done === 0 || done === total ? '' : `, about ${duration(left)} left`;
  status.textContent = `${done} of ${tiles(total)}${estimate}`;
}

/**
 * @param {Blob} picture
 * @param {string} name of the photo's file
 * @param {AbortSignal} signal aborts when another photo takes its place
 */
async function reveal(picture, name, signal) {
  setSource(after, picture);
  await after.decode();
  if (signal.aborted) return;
  comparison.classList.add('done');
  divider.value = '50';
  showDivider();
  fit();
  showLoupe();
  download.href = after.src;
  download.download = `${name.replace(/\.\w+$/, '')}-2x.png`;
  download.hidden = false;
}

/**
 * @param {Blob} photo
 * @param {string} name
 * @param {Error} reason
 */
function refuse(photo, name, reason) {
  fail(reason);
  if (!(reason instanceof ApiError)) return;
  const isTooLarge = reason.code === 'ERR_PICTURE_TOO_LARGE';
  smaller.hidden = !isTooLarge && reason.code !== 'ERR_BODY_TOO_LARGE';
  const pixels = Math.min(SMALLER, isTooLarge ? reason.details.limit : Infinity);
  smaller.onclick = async () => enlarge(await smallerCopy(photo, pixels), name);
}

/** @param {Error} reason */
function fail(reason) {
  show(error, reason.message);
  isUnreachable = reason instanceof UnreachableError;
}

/**
 * @param {Blob} photo
 * @param {number} pixels
 */
async function smallerCopy(photo, pixels) {
  const picture = await createImageBitmap(photo);
  const scale = Math.sqrt(pixels / (picture.width * picture.height));
  const { canvas, context } = canvasOf(
    Math.max(1, Math.floor(picture.width * scale)),
    Math.max(1, Math.floor(picture.height * scale)),
  );
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return blobOf(canvas);
}

/**
 * @param {number} width
 * @param {number} height
 */
function canvasOf(width, height) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  return { canvas, context: /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')) };
}

/** @param {HTMLCanvasElement} canvas */
function blobOf(canvas) {
  return /** @type {Promise<Blob>} */ (
    new Promise((resolve, reject) => {
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('The photo cannot be read.'))));
    })
  );
}

/** What lies left of the divider is the photo as it was. */
function showDivider() {
  comparison.style.setProperty('--divider', `${divider.value}%`);
}

/** Shows both pictures with the sides of the enlarged one, or as large as they fit; small and narrow ones larger. */
function fit() {
  const [width, height] = [2 * before.naturalWidth, 2 * before.naturalHeight];
  const room = { width: stage.clientWidth, height: Math.max(320, 0.65 * innerHeight) };
  if (!(width > 0)) return;
  const most = Math.min(room.width / width, room.height / height);
  const least = Math.min(most, LEAST_SIDE / Math.max(width, height));
  const scale = Math.max(Math.min(1, most), least, Math.min(room.width, LEAST_WIDTH) / width);
  comparison.classList.toggle('actual', actual.checked && scale < 1);
  element('zoom').hidden = scale === 1 || !comparison.classList.contains('done');
  comparison.style.width = `${Math.floor(width * (actual.checked ? 1 : scale))}px`;
}

/**
 * @param {HTMLImageElement} image
 * @param {Blob} blob
 */
function setSource(image, blob) {
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
}

/** @param {HTMLImageElement} image */
function sizeOf({ naturalWidth, naturalHeight }) {
  return `${naturalWidth} × ${naturalHeight}`;
}

/** @param {number} count */
function tiles(count) {
  return count === 1 ? '1 tile' : `${count} tiles`;
}

/** @param {number} seconds */
function duration(seconds) {
  return seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
