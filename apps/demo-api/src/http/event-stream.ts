import { PassThrough } from 'node:stream';
import { StreamableFile } from '@nestjs/common';
import { errorBodyOf } from '@app/serving';

export type SendEvent = (event: string, data: unknown) => void;

/**
 * Answers with server-sent events, which Nest's `@Sse()` gives to a GET only. The answer begins with the first event, so
 * that an error before it is answered as any other; one that comes later is the last event, `error`, with the same body.
 */
export function eventStream(run: (send: SendEvent) => Promise<void>): Promise<StreamableFile> {
  return new Promise((resolve, reject) => {
    const events = new PassThrough();
    let answer: StreamableFile | undefined;
    const send: SendEvent = (event, data) => {
      events.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      resolve((answer ??= new StreamableFile(events, { type: 'text/event-stream' })));
    };
    run(send)
      .catch((error: unknown) => {
        if (!answer) throw error;
        send('error', errorBodyOf(error));
      })
      .finally(() => events.end())
      .catch(reject);
  });
}
