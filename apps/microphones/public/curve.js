/** Frames in view: ten seconds. */
const FRAMES = 312;

/** The probability of speech of the last seconds. */
export class Curve {
  /** @type {number[]} */
  #values = [];
  #due = false;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    new ResizeObserver(() => this.#later()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#later());
  }

  clear() {
    this.#values = [];
    this.#later();
  }

  /** @param {number} value */
  add(value) {
    this.#values.push(value);
    if (this.#values.length > FRAMES) this.#values.shift();
    this.#later();
  }

  /** @param {string} text */
  describe(text) {
    this.canvas.ariaLabel = `Probability of speech: ${text}`;
  }

  #later() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    });
  }

  #draw() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth * devicePixelRatio, canvas.clientHeight * devicePixelRatio];
    Object.assign(canvas, { width, height });
    const pen = canvas.getContext('2d');
    if (!pen) return;
    const style = getComputedStyle(canvas);
    const y = (/** @type {number} */ value) => height - 4 - value * (height - 8);
    pen.strokeStyle = style.getPropertyValue('--line');
    pen.lineWidth = devicePixelRatio;
    pen.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    pen.beginPath();
    pen.moveTo(0, y(0.5));
    pen.lineTo(width, y(0.5));
    pen.stroke();
    pen.setLineDash([]);
    if (this.#values.length === 0) return;
    const x = (/** @type {number} */ i) => ((FRAMES - this.#values.length + i) / (FRAMES - 1)) * width;
    pen.strokeStyle = style.getPropertyValue('--accent');
    pen.fillStyle = pen.strokeStyle;
    pen.lineWidth = 2 * devicePixelRatio;
    pen.beginPath();
    this.#values.forEach((value, i) => {
      pen.lineTo(x(i), y(value));
    });
    pen.stroke();
    pen.lineTo(width, height);
    pen.lineTo(x(0), height);
    pen.globalAlpha = 0.15;
    pen.fill();
  }
}
