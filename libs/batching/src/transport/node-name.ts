import { randomBytes } from 'node:crypto';

/** A name that no other node has: 16 letters and digits. */
export function nodeName(): string {
  return randomBytes(8).toString('hex');
}
