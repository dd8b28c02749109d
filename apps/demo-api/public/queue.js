// @ts-check
import { whereItRuns } from './api.js';
import { element, write } from './elements.js';

/** @typedef {{ batchSize: number | null, maxDelay: number | null, dispatch: string, concurrency: number | null }} Settings */
/** @typedef {{ name: string, settings: Settings, figures: { inputs: number, span: number } }} Queue */
/** @typedef {{ frame: { queues: Queue[] }, queue: Queue | undefined }} FrameDetail */

const DIGITS = 'DigitClassifier.classify';
/** Queues whose inputs are digits, by the name that the page gives them. */
export const QUEUES = {
  digits: DIGITS,
  oneByOne: 'RaceLanes.oneByOne',
  batched: 'RaceLanes.batched',
};

/** The element of the dashboard's module. */
const timeline = element('timeline');
const choice = /** @type {HTMLFormElement} */ (element('timeline-choice'));
const note = element('timeline-note');
/** Called when the connection is there again. @type {(() => void)[]} */
const returns = [];
let state = 'connecting';

/** Shows one queue as it is, whether the server is there, where the network runs, and how many digits it reads. */
export function startQueue() {
  timeline.addEventListener('state', (event) => {
    setState(/** @type {CustomEvent<string>} */ (event).detail);
  });
  timeline.addEventListener('frame', (event) => {
    tell(/** @type {CustomEvent<FrameDetail>} */ (event).detail);
  });
  choice.addEventListener('change', () => {
    timeline.setAttribute('queue', new FormData(choice).get('queue')?.toString() ?? DIGITS);
  });
}

/**
 * Shows the timeline of this queue.
 * @param {keyof typeof QUEUES} name
 */
export function watchQueue(name) {
  const queue = QUEUES[name];
  if (timeline.getAttribute('queue') === queue) return;
  timeline.setAttribute('queue', queue);
  for (const radio of choice.querySelectorAll('input')) radio.checked = radio.value === queue;
}

/** @param {() => void} listener called when a server that was gone is there again */
export function onReturn(listener) {
  returns.push(listener);
}

/** Whether the server is known not to be there. */
export function isGone() {
  return state === 'lost';
}

/** @param {string} now */
function setState(now) {
  const wasGone = isGone();
  state = now;
  const pill = element('connection');
  pill.dataset.state = now === 'refused' ? 'lost' : now;
  write(pill, { live: 'live', connecting: 'connecting…' }[now] ?? 'not connected');
  const isLive = now === 'live';
  note.classList.toggle('bad', !isLive);
  if (!isLive) {
    write(
      note,
      now === 'refused'
        ? 'The server shows its batches to no more visitors now. Trying again…'
        : 'The connection to the server is lost. Trying to get it back…',
    );
    return;
  }
  void tellWhere();
  if (wasGone) for (const listener of returns) listener();
}

async function tellWhere() {
  const where = await whereItRuns().catch(() => undefined);
  if (!where) return;
  // Details in brackets are in the tooltip only.
  write(element('where'), `${where.backend} on ${where.device.replace(/ \(.*\)$/, '')}`);
  element('where').title = where.device;
}

/** @param {FrameDetail} detail */
function tell({ frame, queue }) {
  const digits = frame.queues.filter(({ name }) => Object.values(QUEUES).includes(name));
  const rate = digits.reduce((sum, { figures }) => sum + figures.inputs / Math.max(1, figures.span), 0);
  write(element('rate'), `${Math.round(1000 * rate).toLocaleString('en')} digits/s`);
  if (queue) write(note, describe(queue.settings));
}

/** @param {Settings} settings */
function describe({ batchSize, maxDelay, concurrency, dispatch }) {
  return [
    `up to ${batchSize ?? 'any number'} a batch`,
    maxDelay === null ? 'any wait' : `wait up to ${maxDelay} ms`,
    dispatch,
    concurrency === 1 ? '1 slot' : `${concurrency ?? 'any number of'} slots`,
  ].join(' · ');
}
