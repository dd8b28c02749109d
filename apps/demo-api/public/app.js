// @ts-check
import { startCrowd } from './crowd.js';
import { QUEUES, startChoice } from './digit-queues.js';
import { startQueue } from './queue.js';
import { startRace } from './race.js';
import { startReader } from './reader.js';

startQueue(Object.values(QUEUES), 'digits');
startChoice();
startRace();
startReader();
startCrowd();
