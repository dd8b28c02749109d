/**
 * Loaded into the demo's process before everything else. Writes down, at once and from Node's own HTTP server, the header
 * `x-request-id` of each request that the server has received.
 */
import { subscribe } from 'node:diagnostics_channel';
import { openSync, writeSync } from 'node:fs';

const file = openSync(process.env.REQUEST_LOG, 'w');
subscribe('http.server.request.start', ({ request }) => {
  writeSync(file, `${request.headers['x-request-id']}\n`);
});
