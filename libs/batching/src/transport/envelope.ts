/**
 * What is written around an input and an answer. The first byte is the version of what follows. The routes
 * (to whom an answer goes) are the same in every version, so that a node can always say that it does not
 * understand. A later version may be added beside this one: first all nodes have to read it (`READS`), then callers may
 * write it. New fields of a version go into `extras`, whose unknown fields are ignored.
 *
 *     input:   version u8 │ length u8, caller latin1 │ call u32 │ flags u8 │ timeout f64? │ priority f64? │ length u32, extras? │ input
 *     answer:  version u8 │ call u32 │ kind u8 │ body
 */
export const VERSION = 1;

/** The versions that this node reads. */
export const READS: readonly number[] = [VERSION];

const HAS_TIMEOUT = 1;
const HAS_PRIORITY = 2;
const HAS_EXTRAS = 4;

/** To whom the answer goes. */
export interface Route {
  readonly version: number;
  /** Name of the node. */
  readonly caller: string;
  /** Number of the call, of those of the caller. */
  readonly call: number;
}

/** What an envelope says of an input, without what is in `extras`. */
export interface InputFields {
  readonly timeout: number | undefined;
  readonly priority: number | undefined;
  /** Encoded tenant, trace and what later versions add. */
  readonly extras: Uint8Array | undefined;
}

export interface InputEnvelope extends InputFields {
  /** The encoded input. */
  readonly body: Uint8Array;
}

export type AnswerKind = 'result' | 'error';
const KINDS: readonly AnswerKind[] = ['result', 'error'];

export interface AnswerEnvelope {
  readonly call: number;
  /** `undefined` for a version or kind that is not known here. */
  readonly kind: AnswerKind | undefined;
  readonly body: Buffer;
}

/** Bytes of the envelope of an input. */
export function inputRoom(caller: string, { timeout, priority, extras }: InputFields): number {
  return (
    timeoutAt(caller.length) +
    (timeout === undefined ? 0 : 8) +
    (priority === undefined ? 0 : 8) +
    (extras ? 4 + extras.byteLength : 0)
  );
}

/** Writes the envelope into the first `inputRoom` bytes of a message, where the encoded input follows. */
export function writeInput(
  message: Buffer,
  { caller, call }: Omit<Route, 'version'>,
  { timeout, priority, extras }: InputFields,
): void {
  message[0] = VERSION;
  message[1] = caller.length;
  let at = 2 + message.write(caller, 2, 'latin1');
  at = message.writeUInt32BE(call, at);
  const flags =
    (timeout === undefined ? 0 : HAS_TIMEOUT) |
    (priority === undefined ? 0 : HAS_PRIORITY) |
    (extras ? HAS_EXTRAS : 0);
  at = message.writeUInt8(flags, at);
  if (timeout !== undefined) at = message.writeDoubleBE(timeout, at);
  if (priority !== undefined) at = message.writeDoubleBE(priority, at);
  if (!extras) return;
  at = message.writeUInt32BE(extras.byteLength, at);
  message.set(extras, at);
}

/** Changes the timeout of a message that has one. */
export function writeTimeout(message: Buffer, timeout: number): void {
  message.writeDoubleBE(timeout, timeoutAt(message.readUInt8(1)));
}

function timeoutAt(callerLength: number): number {
  return 1 + 1 + callerLength + 4 + 1;
}

/**
 * Reads whom to answer; works for every version.
 *
 * @throws RangeError if the bytes are too few
 */
export function readRoute(bytes: Buffer): Route {
  const version = bytes.readUInt8(0);
  const end = 2 + bytes.readUInt8(1);
  const call = bytes.readUInt32BE(end);
  return { version, caller: bytes.toString('latin1', 2, end), call };
}

/** @throws RangeError if the bytes are damaged */
export function readInput(bytes: Buffer): InputEnvelope {
  let at = 2 + bytes.readUInt8(1) + 4;
  const flags = bytes.readUInt8(at);
  at += 1;
  let timeout: number | undefined;
  let priority: number | undefined;
  let extras: Uint8Array | undefined;
  if (flags & HAS_TIMEOUT) {
    timeout = bytes.readDoubleBE(at);
    at += 8;
    if (!(timeout >= 0)) throw new RangeError(`timeout: expected milliseconds ≥ 0, got ${timeout}`);
  }
  if (flags & HAS_PRIORITY) {
    priority = bytes.readDoubleBE(at);
    at += 8;
    if (!Number.isFinite(priority)) {
      throw new RangeError(`priority: expected a finite number, got ${priority}`);
    }
  }
  if (flags & HAS_EXTRAS) {
    const length = bytes.readUInt32BE(at);
    at += 4;
    if (length > bytes.length - at) throw new RangeError(`expected ${length} bytes of extras`);
    extras = bytes.subarray(at, (at += length));
  }
  return { timeout, priority, extras, body: bytes.subarray(at) };
}

/** Bytes of the envelope of an answer. */
export const ANSWER_ROOM = 6;

/** Writes the envelope into the first `ANSWER_ROOM` bytes of an answer, where what is encoded follows. */
export function writeAnswer(answer: Buffer, call: number, kind: AnswerKind): void {
  answer[0] = VERSION;
  answer.writeUInt32BE(call, 1);
  answer[5] = KINDS.indexOf(kind);
}

/** @throws RangeError if the bytes are too few */
export function readAnswer(bytes: Buffer): AnswerEnvelope {
  const call = bytes.readUInt32BE(1);
  const kind = bytes[0] === VERSION ? KINDS[bytes.readUInt8(5)] : undefined;
  return { call, kind, body: bytes.subarray(ANSWER_ROOM) };
}
