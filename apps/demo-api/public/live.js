// @ts-check
import { colour, element, prepare, show } from './elements.js';

/** @typedef {{ queue: string, size: number, reason: 'size' | 'delay' | 'idle' | 'drain', waited: number, ran: number, at: number }} Batch */
/** @typedef {{ p50: number, p99: number, mean: number, count: number }} Summary */
/**
 * @typedef {object} Queue
 * @property {string} name
 * @property {string} state
 * @property {{ batchSize: number, maxDelay: number }} options
 * @property {number} settled
 * @property {number} waiting
 * @property {number} running
 * @property {number} batches
 * @property {number} dropped
 * @property {Summary} batchSizes
 * @property {Summary} waitTime
 * @property {Summary} runTime
 */
/** @typedef {{ now: number, queues: Queue[], batches: Batch[] }} Live */

/** Events come four times a second; after so many milliseconds without one the connection is lost, whatever it says. */
const SILENCE = 3000;
/** Milliseconds between two attempts to connect. */
const RETRY = 1500;
/** Milliseconds that a strip shows. */
const SPAN = 20_000;
/** Milliseconds between two pictures of a strip, which moves one or two pixels meanwhile. */
const FRAME = 45;

/** @type {Map<string, QueueView>} */
const views = new Map();
/** @type {EventSource | undefined} */
let source;
/** @type {number | undefined} */
let silence;
/** What to add to this clock to get the server's. */
let clockOffset = 0;
let drawnAt = 0;

/** Shows the queues as they are now: all, or the one that the page names. Connects again whenever the connection is lost, and rests while nobody looks. */
export function startLive() {
  document.addEventListener('visibilitychange', () => (document.hidden ? disconnect() : connect()));
  connect();
  requestAnimationFrame(drawStrips);
}

/** The time by the server's clock. */
function serverNow() {
  return Date.now() + clockOffset;
}

function connect() {
  disconnect();
  source = new EventSource('/queues/live');
  source.onmessage = ({ data }) => receive(JSON.parse(data));
  source.onerror = lost;
  silence = setTimeout(lost, SILENCE);
}

/** A browser opens six connections to a server and no more, so a hidden page should not keep one. */
function disconnect() {
  source?.close();
  clearTimeout(silence);
}

function lost() {
  disconnect();
  tellState('lost', 'not connected');
  show(element('queues-error'), 'The connection to the server is lost. Trying to get it back…');
  for (const view of views.values()) view.isStale = true;
  if (!document.hidden) silence = setTimeout(connect, RETRY);
}

/** @param {Live} live */
function receive(live) {
  clearTimeout(silence);
  silence = setTimeout(lost, SILENCE);
  tellState('live', 'live');
  show(element('queues-error'), '');
  clockOffset = live.now - Date.now();
  const { queue: only } = element('queues').dataset;
  for (const queue of live.queues) {
    if (only && queue.name !== only) continue;
    const view = views.get(queue.name) ?? addView(queue.name);
    view.update(
      queue,
      live.batches.filter((batch) => batch.queue === queue.name),
    );
  }
}

/**
 * @param {string} state
 * @param {string} words
 */
function tellState(state, words) {
  const pill = element('connection');
  if (pill.textContent !== words) pill.textContent = words;
  pill.dataset.state = state;
}

/** @param {string} name */
function addView(name) {
  const view = new QueueView(name);
  views.set(name, view);
  element('queues').append(view.article);
  return view;
}

/** @param {number} moment */
function drawStrips(moment) {
  requestAnimationFrame(drawStrips);
  if (moment - drawnAt < FRAME) return;
  drawnAt = moment;
  for (const view of views.values()) view.drawStrip(serverNow());
}

class QueueView {
  /** @type {Batch[]} */
  #batches = [];
  #batchSize = 1;
  /** @type {Map<string, HTMLElement>} */
  #figures = new Map();

  /** @param {string} name */
  constructor(name) {
    const template = /** @type {HTMLTemplateElement} */ (element('queue-template'));
    const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.article = /** @type {HTMLElement} */ (copy.firstElementChild);
    this.rule = /** @type {HTMLElement} */ (this.article.querySelector('.rule'));
    this.list = /** @type {HTMLElement} */ (this.article.querySelector('.figures'));
    this.strip = /** @type {HTMLCanvasElement} */ (this.article.querySelector('.strip'));
    /** @type {HTMLElement} */ (this.article.querySelector('h3')).textContent = name;
  }

  /** @param {boolean} value */
  set isStale(value) {
    this.article.classList.toggle('stale', value);
  }

  /**
   * @param {Queue} queue
   * @param {Batch[]} batches those that left since the last update
   */
  update(queue, batches) {
    this.isStale = false;
    const { batchSize, maxDelay } = queue.options;
    this.#batchSize = batchSize;
    this.rule.textContent = `${queue.state} · at most ${batchSize} in a batch, after at most ${maxDelay} ms`;
    this.#tell('Waiting', queue.waiting);
    this.#tell('Running', queue.running);
    this.#tell('Answered', queue.settled);
    this.#tell('Batches', queue.batches);
    this.#tell('Mean batch', queue.batchSizes.mean.toFixed(1));
    this.#tell('Wait p50 / p99', ...timeOf(queue.waitTime));
    this.#tell('Run p50 / p99', ...timeOf(queue.runTime));
    this.#tell('Dropped', queue.dropped);
    this.#batches.push(...batches);
  }

  /** @param {number} now by the server's clock */
  drawStrip(now) {
    // One event late, so that what is new slides in from the edge instead of popping up.
    const end = now - 300;
    while (this.#batches[0] && this.#batches[0].at < end - SPAN) this.#batches.shift();
    const { context, width, height } = prepare(this.strip);
    const [left, bottom, top] = [28, height - 18, 6];
    const scale = (bottom - top) / this.#batchSize;

    context.strokeStyle = colour('line');
    context.fillStyle = colour('quiet');
    context.textBaseline = 'middle';
    context.textAlign = 'right';
    for (const size of [0, this.#batchSize / 2, this.#batchSize]) {
      const y = Math.round(bottom - size * scale) + 0.5;
      context.beginPath();
      context.moveTo(left, y);
      context.lineTo(width, y);
      context.stroke();
      if (Number.isInteger(size)) context.fillText(String(size), left - 6, y);
    }
    context.textBaseline = 'alphabetic';
    context.textAlign = 'left';
    context.fillText(`${SPAN / 1000} s ago`, left, height - 3);
    context.textAlign = 'right';
    context.fillText('now', width, height - 3);

    const colours = {
      size: colour('size'),
      delay: colour('delay'),
      idle: colour('idle'),
      drain: colour('drain'),
    };
    for (const { at, size, reason } of this.#batches) {
      if (at > end) continue;
      const x = left + (1 - (end - at) / SPAN) * (width - left);
      context.fillStyle = colours[reason];
      context.fillRect(x - 1.5, bottom - size * scale, 2, size * scale);
    }
  }

  /**
   * @param {string} name
   * @param {number | string} value
   * @param {string} [unit]
   */
  #tell(name, value, unit) {
    let place = this.#figures.get(name);
    if (!place) {
      const group = document.createElement('div');
      const term = document.createElement('dt');
      place = document.createElement('dd');
      term.textContent = name;
      group.append(term, place);
      this.list.append(group);
      this.#figures.set(name, place);
    }
    place.textContent = typeof value === 'number' ? value.toLocaleString('en') : value;
    if (unit) {
      const small = document.createElement('small');
      small.textContent = ` ${unit}`;
      place.append(small);
    }
  }
}

/**
 * @param {Summary} summary
 * @returns {[value: string, unit: string]}
 */
function timeOf({ count, p50, p99 }) {
  if (count === 0) return ['–', 'ms'];
  return p99 < 1000
    ? [`${short(p50)} / ${short(p99)}`, 'ms']
    : [`${short(p50 / 1000)} / ${short(p99 / 1000)}`, 's'];
}

/** @param {number} value */
function short(value) {
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}
