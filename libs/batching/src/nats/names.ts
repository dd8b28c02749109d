import { createHash } from 'node:crypto';

/** Subjects, streams and consumers of the applications that share a prefix. */
export class Names {
  /** Nodes say here what they serve. */
  readonly beats: string;
  /** A node that has just connected asks here for beats. */
  readonly asks: string;

  constructor(private readonly prefix: string) {
    this.beats = `${prefix}.beats`;
    this.asks = `${prefix}.asks`;
  }

  /** Inputs of a service; captured by its stream. */
  inputs(service: string): string {
    return `${this.prefix}.inputs.${token(service)}`;
  }

  /** Inputs of a service that run alone; captured by the same stream. */
  alone(service: string): string {
    return `${this.inputs(service)}.alone`;
  }

  /** The stream of a service. `=` stands in no prefix and no token, so no two services share one. */
  stream(service: string): string {
    return `${this.prefix}=${token(service)}`;
  }

  /** Callers say here that they have given up. */
  cancels(service: string): string {
    return `${this.prefix}.cancels.${token(service)}`;
  }

  /** Answers to a caller, many in a message. */
  answers(node: string): string {
    return `${this.prefix}.answers.${node}`;
  }

  /** JetStream confirms inputs of a caller here, each on a subject of its own below. */
  confirms(node: string): string {
    return `${this.prefix}.confirms.${node}`;
  }

  /** JetStream delivers inputs to a node here, on a new subject for each time that it asks anew. */
  deliveries(node: string, time: number): string {
    return `${this.prefix}.deliveries.${node}.${time}`;
  }

  /** Here a caller learns that an input of its has another place in the stream. */
  moves(node: string): string {
    return `${this.prefix}.moves.${node}`;
  }
}

/** What a consumer of every stream is called: the nodes that serve take turns on it. */
export const CONSUMER = 'nodes';
/** The same for inputs that run alone. */
export const ALONE = 'nodes-alone';

/** NATS takes names of 255 bytes. */
const LONGEST = 120;

/** A name as one token of a subject: letters, digits and `-` as they are, all else as `_` and hexadecimal bytes. */
function token(name: string): string {
  const escaped = name.replace(/[^A-Za-z0-9-]/gu, (character) =>
    Array.from(Buffer.from(character), (byte) => `_${byte.toString(16).padStart(2, '0')}`).join(''),
  );
  if (escaped.length <= LONGEST) return escaped;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 24);
  return `${escaped.slice(0, LONGEST - hash.length - 2)}__${hash}`;
}
