/** Transports between processes, with the schemes of their URLs. */
const SCHEMES = { redis: ['redis:', 'rediss:'], nats: ['nats:', 'tls:'] } as const;

export type TransportName = keyof typeof SCHEMES;

export const transports = Object.keys(SCHEMES) as TransportName[];

/** The transport whose broker a URL names; `undefined` if it names none of `possible`. */
export function transportOf(url: string, possible = transports): TransportName | undefined {
  const scheme = schemeOf(url);
  return possible.find((name) => SCHEMES[name].some((each) => each === scheme));
}

/** `redis://… or rediss://…` */
export function schemesOf(possible = transports): string {
  return possible.flatMap((name) => SCHEMES[name].map((each) => `${each}//…`)).join(' or ');
}

/** A URL as it may stand in a message: it may hold a password. */
export function hideUrl(url: string): string {
  const scheme = schemeOf(url);
  return scheme === '' ? 'something else' : `${scheme}//…`;
}

function schemeOf(url: string): string {
  return URL.canParse(url) ? new URL(url).protocol : '';
}
