import { expect, it } from '@jest/globals';
import { Ajv } from 'ajv';

interface Media {
  schema?: { 'x-events'?: Record<string, { $ref: string }> };
  example?: unknown;
  examples?: Record<string, { value: unknown }>;
}

interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  example?: string | number;
  schema?: { example?: string | number };
}

interface Operation {
  summary?: string;
  parameters?: Parameter[];
  requestBody?: { content: Record<string, Media> };
  responses: Record<string, { headers?: Record<string, unknown>; content?: Record<string, Media> }>;
}

interface Route extends Operation {
  method: string;
  path: string;
}

interface ApiDocument {
  paths: Record<string, Record<string, Operation>>;
}

/** What an application says of its API at `/docs/openapi.json`, to be compared with what it does. */
export class Reference {
  readonly #ajv = new Ajv({ strict: false, formats: { binary: true, byte: true } });
  readonly routes: Route[];

  private constructor(
    readonly url: string,
    document: ApiDocument,
  ) {
    this.#ajv.addSchema({ ...document, $id: 'api' });
    this.routes = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, operation]) => ({ ...operation, method, path })),
    );
  }

  static async of(url: string): Promise<Reference> {
    const answer = await fetch(`${url}/docs/openapi.json`);
    return new Reference(url, (await answer.json()) as ApiDocument);
  }

  /** @param name such as `post /digits` */
  route(name: string): Route {
    const route = this.routes.find(({ method, path }) => `${method} ${path}` === name);
    if (!route) throw new Error(`the reference has no ${name}`);
    return route;
  }

  /** The example of an answer in JSON. */
  example(name: string, status: number): unknown {
    return this.route(name).responses[status]?.content?.['application/json']?.example;
  }

  /** The examples of the errors of a route, as `400 ERR_INVALID` and the like. */
  errors(name: string): Map<string, unknown> {
    const answers = Object.entries(this.route(name).responses).filter(([status]) => Number(status) >= 400);
    return new Map(
      answers.flatMap(([status, { content = {} }]) =>
        Object.entries(content['application/json']?.examples ?? {}).map(
          ([code, { value }]) => [code === status ? status : `${status} ${code}`, value] as const,
        ),
      ),
    );
  }

  /** What of an answer is not as its schema says. */
  complaints(name: string, status: number, value: unknown, type = 'application/json'): unknown {
    const { path, method } = this.route(name);
    const place = ['paths', path, method, 'responses', String(status), 'content', type, 'schema'];
    return this.#complaintsAt(
      place.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join(''),
      value,
    );
  }

  /** The same of the events of a stream, each by its name; returns their data. */
  events(name: string, text: string): { event: string; data: unknown }[] {
    const schemas = this.route(name).responses['200']?.content?.['text/event-stream']?.schema?.['x-events'];
    return text
      .split('\n\n')
      .slice(0, -1)
      .map((block) => {
        const event = /^event: (.*)$/m.exec(block)?.[1] ?? 'message';
        const data = JSON.parse(/^data: (.*)$/m.exec(block)?.[1] ?? '') as unknown;
        expect([event, this.#complaintsAt(schemas?.[event]?.$ref.slice(1) ?? '', data)]).toEqual([
          event,
          undefined,
        ]);
        return { event, data };
      });
  }

  /** Sends a route's example: its parameters, and its body in JSON. */
  send(name: string): Promise<Response> {
    const { method, path, parameters = [], requestBody } = this.route(name);
    const query = new URLSearchParams();
    let filled = path;
    for (const { name: parameter, in: where, example, schema } of parameters) {
      const given = example ?? schema?.example;
      if (given === undefined) continue;
      const value = String(given);
      if (where === 'path') filled = filled.replace(`{${parameter}}`, value);
      if (where === 'query') query.set(parameter, value);
    }
    const [body] = Object.values(requestBody?.content['application/json']?.examples ?? {});
    return fetch(`${this.url}${filled}?${query.toString()}`, {
      method: method.toUpperCase(),
      ...(body ? { body: JSON.stringify(body.value), headers: { 'content-type': 'application/json' } } : {}),
    });
  }

  #complaintsAt(pointer: string, value: unknown): unknown {
    const validate = this.#ajv.getSchema(`api#${pointer}`);
    if (!validate) throw new Error(`the reference has no schema at ${pointer}`);
    return validate(value) ? undefined : validate.errors;
  }
}

/** What holds of every reference. */
export function describesItself(reference: () => Reference): void {
  it('gives every route a summary, a 500, and examples that are as their schemas say', () => {
    for (const { method, path, summary, responses } of reference().routes) {
      const name = `${method} ${path}`;
      expect([name, summary]).toEqual([name, expect.stringMatching(/./)]);
      expect(Object.keys(responses)).toContain('500');
      for (const [status, { content = {} }] of Object.entries(responses)) {
        for (const [type, { example, examples = {} }] of Object.entries(content)) {
          const values = Object.values(examples).map(({ value }) => value);
          if (example !== undefined) values.push(example);
          // Nobody can read a picture as text.
          if (type !== 'image/png') expect([name, status, values.length]).not.toEqual([name, status, 0]);
          for (const value of values) {
            expect([name, status, reference().complaints(name, Number(status), value, type)]).toEqual([
              ...[name, status, undefined],
            ]);
            if (Number(status) >= 400) expect(value).toMatchObject({ statusCode: Number(status) });
          }
        }
      }
    }
  });

  it('says when to try again where a 503 may come, and asks for no header', () => {
    for (const { method, path, responses, parameters = [] } of reference().routes) {
      const name = `${method} ${path}`;
      for (const [status, { headers = {} }] of Object.entries(responses)) {
        if (status !== '409') {
          expect([name, status, Object.keys(headers)]).toEqual([
            ...[name, status, status === '503' ? ['Retry-After'] : []],
          ]);
        }
      }
      const headers = parameters.filter((parameter) => parameter.in === 'header');
      expect([name, headers.filter(({ required }) => required)]).toEqual([name, []]);
    }
  });
}

/** What equals an example but for the last digits of numbers, in which backends differ. */
export function about(example: unknown): unknown {
  if (typeof example === 'number' && !Number.isInteger(example)) return expect.closeTo(example, 3);
  if (Array.isArray(example)) return example.map(about);
  if (typeof example !== 'object' || example === null) return example;
  return Object.fromEntries(Object.entries(example).map(([name, part]) => [name, about(part)]));
}
