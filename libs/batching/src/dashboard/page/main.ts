import type { Frame } from '../frame.js';
import { Connection, type State } from './connection.js';
import { find, show, write } from './elements.js';
import { writeLegend } from './legend.js';
import { drawPicture, giveAway } from './picture.js';
import { NodeTable } from './node-table.js';
import { Playback } from './playback.js';
import { QueueCard } from './queue-card.js';
import { address, readAddress, writeAddress } from './settings.js';
import { onThemeChange, readTheme } from './theme.js';
import { Zoom } from './zoom.js';

/** Milliseconds between two drawings, and where less movement is wanted. */
const DRAWING = { usual: 30, reduced: 1000 };
/** Milliseconds between two updates of the figures: numbers that change faster cannot be read. */
const READING = 500;

const STATES: Record<State, { words: string; notice: string }> = {
  connecting: { words: 'connecting…', notice: '' },
  live: { words: 'live', notice: '' },
  lost: {
    words: 'not connected',
    notice: 'The connection to the server is lost. What you see is old; trying again…',
  },
  refused: {
    words: 'refused',
    notice:
      'The server does not show its queues now: it may be starting or stopping, have too many pages open, or want you to log in again. Trying again…',
  },
};

const playback = new Playback();
const zoom = new Zoom();
const nodeTable = new NodeTable();
const cards = new Map<string, QueueCard>();
const reduced = matchMedia('(prefers-reduced-motion: reduce)');
const pauseButton = find(document, '#pause', HTMLButtonElement);
const queues = find(document, '#queues', HTMLElement);
let theme = readTheme();
let drawnAt = 0;
let readAt = 0;

start();

function start(): void {
  writeLegend(find(document, '#legend', HTMLElement), theme);
  onThemeChange(() => {
    theme = readTheme();
    writeLegend(find(document, '#legend', HTMLElement), theme);
    drawnAt = 0;
  });
  pauseButton.addEventListener('click', () => {
    pause(!playback.isPaused);
  });
  find(document, '#picture', HTMLButtonElement).addEventListener('click', () => void copyPicture());
  startZoom();
  new Connection(`${address()}/events`, receive, setState);
  requestAnimationFrame(draw);
}

function startZoom(): void {
  const radios = [...document.querySelectorAll<HTMLInputElement>('input[name=zoom]')];
  const choose = (value: string | undefined) => {
    const radio = radios.find((each) => each.value === value);
    if (!radio) return;
    radio.checked = true;
    zoom.chosen = radio.value === 'auto' ? undefined : 1000 * Number(radio.value);
  };
  choose(readAddress('zoom'));
  for (const radio of radios) {
    radio.addEventListener('change', () => {
      choose(radio.value);
      writeAddress('zoom', radio.value === 'auto' ? undefined : radio.value);
      drawnAt = 0;
    });
  }
}

function receive(frame: Frame): void {
  const { isNew, isRestarted } = playback.receive(frame);
  if (!isNew) return;
  if (isRestarted) forget();
  for (const [key, history] of playback.histories.queues) {
    if (cards.has(key)) continue;
    const card = new QueueCard(history, () => {
      pause(true);
    });
    cards.set(key, card);
    queues.append(card.section);
  }
  find(document, '#empty', HTMLElement).hidden = cards.size > 0;
}

/** Another process: its times are others. */
function forget(): void {
  for (const { section } of cards.values()) section.remove();
  cards.clear();
  showPause();
}

function setState(state: State): void {
  if (state === playback.state) return;
  playback.state = state;
  const pill = find(document, '#state', HTMLElement);
  pill.dataset.state = state;
  const { words, notice } = STATES[state];
  write(pill, words);
  show(find(document, '#notice', HTMLElement), notice);
  for (const card of cards.values()) card.isStale = state !== 'live';
  nodeTable.isStale = state !== 'live';
}

function pause(isPaused: boolean): void {
  if (isPaused === playback.isPaused) return;
  playback.isPaused = isPaused;
  for (const card of cards.values()) card.pause(isPaused);
  showPause();
}

function showPause(): void {
  pauseButton.setAttribute('aria-pressed', String(playback.isPaused));
  drawnAt = 0;
}

function draw(now: number): void {
  requestAnimationFrame(draw);
  if (now - drawnAt < (reduced.matches ? DRAWING.reduced : DRAWING.usual)) return;
  drawnAt = now;
  const { end, isPaused, state } = playback;
  const isMoving = !reduced.matches && !isPaused && state === 'live';
  // Of a paused page the zoom stays as well.
  const shown = Array.from(cards.values(), (card) => card.shown);
  const span = zoom.next(shown, end, now, !reduced.matches);
  for (const card of cards.values()) card.draw({ end, span, theme, isMoving });
  if (now - readAt < READING) return;
  readAt = now;
  const { frame } = playback.histories;
  const nodes = new Set(frame?.queues.map(({ node }) => node));
  const { tune = false, transport = null } = frame ?? {};
  if (!isPaused) nodeTable.update(transport);
  for (const card of cards.values()) card.update(end, { tune, hasNodes: nodes.size > 1 });
}

async function copyPicture(): Promise<void> {
  const said = find(document, '#said', HTMLElement);
  write(said, await giveAway(drawPicture([...cards.values()], theme)));
}
