/**
 * @typedef {object} Source Where frames come from.
 * @property {AsyncIterable<Float32Array>} frames Of 512 samples each, at 16 kHz.
 * @property {() => void} stop
 */

const RATE = 16_000;
const FRAME = 512;

/** The microphone, until it is stopped. @returns {Promise<Source>} */
export async function framesOfMicrophone() {
  // TypeScript's types say that it is always there.
  if (!('mediaDevices' in navigator)) {
    throw new Error('Browsers let only pages of localhost or over HTTPS use the microphone');
  }
  const media = await navigator.mediaDevices
    .getUserMedia({ audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true } })
    .catch((/** @type {DOMException} */ { name }) => {
      throw new Error(
        name === 'NotAllowedError'
          ? 'The browser may not use the microphone'
          : `There is no microphone (${name})`,
      );
    });
  // At the device's own rate: some browsers refuse any other. The worklet resamples.
  const context = new AudioContext();
  /** @type {Float32Array[]} */
  const waiting = [];
  let isOver = false;
  let wake = () => undefined;
  const stop = () => {
    isOver = true;
    for (const track of media.getTracks()) track.stop();
    void context.close();
    wake();
  };
  try {
    await context.audioWorklet.addModule('worklet.js');
    const worklet = new AudioWorkletNode(context, 'frames', { numberOfOutputs: 0, channelCount: 1 });
    context.createMediaStreamSource(media).connect(worklet);
    await context.resume();
    worklet.port.onmessage = ({ data }) => {
      // A connection that is too slow loses the oldest frames, as nobody wants to be heard late.
      if (waiting.length >= 32) waiting.shift();
      waiting.push(data);
      wake();
    };
  } catch {
    // Else the microphone would stay on.
    stop();
    throw new Error('A part of this page could not be loaded: load it again to use the microphone');
  }
  return { frames: take(), stop };

  async function* take() {
    while (!isOver) {
      const frame = waiting.shift();
      if (frame) yield frame;
      else await new Promise((resolve) => (wake = () => void resolve(undefined)));
    }
  }
}

/** A file, as fast as the server answers. @param {File} file @returns {Promise<Source>} */
export async function framesOfFile(file) {
  // Decodes at this rate, whatever that of the file.
  const context = new OfflineAudioContext(1, FRAME, RATE);
  const sound = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Error(`${file.name} has no sound that this browser reads`);
  });
  const channels = Array.from({ length: sound.numberOfChannels }, (_, i) => sound.getChannelData(i));
  return { frames: cut(), stop: () => undefined };

  async function* cut() {
    for (let start = 0; start + FRAME <= sound.length; start += FRAME) {
      const frame = new Float32Array(FRAME);
      for (const channel of channels) {
        for (let i = 0; i < FRAME; i++) frame[i] += channel[start + i] / channels.length;
      }
      yield frame;
    }
  }
}
