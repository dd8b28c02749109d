// @ts-check
import { startCrowd } from './crowd.js';
import { startLive } from './live.js';
import { startReader } from './reader.js';

startReader();
startCrowd();
startLive();
