import 'reflect-metadata';
import { once } from 'node:events';
import { Module } from '@nestjs/common';
import { BatchingModule } from 'nest-batching';
import { DigitClassifier } from '../../demo-api/src/digits/digit-classifier.js';
import { Crowd } from './crowd.js';
import type { Order } from './messages.js';
import { report, startNode, transport } from './node.js';

/** Milliseconds between two reports. */
const REPORT_EVERY = 100;

/** Has the class, for its type and its marks, and not the network. */
@Module({
  imports: [BatchingModule.forRoot({ transport: transport(), remote: [DigitClassifier] })],
  providers: [Crowd],
})
class WebNode {}

const ordered = once(process, 'message');
const crowd = (await startNode(WebNode)).get(Crowd);
const [{ callers }] = (await ordered) as [Exclude<Order, 'end'>];
process.on('message', () => {
  crowd.end();
});
process.once('SIGTERM', () => {
  crowd.end();
});
const reports = setInterval(() => {
  report(crowd.progress);
}, REPORT_EVERY);
await crowd.send(callers);
clearInterval(reports);
report(crowd.progress);
