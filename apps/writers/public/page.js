// @ts-check

/** Lines that are kept when they have ended, and characters of each that are shown. */
const KEPT = 128;
const SHOWN = 160;
/** Milliseconds after which a wall that was refused is asked for again. */
const RETRY = 3000;
/** With less motion the wall changes once a second. */
const isCalm = matchMedia('(prefers-reduced-motion: reduce)');

/** @typedef {{ item: HTMLElement, place: HTMLElement, text: string, ended: boolean }} Line */
/** @typedef {{ batches: string, done: number, speed: number, firstP50: number, firstP99: number, share: number, seconds: number }} Run */

/** @type {Map<number, Line>} */
const lines = new Map();
/** @type {Set<Line>} */
const changed = new Set();
let wall = '';
let lastDrawn = 0;

open();

function open() {
  const events = new EventSource('/walls');
  let reason = 'the connection was lost';
  events.addEventListener('wall', ({ data }) => {
    reason = 'the connection was lost';
    wall = JSON.parse(data).id;
    lines.clear();
    element('wall').replaceChildren();
    element('note').textContent = '';
    /** @type {HTMLButtonElement} */ (element('race')).disabled = false;
  });
  events.addEventListener('changes', ({ data }) => {
    const { began, texts, ended, figures, race } = JSON.parse(data);
    for (const [number, prompt] of began) begin(number, prompt);
    for (const [number, text] of Object.entries(texts)) {
      const line = lines.get(Number(number));
      if (!line) continue;
      line.text = (line.text + text).slice(-SHOWN);
      changed.add(line);
    }
    for (const [number, reason] of ended) end(number, reason);
    show(figures);
    if (race) showRace(race);
    if (!isCalm.matches || performance.now() - lastDrawn >= 1000) draw();
  });
  events.addEventListener('error', (event) => {
    // The server's event of this name says why; then the connection ends, which is the browser's event.
    if (event instanceof MessageEvent) reason = JSON.parse(event.data).message;
    element('note').textContent = `The wall has ended: ${reason}. A new one opens as soon as it can.`;
    show({ writing: 0, speed: 0, share: 0, first: null });
    // After an answer that is no stream, as where all walls are taken, the browser does not ask again.
    if (events.readyState === EventSource.CLOSED) setTimeout(open, RETRY);
  });
}

element('join').addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = /** @type {HTMLFormElement} */ (event.target);
  const { submitter } = /** @type {SubmitEvent} */ (event);
  const given = Object.fromEntries(new FormData(form, submitter));
  const count = Number(given.count ?? 1);
  await post('writers', { ...given, count }, `${count === 1 ? 'One writer' : `${count} writers`} joined.`);
});
element('half').addEventListener('click', () => leave(writing().filter((_, i) => i % 2 === 0)));
element('all').addEventListener('click', () => leave(writing()));
element('race').addEventListener('click', () => post('race', {}, 'Continuous batches run first.'));

/** @param {number[]} numbers */
function leave(numbers) {
  const left = `${numbers.length === 1 ? 'One writer' : `${numbers.length} writers`} left.`;
  return post('departures', { numbers }, left);
}

/** @returns the numbers of those that write */
function writing() {
  return [...lines].filter(([, { ended }]) => !ended).map(([number]) => number);
}

/**
 * Sends what a visitor wants of the wall, and says what came of it.
 * @param {string} what
 * @param {object} body
 * @param {string} done
 */
async function post(what, body, done) {
  try {
    const answer = await fetch(`/walls/${wall}/${what}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    element('note').textContent = answer.ok ? done : (await answer.json()).message;
  } catch {
    element('note').textContent = 'The server cannot be reached. Is it still running?';
  }
}

/**
 * @param {number} number
 * @param {string} prompt
 */
function begin(number, prompt) {
  const item = document.createElement('li');
  const place = document.createElement('bdi');
  const text = document.createElement('span');
  text.className = 'text';
  text.append(place);
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = '×';
  button.setAttribute('aria-label', `Writer ${number} leaves`);
  button.addEventListener('click', () => leave([number]));
  item.append(text, button);
  const line = { item, place, text: prompt, ended: false };
  lines.set(number, line);
  changed.add(line);
  element('wall').prepend(item);
}

/**
 * @param {number} number
 * @param {string} reason
 */
function end(number, reason) {
  const line = lines.get(number);
  if (!line) return;
  line.ended = true;
  line.item.classList.add('ended');
  line.item.querySelector('button')?.remove();
  if (reason !== 'done') line.item.title = reason;
  const ended = [...lines].filter(([, other]) => other.ended);
  for (const [old, { item }] of ended.slice(0, Math.max(0, ended.length - KEPT))) {
    item.remove();
    lines.delete(old);
  }
}

function draw() {
  for (const { place, text } of changed) place.textContent = text.replaceAll('\n', ' ¶ ');
  changed.clear();
  lastDrawn = performance.now();
}

/** @param {{ writing: number, speed: number, share: number, first: number | null }} figures */
function show({ writing: count, speed, share, first }) {
  element('writing').textContent = String(count);
  element('speed').textContent = inEnglish(speed);
  element('share').textContent = share === 0 ? '–' : share.toFixed(1);
  element('first').textContent = first === null ? '–' : `${inEnglish(Math.round(first))} ms`;
  element('empty').hidden = lines.size > 0;
  for (const id of ['half', 'all']) /** @type {HTMLButtonElement} */ (element(id)).disabled = count === 0;
}

/** @param {{ isOver: boolean, isCancelled: boolean, streams: number, texts: number, runs: Run[] }} race */
function showRace({ isOver, isCancelled, streams, texts, runs }) {
  element('result').hidden = false;
  /** @type {HTMLButtonElement} */ (element('race')).disabled = !isOver;
  const rows = runs.map((run) => {
    const row = document.createElement('tr');
    const name = document.createElement('th');
    name.scope = 'row';
    name.textContent = run.batches;
    row.append(name);
    const cells = [
      `${run.done} of ${texts}`,
      inEnglish(run.speed),
      `${inEnglish(Math.round(run.firstP50))} ms`,
      `${inEnglish(Math.round(run.firstP99))} ms`,
      run.share.toFixed(1),
      run.seconds.toFixed(1),
    ];
    row.append(
      ...cells.map((text) => {
        const cell = document.createElement('td');
        cell.textContent = text;
        return cell;
      }),
    );
    return row;
  });
  element('result')
    .querySelector('tbody')
    ?.replaceChildren(...rows);
  const [continuous, fixed] = runs;
  if (isCancelled) {
    element('note').textContent = 'The race is off, as texts of it left.';
  } else if (isOver && continuous && fixed) {
    const times = (continuous.speed / fixed.speed).toFixed(1);
    element('note').textContent =
      `${texts} texts, ${streams} at a time: continuous batches wrote ${times} times as fast.`;
  } else if (fixed) {
    element('note').textContent = 'Now the same texts in static batches.';
  }
}

/** @param {number} count */
function inEnglish(count) {
  return count.toLocaleString('en');
}

/** @param {string} id */
function element(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
