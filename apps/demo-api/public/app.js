// @ts-check
import { startCrowd } from './crowd.js';
import { startQueue } from './queue.js';
import { startRace } from './race.js';
import { startReader } from './reader.js';

startQueue();
startRace();
startReader();
startCrowd();
