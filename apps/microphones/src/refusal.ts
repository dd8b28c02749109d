/** Why a microphone was refused or ended: the reason sent to its client, and the code that closes the WebSocket (RFC 6455). */
export class Refusal extends Error {
  constructor(
    /** Stable; clients may decide by it. */
    readonly code: `ERR_${string}`,
    readonly closeCode: number,
    message: string,
    /** Milliseconds after which another try may go better. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}

export const CLOSE = {
  goingAway: 1001,
  /** Text where bytes were expected. */
  unsupported: 1003,
  /** Bytes that are no frame. */
  invalid: 1007,
  policy: 1008,
  failure: 1011,
  tryLater: 1013,
} as const;

/** Tells clients that the server goes, and not only that the connection is lost. */
export function goingAway(): Refusal {
  return new Refusal('ERR_GOING_AWAY', CLOSE.goingAway, 'the server stops; connect again', 1000);
}
