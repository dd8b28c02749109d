// @ts-check
import { element } from './elements.js';

/** How many times as large as its pixels the enlarged photo is in the loupe. */
const POWER = 3;
/** How far an arrow key moves it, as a share of the photo. */
const STEP = 0.02;

const loupe = element('loupe');
const comparison = element('comparison');
const choice = /** @type {HTMLInputElement} */ (element('with-loupe'));
const [before, after] = /** @type {[HTMLElement, HTMLElement]} */ ([...loupe.children]);
/** Where it is, as shares of the photo. */
let at = { x: 0.5, y: 0.5 };

/** Shows a spot of the photo, before beside after, under the pointer or moved by the arrow keys. */
export function startLoupe() {
  choice.addEventListener('change', showLoupe);
  comparison.addEventListener('pointermove', (event) => {
    const { left, top, width, height } = comparison.getBoundingClientRect();
    move((event.clientX - left) / width, (event.clientY - top) / height);
  });
  loupe.addEventListener('keydown', (event) => {
    const [x, y] =
      { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [];
    if (x === undefined || y === undefined) return;
    event.preventDefault();
    move(at.x + x * STEP, at.y + y * STEP);
  });
}

/** Shows or hides it, with the photos that are there now. */
export function showLoupe() {
  const isDone = comparison.classList.contains('done');
  element('loupe-choice').hidden = !isDone;
  loupe.hidden = !isDone || !choice.checked;
  if (loupe.hidden) return;
  for (const [half, id] of /** @type {const} */ ([
    [before, 'before'],
    [after, 'after'],
  ])) {
    const image = /** @type {HTMLImageElement} */ (element(id));
    half.style.backgroundImage = `url("${image.src}")`;
  }
  move(at.x, at.y);
}

/**
 * @param {number} x
 * @param {number} y
 */
function move(x, y) {
  at = { x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)) };
  if (loupe.hidden) return;
  const { naturalWidth, naturalHeight } = /** @type {HTMLImageElement} */ (element('after'));
  const [width, height] = [POWER * naturalWidth, POWER * naturalHeight];
  loupe.style.left = `${100 * at.x}%`;
  loupe.style.top = `${100 * at.y}%`;
  for (const half of [before, after]) {
    half.style.backgroundSize = `${width}px ${height}px`;
    half.style.backgroundPosition = `${half.clientWidth / 2 - at.x * width}px ${half.clientHeight / 2 - at.y * height}px`;
  }
}
