// @ts-check

/** @param {string} id */
export function element(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
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
 * A colour of the theme in force.
 * @param {string} name as in style.css, without the dashes
 */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
}
