/** The keys and the channel of the applications that share a prefix. */
export class Keys {
  readonly nodes: string;
  readonly nodePrefix: string;
  readonly answersPrefix: string;
  /** The channel on which callers say that they have given up. */
  readonly cancels: string;

  constructor(private readonly prefix: string) {
    this.nodes = `${prefix}:nodes`;
    this.nodePrefix = `${prefix}:node:`;
    this.answersPrefix = `${prefix}:answers:`;
    this.cancels = `${prefix}:cancels`;
  }

  inputs(service: string): string {
    return `${this.prefix}:inputs:${service}`;
  }

  answers(node: string): string {
    return this.answersPrefix + node;
  }
}
