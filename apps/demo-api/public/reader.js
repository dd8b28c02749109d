// @ts-check
import { drawSamples, readPicture } from './api.js';
import { Board } from './board.js';
import { element, show, takeFiles } from './elements.js';

/** Milliseconds without a stroke until the drawing is sent. */
const PAUSE = 90;

const paper = element('paper');
const digit = element('digit');
const error = element('reader-error');
const rows = Array.from({ length: 10 }, (_, value) => scoreRow(value));

/** What is being read; drawn over by whatever comes next. */
let reading = new AbortController();
/** @type {number | undefined} */
let pause;

const board = new Board(/** @type {HTMLCanvasElement} */ (element('board')), () => {
  paper.classList.toggle('inked', !board.isEmpty);
  clearTimeout(pause);
  if (board.isEmpty) {
    reading.abort();
    forget();
  } else {
    pause = setTimeout(() => void read(() => board.toPng()), PAUSE);
  }
});

/** Lets people draw a digit, drop or choose a picture of one, or take a test digit, and shows what the network reads. */
export function startReader() {
  element('scores').append(...rows.map(({ row }) => row));
  element('clear').addEventListener('click', () => board.clear());
  element('sample').addEventListener('click', () => void readSample());
  takeFiles(paper, (file) => {
    if (file) void readFile(file);
    else show(error, 'That was no file. Drop a PNG or JPEG picture.');
  });
}

/** @param {File} picture sent as it is, whatever it is: the server knows best what it can read */
async function readFile(picture) {
  const preview = await createImageBitmap(picture).catch(() => undefined);
  if (preview) place(preview);
  await read(() => Promise.resolve(picture));
}

async function readSample() {
  await read(async () => {
    const [sample] = await drawSamples(1, Math.floor(Math.random() * 2 ** 32));
    const picture = document.createElement('canvas');
    picture.width = picture.height = 28;
    picture.getContext('2d')?.putImageData(toInk(sample.pixels), 0, 0);
    place(await createImageBitmap(picture));
    return board.toPng();
  });
}

/** @param {ImageBitmap} picture */
function place(picture) {
  clearTimeout(pause);
  board.show(picture);
  paper.classList.add('inked');
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
  reading.abort();
  reading = new AbortController();
  const { signal } = reading;
  try {
    const picture = await getPicture();
    const start = performance.now();
    const answer = await readPicture(picture, signal);
    if (!signal.aborted) tell(answer, performance.now() - start);
  } catch (reason) {
    if (signal.aborted) return;
    forget();
    show(error, /** @type {Error} */ (reason).message);
  }
}

/**
 * @param {import('./api.js').Digit} answer
 * @param {number} took milliseconds
 */
function tell(answer, took) {
  show(error, '');
  digit.textContent = String(answer.digit);
  delete digit.dataset.empty;
  element('sure').textContent = `${percent(answer.confidence)} sure`;
  element('took').textContent = `Answered in ${Math.max(1, Math.round(took))} ms`;
  element('spoken').textContent = `Read as ${answer.digit}, ${percent(answer.confidence)} sure`;
  rows.forEach(({ row, bar, share }, value) => {
    row.classList.toggle('best', value === answer.digit);
    bar.style.setProperty('--score', String(answer.scores[value]));
    share.textContent = percent(answer.scores[value]);
  });
}

function forget() {
  show(error, '');
  digit.textContent = '–';
  digit.dataset.empty = '';
  element('sure').textContent = 'Nothing to read yet';
  element('took').textContent = 'Answers come while you draw.';
  element('spoken').textContent = '';
  for (const { row, bar, share } of rows) {
    row.classList.remove('best');
    bar.style.setProperty('--score', '0');
    share.textContent = '';
  }
}

/** @param {number} value */
function scoreRow(value) {
  const row = document.createElement('li');
  const bar = document.createElement('i');
  const share = document.createElement('span');
  row.append(String(value), bar, share);
  return { row, bar, share };
}

/** @param {number} share */
function percent(share) {
  return share > 0.9995 ? '> 99.9 %' : `${(100 * share).toFixed(1)} %`;
}
