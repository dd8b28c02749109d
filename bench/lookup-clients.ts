import autocannon from 'autocannon';

/** What the clients of the lookup bench are asked to do, by a message from `lookup.ts`. */
export interface Load {
  url: string;
  kind: 'reads' | 'writes';
  clients: number;
  seconds: number;
  /** Members that there are to read. */
  members: number;
}

/** What they saw. */
export interface Seen {
  perSecond: number;
  p50: number;
  p99: number;
  answers: number;
  /** Answers that were missing, or not what was asked for. */
  wrong: number;
}

/** A process of its own, so that the server has the other core for itself. */
process.on('message', (load: Load) => {
  void run(load).then((seen) => process.send?.(seen));
});

async function run({ url, kind, clients, seconds, members }: Load): Promise<Seen> {
  let wrong = 0;
  let answers = 0;
  // The context is one client's own; each sends its next request when the answer is there.
  const check = (status: number, body: string, context: object) => {
    const { expected } = context as { expected: object };
    answers++;
    if (status >= 300 || !isPartOf(expected, JSON.parse(body) as object)) wrong++;
  };
  const read: autocannon.Request = {
    setupRequest: (request, context) => {
      const id = 1 + Math.floor(Math.random() * members);
      Object.assign(context, { expected: { id } });
      return { ...request, path: `/members/${id}` };
    },
    onResponse: check,
  };
  const write: autocannon.Request = {
    setupRequest: (request, context) => {
      const email = `${crypto.randomUUID()}@example.org`;
      Object.assign(context, { expected: { email } });
      const body = JSON.stringify({ name: 'Ada Young', email, city: 'Bern', born: 1990 });
      return { ...request, method: 'POST', path: '/members', body };
    },
    onResponse: check,
  };
  const result = await autocannon({
    url,
    connections: clients,
    duration: seconds,
    headers: { 'content-type': 'application/json' },
    requests: [kind === 'reads' ? read : write],
  });
  return {
    perSecond: result.requests.total / result.duration,
    p50: result.latency.p50,
    p99: result.latency.p99,
    answers,
    wrong: wrong + result.errors + result.timeouts,
  };
}

function isPartOf(part: object, whole: object): boolean {
  return Object.entries(part).every(([key, value]) => (whole as Record<string, unknown>)[key] === value);
}
