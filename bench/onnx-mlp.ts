import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import onnxProto from 'onnx-proto';
import { randomNumbers } from '../libs/figures/src/random-numbers.js';

const { onnx } = onnxProto;
const { DataType } = onnx.TensorProto;

/**
 * Writes an MLP of 784, 1024, 1024 and 10 units, with random weights, into the folder.
 *
 * @returns its file
 */
export function writeMlp(folder: string): string {
  const random = randomNumbers(1);
  const widths = [784, 1024, 1024, 10] as const;
  const layers = widths.slice(1).map((width, i) => ({ name: `dense${i}`, rows: widths[i] ?? NaN, width }));
  const tensor = (name: string, dims: number[], values: Float32Array) => ({
    name,
    dims,
    dataType: DataType.FLOAT,
    rawData: new Uint8Array(values.buffer),
  });
  const declared = (name: string, width: number) => ({
    name,
    type: {
      tensorType: {
        elemType: DataType.FLOAT,
        shape: { dim: [{ dimParam: 'n' }, { dimValue: width }] },
      },
    },
  });
  const node = (opType: string, input: string[], output: string) => ({ opType, input, output: [output] });
  const graph = {
    name: 'mlp',
    input: [declared('pixels', 784)],
    output: [declared('scores', 10)],
    initializer: [
      tensor('scale', [], Float32Array.of(1 / 255)),
      ...layers.flatMap(({ name, rows, width }) => [
        tensor(
          `${name}.kernel`,
          [rows, width],
          Float32Array.from({ length: rows * width }, () => (random() - 0.5) * Math.sqrt(24 / rows)),
        ),
        tensor(`${name}.bias`, [width], new Float32Array(width)),
      ]),
    ],
    node: [
      node('Mul', ['pixels', 'scale'], 'scaled'),
      node('Gemm', ['scaled', 'dense0.kernel', 'dense0.bias'], 'dense0.sums'),
      node('Relu', ['dense0.sums'], 'dense0'),
      node('Gemm', ['dense0', 'dense1.kernel', 'dense1.bias'], 'dense1.sums'),
      node('Relu', ['dense1.sums'], 'dense1'),
      node('Gemm', ['dense1', 'dense2.kernel', 'dense2.bias'], 'dense2.sums'),
      node('Softmax', ['dense2.sums'], 'scores'),
    ],
  };
  const model = onnx.ModelProto.create({ irVersion: 7, opsetImport: [{ domain: '', version: 13 }], graph });
  const path = join(folder, 'mlp.onnx');
  writeFileSync(path, onnx.ModelProto.encode(model).finish());
  return path;
}
