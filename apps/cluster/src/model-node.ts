import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { BatchingModule } from 'nest-batching';
import { getTfjsModelToken, TfjsModule } from 'nest-batching/tfjs';
import { DigitClassifier } from '../../demo-api/src/digits/digit-classifier.js';
import { DIGITS_NETWORK, digits } from '../../demo-api/src/digits/digits-network.js';
import { startNode, transport } from './node.js';

/** Has the network, and takes inputs of others. */
@Module({
  imports: [
    BatchingModule.forRoot({ transport: transport(), serve: [DigitClassifier] }),
    TfjsModule.forRoot({ backend: 'wasm', workers: 1 }),
    TfjsModule.forFeature([digits()]),
  ],
  providers: [DigitClassifier, { provide: DIGITS_NETWORK, useExisting: getTfjsModelToken('digits') }],
})
class ModelNode {}

await startNode(ModelNode);
