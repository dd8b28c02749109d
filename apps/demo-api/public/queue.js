// @ts-check
import { whereItRuns } from './api.js';
import { element, write } from './elements.js';

/** @typedef {{ batchSize: number | null, maxDelay: number | null, dispatch: string, concurrency: number | null }} Settings */
/** @typedef {{ name: string, settings: Settings, figures: { inputs: number, span: number } }} Queue */
/** @typedef {{ frame: { epoch: string, queues: Queue[] }, queue: Queue | undefined }} FrameDetail */

/** The element of the dashboard's module. */
const timeline = element('timeline');
const note = element('timeline-note');
/** Called when the connection is there again. @type {(() => void)[]} */
const returns = [];
/** Called when the server has been started again. @type {(() => void)[]} */
const restarts = [];
let state = 'connecting';
/** Whether it was lost and has not been live since. */
let wasLost = false;
let epoch = '';

/**
 * Shows one queue as it is, whether the server is there, where the network runs, and how much it does.
 * @param {string[]} queues whose inputs are counted
 * @param {string} units what their inputs are
 */
export function startQueue(queues, units) {
  timeline.addEventListener('state', (event) => {
    setState(/** @type {CustomEvent<string>} */ (event).detail);
  });
  timeline.addEventListener('frame', (event) => {
    const { frame, queue } = /** @type {CustomEvent<FrameDetail>} */ (event).detail;
    if (epoch && epoch !== frame.epoch) for (const listener of restarts) listener();
    epoch = frame.epoch;
    const counted = frame.queues.filter(({ name }) => queues.includes(name));
    tellRate(counted, units);
    if (queue) write(note, describe(queue.settings));
  });
}

/** @param {() => void} listener called when a server that was gone is there again */
export function onReturn(listener) {
  returns.push(listener);
}

/** @param {() => void} listener called when the server has been started again */
export function onRestart(listener) {
  restarts.push(listener);
}

/** Whether the server is known not to be there. */
export function isGone() {
  return state === 'lost';
}

/** @param {string} now */
function setState(now) {
  state = now;
  wasLost ||= isGone();
  const pill = element('connection');
  pill.dataset.state = now === 'refused' ? 'lost' : now;
  write(pill, { live: 'live', connecting: 'connecting…' }[now] ?? 'not connected');
  const isLive = now === 'live';
  note.classList.toggle('bad', !isLive);
  if (!isLive) {
    write(
      note,
      now === 'refused'
        ? 'The server does not show its batches now: it is starting or stopping, or has too many visitors. Trying again…'
        : 'The connection to the server is lost. Trying to get it back…',
    );
    return;
  }
  void tellWhere();
  if (!wasLost) return;
  wasLost = false;
  for (const listener of returns) listener();
}

async function tellWhere() {
  const where = await whereItRuns().catch(() => undefined);
  if (!where) return;
  // Details in brackets are in the tooltip only.
  write(element('where'), `${where.backend} on ${where.device.replace(/ \(.*\)$/, '')}`);
  element('where').title = where.device;
}

/**
 * @param {Queue[]} queues
 * @param {string} units
 */
function tellRate(queues, units) {
  const each = queues.map(({ figures: { inputs, span } }) => (1000 * inputs) / Math.max(1, span));
  const rate = each.reduce((sum, one) => sum + one, 0);
  const places = rate > 0 && rate < 10 ? 1 : 0;
  const words = rate.toLocaleString('en', { minimumFractionDigits: places, maximumFractionDigits: places });
  write(element('rate'), `${words} ${units}/s`);
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
