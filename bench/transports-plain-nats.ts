import { jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import {
  type Call,
  BATCH_SIZE,
  PREFETCH,
  REDELIVER_AFTER,
  type Run,
  type System,
} from './transports-load.js';
import { answersByCaller, inputOf, settle, toMessage } from './transports-plain.js';

/**
 * What the transport over NATS is measured by: a loop that does the same reads and writes with the same client, and nothing else. It
 * knows no errors, no deadlines, no nodes that die; it decodes nothing.
 */
export const plainNats: System = { web, model };

const INPUTS = 'plain.inputs';
const STREAM = 'plain';
const CONSUMER = 'nodes';
const answersOf = (processId: number): string => `plain.answers.${processId}`;
const SETTINGS = { noAsyncTraces: true };

async function web(url: string): Promise<Call> {
  const connection = await connect({ servers: url, ...SETTINGS });
  await makeStream(connection);
  const waiting = new Map<number, (result: number) => void>();
  let unsent: [number: number, message: Buffer][] = [];
  let last = 0;
  const confirms = `plain.confirms.${process.pid}`;
  const unconfirmed = new Set<number>();
  connection.subscribe(`${confirms}.*`, {
    callback: (_, { subject }) => {
      unconfirmed.delete(Number(subject.slice(confirms.length + 1)));
    },
  });
  connection.subscribe(answersOf(process.pid), {
    callback: (_, { data }) => {
      settle(Buffer.from(data.buffer, data.byteOffset, data.byteLength), waiting);
    },
  });
  const sendAll = (): void => {
    const messages = unsent;
    unsent = [];
    for (const [number, message] of messages) {
      unconfirmed.add(number);
      connection.publish(INPUTS, message, { reply: `${confirms}.${number}` });
    }
  };
  return (input) =>
    new Promise((resolve) => {
      last = (last + 1) >>> 0;
      waiting.set(last, resolve);
      if (unsent.push([last, toMessage(last, input)]) === 1) setImmediate(sendAll);
    });
}

async function model(url: string, run: Run): Promise<void> {
  const connection = await connect({ servers: url, ...SETTINGS });
  await makeStream(connection);
  const inbox = `plain.deliveries.${process.pid}`;
  const waiting: [reply: string, message: Buffer][] = [];
  let inProgress = 0;
  let asked = 0;
  let isRunning = false;
  const pull = (): void => {
    const batch = PREFETCH - inProgress - asked;
    if (batch <= 0 || asked > PREFETCH / 2) return;
    asked += batch;
    connection.publish(
      `$JS.API.CONSUMER.MSG.NEXT.${STREAM}.${CONSUMER}`,
      JSON.stringify({ batch, expires: REDELIVER_AFTER * 1e6 }),
      { reply: inbox },
    );
  };
  const runAll = async (): Promise<void> => {
    if (isRunning) return;
    isRunning = true;
    while (waiting.length > 0) {
      const batch = waiting.splice(0, BATCH_SIZE);
      const messages = batch.map(([, message]) => message);
      const answers = answersByCaller(messages, await run(messages.map(inputOf)));
      for (const [caller, values] of answers) connection.publish(answersOf(caller), values);
      for (const [reply] of batch) connection.publish(reply, '+ACK');
      inProgress -= batch.length;
      pull();
    }
    isRunning = false;
  };
  connection.subscribe(inbox, {
    callback: (_, { reply, data, headers }) => {
      if (!reply) {
        // A request has ended.
        asked = Math.max(0, asked - Number(headers?.get('Nats-Pending-Messages') ?? asked));
        pull();
        return;
      }
      asked--;
      inProgress++;
      // Several arrive in one read of the socket.
      if (waiting.push([reply, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]) === 1)
        setImmediate(() => void runAll());
    },
  });
  pull();
}

/** Whichever process comes first makes it. */
async function makeStream(connection: NatsConnection): Promise<void> {
  const { streams, consumers } = await jetstreamManager(connection);
  await streams
    .add({ name: STREAM, subjects: [INPUTS], retention: 'workqueue', storage: 'memory', discard: 'new' })
    .catch(() => undefined);
  await consumers
    .add(STREAM, {
      durable_name: CONSUMER,
      ack_policy: 'explicit',
      ack_wait: REDELIVER_AFTER * 1e6,
      max_deliver: -1,
      max_ack_pending: -1,
      max_waiting: 4_096,
    })
    .catch(() => undefined);
}
