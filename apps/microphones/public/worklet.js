/** Runs on the browser's thread for sound: resamples the microphone to 16 kHz, and posts frames of 512 samples. */

const RATE = 16_000;
const FRAME = 512;
/** Samples of the output on each side of a sample that shape it: enough to keep out what 16 kHz cannot hold. */
const REACH = 12;

class Frames extends AudioWorkletProcessor {
  /** Input samples for each one of the output. */
  #step = sampleRate / RATE;
  /** Input samples on each side that shape a sample of the output. */
  #width = Math.ceil(REACH * Math.max(1, this.#step));
  /** The last samples of the input, with zeros before the first. */
  #input = new Float32Array(2 * this.#width);
  /** Where the next sample of the output lies, in `#input`. */
  #at = this.#width;
  #frame = new Float32Array(FRAME);
  #filled = 0;

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const samples = inputs[0]?.[0];
    if (!samples) return true;
    const input = new Float32Array(this.#input.length + samples.length);
    input.set(this.#input);
    input.set(samples, this.#input.length);
    for (; this.#at + this.#width < input.length; this.#at += this.#step) this.#push(this.#sampleAt(input));
    const from = Math.floor(this.#at) - this.#width;
    this.#input = input.slice(from);
    this.#at -= from;
    return true;
  }

  /** A sum of the samples around, weighted by a windowed sinc, which is a low-pass filter as well. */
  #sampleAt(/** @type {Float32Array} */ input) {
    const scale = 1 / Math.max(1, this.#step);
    const center = Math.floor(this.#at);
    let sum = 0;
    for (let i = center - this.#width + 1; i <= center + this.#width; i++) {
      const x = (i - this.#at) * scale;
      if (Math.abs(x) >= REACH) continue;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
      sum += input[i] * sinc * Math.cos((Math.PI * x) / (2 * REACH)) ** 2;
    }
    return sum * scale;
  }

  #push(/** @type {number} */ sample) {
    this.#frame[this.#filled++] = sample;
    if (this.#filled < FRAME) return;
    this.port.postMessage(this.#frame);
    this.#frame = new Float32Array(FRAME);
    this.#filled = 0;
  }
}

registerProcessor('frames', Frames);
