// @ts-check
import { ApiError, upscale } from './api.js';
import { element, show, takeFiles } from './elements.js';
import { startLive } from './live.js';

/** Most pixels of the smaller copy that is offered of a photo which the server refuses: some seconds' work for a CPU. */
const SMALLER = 250_000;

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

startLive();
takeFiles(stage, (file) => {
  if (file) void enlarge(file, file.name);
  else show(error, 'That was no file. Drop a PNG, JPEG, WebP or GIF picture.');
});
element('sample').addEventListener('click', async () => {
  const response = await fetch('/page/boats.jpg').catch(() => undefined);
  if (response?.ok) await enlarge(await response.blob(), 'boats.jpg');
  else show(error, 'The server cannot be reached. Is it still running?');
});
cancel.addEventListener('click', () => {
  enlarging.abort();
  // The button goes away with what it could cancel.
  element('choose').focus();
});
divider.addEventListener('input', showDivider);
actual.addEventListener('change', fit);
new ResizeObserver(fit).observe(stage);

/**
 * Shows a photo, and what becomes of it.
 * @param {Blob} photo sent as it is, whatever it is: the server knows best what it can read
 * @param {string} name of its file
 */
async function enlarge(photo, name) {
  enlarging.abort();
  enlarging = new AbortController();
  const { signal } = enlarging;
  begin(photo);
  let done = 0;
  let total = 0;
  try {
    const start = performance.now();
    let begun = start;
    const picture = await upscale(photo, signal, (now) => {
      ({ done, total } = now);
      if (done === 0) begun = performance.now();
      tellProgress(done, total, performance.now() - begun);
    });
    if (signal.aborted) return;
    await reveal(picture, name);
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
  smaller.hidden = download.hidden = comparison.hidden = true;
  comparison.classList.remove('done');
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
 */
async function reveal(picture, name) {
  setSource(after, picture);
  await after.decode();
  comparison.classList.add('done');
  divider.value = '50';
  showDivider();
  fit();
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
  show(error, reason.message);
  if (!(reason instanceof ApiError)) return;
  const isTooLarge = reason.code === 'ERR_PICTURE_TOO_LARGE';
  smaller.hidden = !isTooLarge && reason.code !== 'ERR_BODY_TOO_LARGE';
  const pixels = Math.min(SMALLER, isTooLarge ? reason.details.limit : Infinity);
  smaller.onclick = async () => enlarge(await smallerCopy(photo, pixels), name);
}

/**
 * @param {Blob} photo
 * @param {number} pixels
 */
async function smallerCopy(photo, pixels) {
  const picture = await createImageBitmap(photo);
  const scale = Math.sqrt(pixels / (picture.width * picture.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.floor(picture.width * scale);
  canvas.height = Math.floor(picture.height * scale);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
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

/** Shows both pictures with the sides of the enlarged one, or as large as they fit. */
function fit() {
  const [width, height] = [2 * before.naturalWidth, 2 * before.naturalHeight];
  const room = { width: stage.clientWidth, height: Math.max(320, 0.65 * innerHeight) };
  const scale = Math.min(1, room.width / width, room.height / height);
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
