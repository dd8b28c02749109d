/** Between the cluster and its nodes, over the channel that Node gives a child process. */

/** To a web node: begin to send, with so many callers that each send their next digit when the answer is there; end. */
export type Order = { readonly callers: number } | 'end';

/** From a node: it takes calls or inputs from now on; from a web node: what it has seen so far. */
export type Report = 'started' | Progress;

export interface Progress {
  readonly answers: number;
  /** Those that are the digit that MNIST says it is. */
  readonly right: number;
  /** Calls that ended with an error, by its code. */
  readonly errors: Readonly<Record<string, number>>;
  /** Longest time without any answer, in milliseconds. */
  readonly longestGap: number;
  /** Longest that a caller has waited, in milliseconds. */
  readonly longestWait: number;
  /** What each model node was given after another one had it, by its name. */
  readonly redelivered: Readonly<Record<string, number>>;
  /** Whether every caller has ended. */
  readonly isDone: boolean;
}
