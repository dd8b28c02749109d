// @ts-check

/** @typedef {{ queue: string, requests: number, batches: number, meanBatch: number, saved: number }} QueueFigures */

/** @param {string} id @returns {HTMLElement} */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const [find, add] = ['find', 'add'].map((id) => /** @type {HTMLFormElement} */ (byId(id)));
const crowd = byId('crowd');

find.addEventListener('submit', async (event) => {
  event.preventDefault();
  const id = String(new FormData(find).get('id'));
  byId('found').textContent = describe(await ask(`/members/${encodeURIComponent(id)}`));
});

/** Requests in a row without an answer after which the server counts as gone. */
const GONE = 10;
const UNREACHABLE = 'The server cannot be reached. Is it still running?';

crowd.addEventListener('click', async () => {
  // Not disabled: it would lose the focus.
  if (crowd.ariaDisabled === 'true') return;
  crowd.ariaDisabled = 'true';
  byId('race').hidden = false;
  const start = performance.now();
  const first = await ask('/numbers');
  const { members = 1 } = first;
  const before = statementsOf(first);
  const ids = Array.from({ length: 2000 }, () => 1 + Math.floor(Math.random() * members));
  let [answers, failures, unanswered] = [0, 0, first.isUnreachable ? GONE : 0];
  const visitor = async () => {
    while (ids.length > 0 && unanswered < GONE) {
      const { id, isUnreachable } = await ask(`/members/${ids.pop()}`);
      unanswered = isUnreachable ? unanswered + 1 : 0;
      if (id === undefined) failures++;
      else answers++;
      byId('race-answers').textContent = answers.toLocaleString('en');
      byId('race-failures').textContent = failures.toLocaleString('en');
    }
  };
  const count = async () => {
    const now = statementsOf(await ask('/numbers'));
    if (before === undefined || now === undefined) return '?';
    return (byId('race-statements').textContent = (now - before).toLocaleString('en'));
  };
  byId('race-statements').textContent = '0';
  const counting = setInterval(count, 200);
  await Promise.all(Array.from({ length: 50 }, visitor));
  clearInterval(counting);
  const statements = await count();
  const requests = (answers + failures).toLocaleString('en');
  const failed = failures === 0 ? '' : `, ${failures.toLocaleString('en')} of which failed`;
  byId('found').textContent =
    (unanswered < GONE ? '' : `${UNREACHABLE} `) +
    `${requests} requests${failed}, and ${statements} statements, in ${Math.round(performance.now() - start)} ms`;
  crowd.ariaDisabled = 'false';
});

add.addEventListener('submit', async (event) => {
  event.preventDefault();
  const given = Object.fromEntries(new FormData(add));
  const body = JSON.stringify({ ...given, born: Number(given.born) });
  const headers = { 'content-type': 'application/json' };
  byId('added').textContent = describe(await ask('/members', { method: 'POST', headers, body }));
});

/**
 * The answer, an error's body included.
 *
 * @param {string} url @param {RequestInit} [options]
 */
async function ask(url, options) {
  try {
    return await (await fetch(url, options)).json();
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    return { message: `No answer: ${why}`, isUnreachable: true };
  }
}

/** SELECTs since the start; nothing where there is no answer. @param {{ queues?: QueueFigures[] }} answer */
function statementsOf({ queues = [] }) {
  return queues.find(({ queue }) => queue === 'MemberDirectory.findById')?.batches;
}

/** @param {Record<string, unknown>} answer */
function describe({ message, id, name, email, city, born, joined }) {
  return String(message ?? `${id}: ${name}, ${email}, of ${city}, born in ${born}, a member since ${joined}`);
}

/** @param {QueueFigures} queue */
function figures({ queue, requests, batches, meanBatch, saved }) {
  const article = document.createElement('article');
  const list = document.createElement('dl');
  const named = { Requests: requests, Batches: batches, 'Mean batch': meanBatch, Saved: saved };
  for (const [name, number] of Object.entries(named)) {
    const pair = document.createElement('div');
    pair.append(element('dt', name), element('dd', number.toLocaleString('en')));
    list.append(pair);
  }
  article.append(element('h3', queue), list);
  return article;
}

/** @param {string} name @param {string} text */
function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

/** Milliseconds between two looks at the numbers, longer and longer while the server is gone. */
const PAUSE = { least: 500, most: 15_000 };
let pause = PAUSE.least;

for (;;) {
  const { isUnreachable, database, sql, lastBatch = 0, queues = [] } = await ask('/numbers');
  const connection = isUnreachable ? `${UNREACHABLE} Trying again…` : '';
  if (byId('connection').textContent !== connection) byId('connection').textContent = connection;
  pause = isUnreachable ? Math.min(PAUSE.most, 2 * pause) : PAUSE.least;
  if (database) byId('database').textContent = database;
  if (queues.length > 0) byId('numbers').replaceChildren(...queues.map(figures));
  if (sql) {
    byId('last-batch').hidden = lastBatch === 0;
    byId('sql').textContent = `${sql} -- for ${lastBatch} ${lastBatch === 1 ? 'request' : 'requests'}`;
  }
  await new Promise((resolve) => setTimeout(resolve, pause));
}
