// @ts-check

/** @param {string} id */
export function element(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * Writes only what changes: a screen reader would read it again, and a selection would be lost.
 * @param {HTMLElement} place
 * @param {string} text
 */
export function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/**
 * Shows a message in its place; none hides it.
 * @param {HTMLElement} place
 * @param {string} message
 */
export function show(place, message) {
  place.textContent = message;
  place.hidden = message === '';
}

/**
 * Takes files that are dropped on a place, or chosen with the button `choose` and the input `file`.
 * @param {HTMLElement} place
 * @param {(file: File | undefined) => void} take given nothing when something else was dropped
 */
export function takeFiles(place, take) {
  const input = /** @type {HTMLInputElement} */ (element('file'));
  element('choose').addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    if (input.files?.[0]) take(input.files[0]);
    input.value = '';
  });
  place.addEventListener('dragover', (event) => {
    event.preventDefault();
    place.classList.add('over');
  });
  place.addEventListener('dragleave', () => place.classList.remove('over'));
  place.addEventListener('drop', (event) => {
    event.preventDefault();
    place.classList.remove('over');
    take(event.dataTransfer?.files[0]);
  });
}

/**
 * Makes a canvas as sharp as the screen.
 * @param {HTMLCanvasElement} canvas
 * @returns {{ context: CanvasRenderingContext2D, width: number, height: number }} in CSS pixels, wiped clean
 */
export function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.scale(scale, scale);
  context.font = '11px ui-sans-serif, system-ui, sans-serif';
  return { context, width, height };
}

/**
 * A colour of the theme in force. A canvas would go on with the colour before for one that is not there.
 * @param {string} name as in style.css, without the dashes
 */
export function colour(name) {
  const value = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
  if (value === '') throw new Error(`style.css has no colour --${name}`);
  return value;
}
