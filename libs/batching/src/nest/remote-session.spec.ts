import { types } from 'node:util';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Injectable } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  type Batched,
  BatchedService,
  BatchingModule,
  createSession,
  getBatchedToken,
  type SessionResult,
  type SessionStep,
} from 'nest-batching';
import { MemoryBroker, memoryTransport } from 'nest-batching/testing';

interface State {
  readonly sums: Float32Array;
  readonly steps: number;
}

@Injectable()
class Sums {
  readonly batches: number[] = [];

  @BatchedService(64, 1)
  add(steps: readonly SessionStep<number, State>[]): Promise<(SessionResult<number, State> | Error)[]> {
    this.batches.push(steps.length);
    return Promise.resolve(
      steps.map(({ input, state }) => {
        if (!types.isFloat32Array(state.sums)) return new TypeError('a state has lost its type');
        if (input < 0) return new RangeError('expected a number from 0');
        const sums = state.sums.map((sum) => sum + input);
        return { output: sums[0] ?? NaN, state: { sums, steps: state.steps + 1 } };
      }),
    );
  }
}

const apps: TestingModule[] = [];
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
});

describe('Sessions over a transport', () => {
  it('have no home: their states travel, and their steps run on any node, also when one leaves', async () => {
    const broker = new MemoryBroker();
    const node = async (options: object, providers: (typeof Sums)[]) => {
      const transport = memoryTransport({ broker });
      const imports = [BatchingModule.forRoot({ transport, ...options })];
      const app = await Test.createTestingModule({ imports, providers }).compile();
      apps.push(app);
      return app.init();
    };
    const serving = [await node({ serve: [Sums] }, [Sums]), await node({ serve: [Sums] }, [Sums])];
    const web = await node({ remote: [Sums] }, []);
    const { add } = web.get<Batched<Sums>>(getBatchedToken(Sums), { strict: false });
    const sessions = Array.from({ length: 20 }, (_, i) =>
      createSession(add, { initialState: { sums: new Float32Array(3).fill(i), steps: 0 } }),
    );
    const pushAll = (input: number) => Promise.all(sessions.map((session) => session.push(input)));
    for (const input of [1, 2, 3]) await pushAll(input);
    const [first] = serving;
    const last = pushAll(4);
    await first?.close();
    expect(await last).toEqual(sessions.map((_, i) => i + 10));
    await expect(sessions[0]?.push(-1)).rejects.toThrow('expected a number from 0');
    expect(await pushAll(5)).toEqual(sessions.map((_, i) => i + 15));
    // Steps of many sessions share the batches of the nodes.
    expect(Math.max(...serving.flatMap((app) => app.get(Sums).batches))).toBeGreaterThan(1);
  });
});
