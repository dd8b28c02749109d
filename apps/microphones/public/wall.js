/** Width of the wall as a multiple of its height. */
const ASPECT = 2;
/** Milliseconds between two descriptions. */
const PAUSE = 5000;

/** A cell for each microphone, the more coloured the likelier it hears speech. */
export class Wall {
  /** @type {readonly number[]} */
  #levels = [];
  #described = -Infinity;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  /** @param {readonly number[]} levels in hundredths */
  show(levels) {
    this.#levels = levels;
    if (levels.length === 0) {
      this.#described = -Infinity;
      this.canvas.ariaLabel = 'The crowd: no microphones';
    }
    this.#draw();
  }

  /** @param {string} text */
  describe(text) {
    if (performance.now() - this.#described < PAUSE) return;
    this.#described = performance.now();
    this.canvas.ariaLabel = `The crowd: ${text}`;
  }

  #draw() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth * devicePixelRatio, canvas.clientHeight * devicePixelRatio];
    Object.assign(canvas, { width, height });
    const pen = canvas.getContext('2d');
    if (!pen) return;
    const count = this.#levels.length;
    const columns = Math.ceil(Math.sqrt(count * ASPECT));
    const size = Math.min(
      width / Math.max(columns, 8),
      height / Math.max(1, Math.ceil(count / columns || 1)),
    );
    const style = getComputedStyle(canvas);
    const [silent, speech] = [style.getPropertyValue('--silent'), style.getPropertyValue('--accent')];
    this.#levels.forEach((level, i) => {
      const [x, y] = [(i % columns) * size, Math.floor(i / columns) * size];
      const cell = () => {
        pen.beginPath();
        pen.roundRect(x + 0.08 * size, y + 0.08 * size, 0.84 * size, 0.84 * size, 0.2 * size);
        pen.fill();
      };
      pen.globalAlpha = 1;
      pen.fillStyle = silent;
      cell();
      pen.globalAlpha = level / 100;
      pen.fillStyle = speech;
      cell();
    });
  }
}
