/**
 * @typedef {object} Heard What the server says of a frame.
 * @property {number} frame
 * @property {number} speech
 * @property {number} together
 * @property {number} took
 * @property {{ from: number; to: number }} [segment]
 */

/** Frames on the way, at most: fewer than the server takes, which ends a stream that sends more. */
const MOST_PENDING = 8;
/** Bytes before the samples: the number of the frame. */
const HEAD = 4;

/** A connection that sends frames, numbered, and gets an answer for each. */
export class Stream {
  #next = 0;
  #heard = 0;
  #ended = false;
  /** Resolves when an answer comes, or no more will. */
  #answer = withResolvers();

  /**
   * @param {string} path
   * @param {{ onHeard: (heard: Heard) => void; onEnd: (reason: string) => void }} listeners
   */
  constructor(path, { onHeard, onEnd }) {
    this.socket = new WebSocket(new URL(path, location.href.replace(/^http/, 'ws')));
    this.opened = new Promise((resolve) => {
      this.socket.addEventListener('open', resolve);
      this.socket.addEventListener('close', resolve);
    });
    let reason = 'The connection is lost';
    this.socket.addEventListener('message', ({ data }) => {
      const { event, data: news } = JSON.parse(String(data));
      if (event === 'heard') {
        this.#heard += 1;
        onHeard(news);
      } else {
        reason = news.message;
      }
      this.#wake();
    });
    this.socket.addEventListener('close', () => {
      const isNews = !this.#ended;
      this.#ended = true;
      this.#wake();
      if (isNews) onEnd(reason);
    });
  }

  /** Resolves when it is sent; waits while too many are on the way. @param {Float32Array} samples */
  async send(samples) {
    await this.opened;
    while (this.#next - this.#heard >= MOST_PENDING && !this.#ended) await this.#answer.promise;
    if (this.#ended) return;
    const message = new DataView(new ArrayBuffer(HEAD + 2 * samples.length));
    message.setUint32(0, this.#next, true);
    samples.forEach((sample, i) => {
      message.setInt16(HEAD + 2 * i, Math.round(32_767 * Math.max(-1, Math.min(1, sample))), true);
    });
    this.socket.send(message);
    this.#next += 1;
  }

  /** Resolves when each frame has its answer. */
  async allHeard() {
    while (this.#heard < this.#next && !this.#ended) await this.#answer.promise;
  }

  close() {
    this.#ended = true;
    this.socket.close();
    this.#wake();
  }

  #wake() {
    this.#answer.resolve(undefined);
    this.#answer = withResolvers();
  }
}

function withResolvers() {
  /** @type {(value: unknown) => void} */
  let resolve = () => undefined;
  const promise = new Promise((done) => (resolve = done));
  return { promise, resolve };
}
