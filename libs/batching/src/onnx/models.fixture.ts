import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from '@jest/globals';
import { Test } from '@nestjs/testing';
import { type OnnxExecutionProvider, OnnxBackendError, OnnxModule } from 'nest-batching/onnx';
import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;

type Node = NonNullable<Parameters<typeof onnx.NodeProto.create>[0]>;
type Tensor = NonNullable<Parameters<typeof onnx.TensorProto.create>[0]>;
export const { DataType } = onnx.TensorProto;
export const { AttributeType } = onnx.AttributeProto;

/** A tensor of a model: its ONNX type, and its dimensions, of which names are open. */
export interface Declared {
  type?: number;
  shape: (number | string)[];
}

export interface Graph {
  inputs: Record<string, Declared>;
  outputs: Record<string, Declared>;
  nodes: Node[];
  constants?: Tensor[];
}

/** Specs on one execution provider; they are skipped, with a reason on stderr, where it does not start. */
export async function describeOn(
  executionProvider: OnnxExecutionProvider,
  what: string,
  specs: () => void,
): Promise<void> {
  const missing = await whyNot(executionProvider);
  if (missing) process.stderr.write(`SKIPPED: ${what} on ONNX ${executionProvider}. ${missing}\n`);
  (missing ? describe.skip : describe)(`${what} on ONNX ${executionProvider}`, specs);
}

async function whyNot(executionProvider: OnnxExecutionProvider): Promise<string | undefined> {
  try {
    const imports = [OnnxModule.forRoot({ executionProvider })];
    const app = await Test.createTestingModule({ imports }).compile();
    await app.close();
    return undefined;
  } catch (error) {
    if (error instanceof OnnxBackendError) return error.message;
    throw error;
  }
}

export function modelBytes({ inputs, outputs, nodes, constants = [] }: Graph): Uint8Array {
  const declared = (tensors: Record<string, Declared>) =>
    Object.entries(tensors).map(([name, { type = DataType.FLOAT, shape }]) => ({
      name,
      type: {
        tensorType: {
          elemType: type,
          shape: {
            dim: shape.map((dim) => (typeof dim === 'string' ? { dimParam: dim } : { dimValue: dim })),
          },
        },
      },
    }));
  const graph = {
    name: 'graph',
    node: nodes,
    input: declared(inputs),
    output: declared(outputs),
    initializer: constants,
  };
  const model = onnx.ModelProto.create({ irVersion: 8, opsetImport: [{ domain: '', version: 13 }], graph });
  return onnx.ModelProto.encode(model).finish();
}

/** @returns the path of a file with the model, in a folder of its own */
export function writeModel(graph: Graph): string {
  const path = join(newFolder(), 'model.onnx');
  writeFileSync(path, modelBytes(graph));
  return path;
}

export function newFolder(): string {
  return mkdtempSync(join(tmpdir(), 'onnx-model-'));
}

export function floats(name: string, dims: number[], values: Iterable<number>): Tensor {
  const rawData = new Uint8Array(Float32Array.from(values).buffer);
  return { name, dims, dataType: DataType.FLOAT, rawData };
}

export function integers(name: string, values: readonly number[]): Tensor {
  const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
  return { name, dims: [values.length], dataType: DataType.INT64, rawData };
}

/** `y = x · weights + bias`, of two numbers each. */
export function linear({ weights = [1, 2, 3, 4], bias = [10, 20] } = {}): Graph {
  return {
    inputs: { x: { shape: ['n', 2] } },
    outputs: { y: { shape: ['n', 2] } },
    nodes: [{ opType: 'Gemm', input: ['x', 'weights', 'bias'], output: ['y'] }],
    constants: [floats('weights', [2, 2], weights), floats('bias', [2], bias)],
  };
}

/** Converts its input from one type to another, and leaves the numbers as they are. */
export function identity(type: number): Graph {
  return {
    inputs: { x: { type, shape: ['n', 3] } },
    outputs: { y: { type, shape: ['n', 3] } },
    nodes: [{ opType: 'Identity', input: ['x'], output: ['y'] }],
  };
}
