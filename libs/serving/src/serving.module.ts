import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { Connections } from './connections.js';
import { Health } from './health.js';
import { Shutdown, ShutdownModuleBase } from './shutdown.js';

/** What the served applications share: `ServingModule.forRoot({ timeout, delay })`, and `enableShutdown(app)`. */
@Module({
  // A failed check is no error of this server; its answer says what is down.
  imports: [TerminusModule.forRoot({ logger: false })],
  providers: [Connections, Shutdown, Health],
  exports: [TerminusModule, Connections, Shutdown, Health],
})
export class ServingModule extends ShutdownModuleBase {}
