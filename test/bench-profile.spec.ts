import { readFileSync } from 'node:fs';
import type { Profiler } from 'node:inspector';
import { describe, expect, it } from '@jest/globals';
import { GROUPS, OUTSIDE, groups, sumUp } from '../bench/cpu-profile.js';

const REST = 'native code and the rest';
const pipes = 'file:///dist/demo-api/apps/demo-api/src/digits/digit-pipes.js';

/** A profile of stacks, each from the outermost function to the innermost, with the milliseconds spent there. */
function profileOf(
  ...stacks: [ms: number, ...frames: [functionName: string, url: string][]][]
): Profiler.Profile {
  const nodes: Profiler.ProfileNode[] = [];
  const leaves = stacks.map(([, ...frames]) => {
    frames.forEach(([functionName, url], depth) => {
      const callFrame = { functionName, url, scriptId: '0', lineNumber: 0, columnNumber: 0 };
      const isInnermost = depth === frames.length - 1;
      nodes.push({ id: nodes.length + 1, callFrame, children: isInnermost ? [] : [nodes.length + 2] });
    });
    return nodes.length;
  });
  return { nodes, startTime: 0, endTime: 0, samples: leaves, timeDeltas: stacks.map(([ms]) => ms * 1000) };
}

describe('npm run bench serving -- --profile', () => {
  it('counts a sample for the innermost function whose group is known', () => {
    expect(
      sumUp(
        profileOf(
          [
            3,
            ['parserOnBody', 'node:_http_common'],
            ['parseJson', pipes],
            ['decode', 'node:internal/encoding'],
          ],
          [2, ['parserOnBody', 'node:_http_common'], ['parseJson', pipes], ['parse', '']],
          [5, ['parseJson', pipes], ['pixelsOf', pipes]],
          [1, ['pixelsOf', pipes], ['(garbage collector)', '']],
          [7, ['json', '/x/node_modules/express/lib/response.js'], ['writev', '']],
        ),
      ),
    ).toEqual({ parse: 5, validate: 5, 'garbage collection': 1, 'HTTP and sockets of Node': 7 });
  });

  it('counts what is no part of the load, and what it does not know, apart', () => {
    expect(
      sumUp(
        profileOf(
          [4, ['(idle)', '']],
          [6, ['post', 'node:inspector'], ['dispatch', '']],
          [8, ['(program)', '']],
        ),
      ),
    ).toEqual({ [OUTSIDE]: 10, [REST]: 8 });
  });

  it('has a row for each group, and each once', () => {
    expect(new Set([...groups.map(({ name }) => name), OUTSIDE, REST])).toEqual(
      new Set([...GROUPS, OUTSIDE]),
    );
    expect(new Set(GROUPS).size).toBe(GROUPS.length);
  });

  it.each([
    ['apps/demo-api/src/digits/digit-pipes.ts', 'digit-pipes.js', ['parseJson', 'checkText']],
    ['node_modules/express/lib/response.js', 'express/lib/response.js', ['stringify']],
    ['node_modules/fastify/lib/reply.js', 'fastify/lib/reply.js', ['serialize']],
  ])('names functions that there are in %s', (path, file, names) => {
    const source = readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
    for (const name of names) {
      expect(source).toContain(`function ${name}`);
      expect(groups.some(({ file: of, functions }) => of?.test(`/${file}`) && functions?.test(name))).toBe(
        true,
      );
    }
  });
});
