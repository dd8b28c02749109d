import { describe } from '@jest/globals';
import { Test } from '@nestjs/testing';
import { type TfjsBackend, TfjsBackendError, TfjsModule } from 'nest-batching/tfjs';

/**
 * Specs on one backend; if the machine lacks what `tensorflow` or `webgpu` needs, they are skipped, with a
 * reason on stderr.
 */
export async function describeOn(backend: TfjsBackend, what: string, specs: () => void): Promise<void> {
  const missing = await whyNot(backend);
  if (missing) process.stderr.write(`SKIPPED: ${what} on ${backend}. ${missing}\n`);
  (missing ? describe.skip : describe)(`${what} on ${backend}`, specs);
}

async function whyNot(backend: TfjsBackend): Promise<string | undefined> {
  if (backend === 'wasm' || backend === 'cpu') return undefined;
  try {
    const app = await Test.createTestingModule({ imports: [TfjsModule.forRoot({ backend })] }).compile();
    await app.close();
    return undefined;
  } catch (error) {
    if (error instanceof TfjsBackendError) return error.message;
    throw error;
  }
}
