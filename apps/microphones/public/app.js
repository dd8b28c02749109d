import { Curve } from './curve.js';
import { framesOfFile, framesOfMicrophone } from './sound.js';
import { Stream } from './stream.js';
import { Wall } from './wall.js';

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const canvas = /** @param {string} id */ (id) => /** @type {HTMLCanvasElement} */ (element(id));
const [microphone, choose, file] = [
  /** @type {HTMLButtonElement} */ (element('microphone')),
  /** @type {HTMLButtonElement} */ (element('choose')),
  /** @type {HTMLInputElement} */ (element('file')),
];
const state = element('state');
const curve = new Curve(canvas('curve'));
/** Seconds of a frame. */
const FRAME_TIME = 0.032;
/** What is heard, or will be when its source is open. @type {{ stream?: Stream; stopSource?: () => void } | undefined} */
let playing;

microphone.addEventListener('click', () => {
  if (playing) stop('Stopped');
  else void play('The microphone is on: nothing heard yet', framesOfMicrophone);
});
choose.addEventListener('click', () => {
  file.click();
});
file.addEventListener('change', () => {
  const [chosen] = file.files ?? [];
  if (chosen) playFile(chosen);
  file.value = '';
});
const own = /** @type {HTMLElement} */ (element('own').parentElement);
for (const type of ['dragover', 'dragleave', 'drop']) {
  own.addEventListener(type, (event) => {
    event.preventDefault();
    own.classList.toggle('over', type === 'dragover');
  });
}
own.addEventListener('drop', ({ dataTransfer }) => {
  const [dropped] = dataTransfer?.files ?? [];
  if (dropped) playFile(dropped);
});

/** @param {File} sound */
function playFile(sound) {
  if (playing) stop('Stopped');
  void play(`${sound.name} is being read`, () => framesOfFile(sound));
}

/**
 * @param {string} what
 * @param {() => Promise<import('./sound.js').Source>} open
 */
async function play(what, open) {
  say(what);
  reset();
  microphone.textContent = 'Stop';
  /** @type {NonNullable<typeof playing>} */
  const mine = (playing = {});
  try {
    const source = await open();
    if (playing !== mine) {
      source.stop();
      return;
    }
    mine.stopSource = source.stop;
    // Not before: while the browser asks its user, a connection would hold a place, and be ended as idle.
    const stream = (mine.stream = new Stream('/microphone', { onHeard, onEnd: stop }));
    for await (const frame of source.frames) {
      if (playing !== mine) break;
      await stream.send(frame);
    }
    await stream.allHeard();
    if (playing === mine) stop(`Heard to its end: ${element('segments').children.length} times speech`);
  } catch (error) {
    if (playing === mine) stop(error instanceof Error ? error.message : String(error));
  }
}

/** @param {string} why */
function stop(why) {
  const ended = playing;
  playing = undefined;
  ended?.stopSource?.();
  ended?.stream?.close();
  microphone.textContent = 'Use the microphone';
  say(why);
}

/** @param {string} text @param {boolean} [speech] */
function say(text, speech = false) {
  if (state.textContent !== text) state.textContent = text;
  state.toggleAttribute('data-speech', speech);
}

function reset() {
  curve.clear();
  element('segments').replaceChildren();
  for (const id of ['together', 'took']) element(id).textContent = '–';
  element('frames').textContent = '0';
}

/** @param {import('./stream.js').Heard} heard */
function onHeard({ frame, speech, together, took, segment }) {
  curve.add(speech);
  element('frames').textContent = String(frame + 1);
  element('together').textContent = String(together);
  element('took').textContent = `${took.toFixed(took < 100 ? 1 : 0)} ms`;
  say(speech >= 0.5 ? 'Speech' : 'Silence', speech >= 0.5);
  if (frame % 30 === 0)
    curve.describe(`at ${(frame * FRAME_TIME).toFixed(1)} s it is ${Math.round(100 * speech)} %`);
  if (!segment) return;
  const item = document.createElement('li');
  item.textContent = `${segment.from.toFixed(1)} s to ${segment.to.toFixed(1)} s`;
  element('segments').append(item);
}

const wall = new Wall(canvas('wall'));
const note = element('note');
const [form, count, end] = [
  /** @type {HTMLFormElement} */ (element('crowd')),
  /** @type {HTMLInputElement} */ (element('count')),
  /** @type {HTMLButtonElement} */ (element('stop')),
];
/** @type {WebSocket | undefined} */
let crowd;
let wanted = '';
form.addEventListener('submit', (event) => {
  event.preventDefault();
  wanted = JSON.stringify({ microphones: Number(count.value) });
  if (crowd) {
    // One that is not open yet sends what is wanted then.
    if (crowd.readyState === WebSocket.OPEN) crowd.send(wanted);
    return;
  }
  const opened = (crowd = new WebSocket(new URL('/wall', location.href.replace(/^http/, 'ws'))));
  end.disabled = false;
  note.textContent = 'A crowd gathers';
  let last = 'The connection is lost';
  opened.addEventListener('open', () => {
    opened.send(wanted);
  });
  opened.addEventListener('message', ({ data }) => {
    const { event: name, data: news } = JSON.parse(String(data));
    if (name === 'wall') show(news);
    else note.textContent = last = news.message;
  });
  opened.addEventListener('close', () => {
    if (crowd !== opened) return;
    leave(last);
  });
});
end.addEventListener('click', () => {
  crowd?.close();
  leave('No crowd');
});

/** @param {string} why */
function leave(why) {
  crowd = undefined;
  end.disabled = true;
  note.textContent = why;
  wall.show([]);
  for (const id of ['hearing', 'shared', 'real', 'late']) element(id).textContent = '–';
}

/** @param {{ microphones: number; hearing: number; heard: number; late: number; dropped: number; together: number; realTime: number; levels: number[] }} look */
function show({ microphones, hearing, heard, late, dropped, together, realTime, levels }) {
  if (note.textContent === 'A crowd gathers') note.textContent = 'The crowd is heard';
  wall.show(levels);
  // Said rarely: a screen reader would not come to an end.
  wall.describe(`${microphones} microphones, ${hearing} of which hear speech`);
  element('hearing').textContent = `${hearing} of ${microphones}`;
  element('shared').textContent = together.toFixed(1);
  element('real').textContent = `${Math.round(realTime)} s`;
  const all = heard + dropped;
  element('late').textContent = all === 0 ? '0 %' : `${((100 * (late + dropped)) / all).toFixed(1)} %`;
}
