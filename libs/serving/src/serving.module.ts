import { Module } from '@nestjs/common';
import { Connections } from './connections.js';
import { Shutdown, ShutdownModuleBase } from './shutdown.js';

/**
 * What the served applications share: `ServingModule.forRoot({ timeout, delay })`, and `enableShutdown(app)`.
 */
@Module({ providers: [Connections, Shutdown], exports: [Connections, Shutdown] })
export class ServingModule extends ShutdownModuleBase {}
