import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { type Call, type Load, type Role, send, type System, type Usage } from './transports-load.js';
import { type SystemName, systems } from './transports-systems.js';

/** A process of `transports.ts`: ROLE, SYSTEM, BROKER_URL and RUN_MS are its environment. */

const { ROLE, SYSTEM, BROKER_URL = '', RUN_MS } = process.env;
const done = { batches: 0, inputs: 0 };

async function run(inputs: readonly Uint8Array[]): Promise<number[]> {
  done.batches++;
  done.inputs += inputs.length;
  await sleep(Number(RUN_MS));
  return inputs.map((input) => new DataView(input.buffer, input.byteOffset).getUint32(0, true));
}

async function start(role: Role, system: System): Promise<Call | undefined> {
  if (role === 'web') return system.web(BROKER_URL);
  await system.model(BROKER_URL, run);
  return role === 'local' ? system.web(BROKER_URL) : undefined;
}

Logger.overrideLogger(['error']);
const call = await start(ROLE as Role, await systems[SYSTEM as SystemName]());
process.on('message', (message: Load | 'usage') => {
  if (message === 'usage') {
    const { user, system } = process.cpuUsage();
    process.send?.({ cpu: (user + system) / 1000, ...done } satisfies Usage);
  } else if (call) void send(call, message).then((seen) => process.send?.(seen));
});
process.once('disconnect', () => process.exit());
process.send?.('started');
