// @ts-check
import { element } from './elements.js';

const DIGITS = 'DigitClassifier.classify';
/** Queues whose inputs are digits, by the name that the page gives them. */
export const QUEUES = {
  digits: DIGITS,
  oneByOne: 'RaceLanes.oneByOne',
  batched: 'RaceLanes.batched',
};

const timeline = element('timeline');
const choice = /** @type {HTMLFormElement} */ (element('timeline-choice'));

/** Lets the visitor choose the queue that the timeline shows. */
export function startChoice() {
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
