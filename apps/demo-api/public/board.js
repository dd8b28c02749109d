// @ts-check

/** Share of the board's side; MNIST's strokes are two to three of 28 pixels wide. */
const STROKE = 0.075;

/**
 * The paper: takes strokes of mouse, pen or finger, and pictures. What is on it is kept as strokes, so that it can be
 * drawn again in another theme's ink.
 */
export class Board {
  /** @type {{ x: number, y: number }[][]} */
  #strokes = [];
  /** The strokes under way, by the finger that draws each. @type {Map<number, { x: number, y: number }[]>} */
  #drawing = new Map();
  /** @type {ImageBitmap | undefined} */
  #picture;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} onChange called whenever what is on the paper has changed
   */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    this.context = /** @type {CanvasRenderingContext2D} */ (
      canvas.getContext('2d', { willReadFrequently: true })
    );
    canvas.addEventListener('pointerdown', (event) => this.#begin(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    for (const end of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      canvas.addEventListener(end, (event) => {
        this.#drawing.delete(/** @type {PointerEvent} */ (event).pointerId);
      });
    }
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  get isEmpty() {
    return this.#strokes.length === 0 && !this.#picture;
  }

  clear() {
    this.#forget();
    this.#changed();
  }

  /** @param {ImageBitmap} picture shown on the paper, as large as it fits */
  show(picture) {
    this.#forget();
    this.#picture = picture;
    this.#changed();
  }

  /** @returns {Promise<Blob>} */
  toPng() {
    return new Promise((resolve, reject) => {
      this.canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('The drawing cannot be read.'))));
    });
  }

  /** @param {PointerEvent} event */
  #begin(event) {
    if (event.button !== 0) return;
    // Or the mouse would select text once it leaves the paper.
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.#picture = undefined;
    const stroke = [this.#pointOf(event)];
    this.#strokes.push(stroke);
    this.#drawing.set(event.pointerId, stroke);
    this.#changed();
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const stroke = this.#drawing.get(event.pointerId);
    if (!stroke) return;
    const between = event.getCoalescedEvents();
    for (const point of between.length > 0 ? between : [event]) stroke.push(this.#pointOf(point));
    this.#changed();
  }

  /** @param {PointerEvent} event */
  #pointOf({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: ((clientX - box.left) / box.width) * this.canvas.width,
      y: ((clientY - box.top) / box.height) * this.canvas.height,
    };
  }

  #forget() {
    this.#strokes = [];
    this.#drawing.clear();
    this.#picture = undefined;
  }

  #changed() {
    this.#draw();
    this.onChange();
  }

  #draw() {
    const { canvas, context } = this;
    const { width, height } = canvas;
    context.clearRect(0, 0, width, height);
    if (this.#picture) {
      const scale = Math.min(width / this.#picture.width, height / this.#picture.height);
      const [w, h] = [this.#picture.width * scale, this.#picture.height * scale];
      context.imageSmoothingEnabled = scale < 4;
      context.drawImage(this.#picture, (width - w) / 2, (height - h) / 2, w, h);
    }
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = STROKE * width;
    context.lineCap = context.lineJoin = 'round';
    for (const stroke of this.#strokes) {
      context.beginPath();
      // From middle to middle, with the points themselves as handles: no corners.
      stroke.forEach(({ x, y }, i) => {
        const before = stroke[i - 1] ?? { x, y };
        context.quadraticCurveTo(before.x, before.y, (before.x + x) / 2, (before.y + y) / 2);
      });
      const { x, y } = /** @type {{ x: number, y: number }} */ (stroke.at(-1));
      context.lineTo(x, y);
      context.stroke();
    }
  }
}
