// @ts-check
import { drawSamples, readPicture, UnreachableError } from './api.js';
import { Board } from './board.js';
import { watchQueue } from './digit-queues.js';
import { colour, element, prepare, show, takeFiles, write } from './elements.js';
import { isGone, onReturn } from './queue.js';

/** @typedef {import('./api.js').Digit} Digit */
/** @typedef {import('./api.js').Journey} Journey */

/** Milliseconds without a stroke until the drawing is sent. */
const PAUSE = 90;
/** CSS pixels from one cell of a batch to the next, where there is room. */
const CELL = 20;

const paper = element('paper');
const digit = element('digit');
const error = element('reader-error');
const cells = /** @type {HTMLCanvasElement} */ (element('journey-cells'));
const rows = Array.from({ length: 10 }, (_, value) => scoreRow(value));

/** The picture that is on the paper now: ended by whatever comes next, so that no answer to another one is shown. */
let turn = new AbortController();
/** @type {number | undefined} */
let pause;
/** Does again what the server could not be reached for. @type {(() => void) | undefined} */
let retry;
/** Of the digit that is shown. @type {Journey | undefined} */
let journey;

const board = new Board(/** @type {HTMLCanvasElement} */ (element('board')), () => {
  paper.classList.toggle('inked', !board.isEmpty);
  begin();
  if (!board.isEmpty) pause = setTimeout(() => void read(() => board.toPng()), PAUSE);
});

/** Lets people draw a digit, drop or choose a picture of one, or take a test digit, and shows what the network reads. */
export function startReader() {
  element('scores').append(...rows.map(({ row }) => row));
  element('clear').addEventListener('click', () => board.clear());
  element('sample').addEventListener('click', () => void readSample());
  takeFiles(paper, (file) => {
    if (file) void readFile(file);
    else show(error, 'That was no file. Drop a PNG, JPEG, WebP or GIF picture.');
  });
  onReturn(() => retry?.());
  new ResizeObserver(drawCells).observe(cells);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawCells);
  forget();
}

/**
 * Forgets what was read: something else is on the paper.
 * @returns {AbortSignal} aborts when something else is
 */
function begin() {
  clearTimeout(pause);
  turn.abort();
  turn = new AbortController();
  retry = undefined;
  forget();
  return turn.signal;
}

/** @param {File} file of which the picture itself is sent, not what the paper shows of it */
async function readFile(file) {
  board.clear();
  const { signal } = turn;
  const picture = await createImageBitmap(file).catch(() => undefined);
  if (signal.aborted) return;
  if (!picture) {
    show(error, 'That is no PNG, JPEG, WebP or GIF picture.');
    return;
  }
  board.show(picture);
  await read(() => Promise.resolve(file));
}

async function readSample() {
  board.clear();
  const { signal } = turn;
  tellReading();
  try {
    const [sample] = await drawSamples(1, Math.floor(Math.random() * 2 ** 32), signal);
    const picture = document.createElement('canvas');
    picture.width = picture.height = 28;
    picture.getContext('2d')?.putImageData(toInk(sample.pixels), 0, 0);
    const bitmap = await createImageBitmap(picture);
    if (!signal.aborted) board.show(bitmap);
  } catch (reason) {
    if (!signal.aborted) tellUnread(/** @type {Error} */ (reason), () => void readSample());
  }
}

/** @param {number[]} pixels */
function toInk(pixels) {
  const [r, g, b] = (getComputedStyle(paper).color.match(/\d+/g) ?? []).map(Number);
  const image = new ImageData(28, 28);
  pixels.forEach((value, i) => image.data.set([r, g, b, value], 4 * i));
  return image;
}

/** @param {() => Promise<Blob>} getPicture */
async function read(getPicture) {
  const signal = begin();
  const again = () => void read(getPicture);
  if (isGone()) {
    tellUnread(new UnreachableError(undefined), again);
    return;
  }
  tellReading();
  try {
    const picture = await getPicture();
    const start = performance.now();
    const answer = await readPicture(picture, signal);
    if (!signal.aborted) tell(answer, performance.now() - start);
  } catch (reason) {
    if (!signal.aborted) tellUnread(/** @type {Error} */ (reason), again);
  }
}

function tellReading() {
  watchQueue('digits');
  digit.textContent = '…';
  element('sure').textContent = 'Reading…';
  element('took').textContent = '';
}

/**
 * @param {Error} reason
 * @param {() => void} again
 */
function tellUnread(reason, again) {
  forget();
  if (reason instanceof UnreachableError) retry = again;
  element('sure').textContent = 'Not read';
  show(error, reason.message);
}

/**
 * @param {Digit} answer
 * @param {number} took milliseconds
 */
function tell(answer, took) {
  digit.textContent = String(answer.digit);
  delete digit.dataset.empty;
  element('sure').textContent = `${percent(answer.confidence)} sure`;
  element('took').textContent = `Answered in ${Math.max(1, Math.round(took))} ms`;
  write(element('spoken'), `Read as ${answer.digit}, ${percent(answer.confidence)} sure`);
  rows.forEach(({ row, bar, share }, value) => {
    row.classList.toggle('best', value === answer.digit);
    bar.style.setProperty('--score', String(answer.scores[value]));
    share.textContent = percent(answer.scores[value]);
  });
  journey = answer.journey;
  tellJourney(describe(journey));
}

function forget() {
  show(error, '');
  digit.textContent = '–';
  digit.dataset.empty = '';
  element('sure').textContent = board.isEmpty ? 'Nothing to read yet' : 'Reading…';
  element('took').textContent = board.isEmpty ? 'Answers come while you draw.' : '';
  for (const { row, bar, share } of rows) {
    row.classList.remove('best');
    bar.style.setProperty('--score', '0');
    share.textContent = '';
  }
  journey = undefined;
  tellJourney('Its journey will be here: its wait, its batch, its run.');
}

/** @param {string} text */
function tellJourney(text) {
  element('journey').textContent = text;
  element('journey').classList.toggle('quiet', !journey);
  drawCells();
}

/** @param {Journey} journey */
function describe({ waited, size, ran }) {
  const others = size === 1 ? 'alone' : size === 2 ? 'with 1 other' : `with ${size - 1} others`;
  return `Waited ${milliseconds(waited)}, travelled ${others}, ran ${milliseconds(ran)}.`;
}

/** The batch as cells, of which one was this digit's. */
function drawCells() {
  const { context, width, height } = prepare(cells);
  if (!journey) return;
  const { size, place } = journey;
  let step = CELL;
  while (step > 2 && Math.floor(width / step) * Math.floor(height / step) < size) step -= 0.5;
  const columns = Math.floor(width / step);
  const gap = step > 4 ? 2 : 0.5;
  for (let cell = 0; cell < size; cell++) {
    context.fillStyle = colour(cell === place ? 'accent' : 'cell');
    context.fillRect((cell % columns) * step, Math.floor(cell / columns) * step, step - gap, step - gap);
  }
}

/** @param {number} value */
function scoreRow(value) {
  const row = document.createElement('li');
  const bar = document.createElement('i');
  const share = document.createElement('span');
  share.className = 'hidden';
  row.append(String(value), bar, share);
  return { row, bar, share };
}

/** @param {number} value */
function milliseconds(value) {
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ms`;
}

/** @param {number} share */
function percent(share) {
  return share > 0.9995 ? '> 99.9 %' : `${(100 * share).toFixed(1)} %`;
}
