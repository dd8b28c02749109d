import type * as tf from '@tensorflow/tfjs';
import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;
const { DataType } = onnx.TensorProto;
const { AttributeType } = onnx.AttributeProto;

/** Of ONNX: what the operators below mean. */
const OPSET = 13;
/** The version of the format that came with this opset. */
const IR_VERSION = 7;

/**
 * The digits network in ONNX: `pixels` [n, 28, 28, 1] to `scores` [n, 10], in the layout of TensorFlow.js, with the channels
 * last. ONNX's own operators have them first, so the network turns its input at the start, and what it flattens back.
 *
 * @param model the network as `createModel` of train-digits.ts makes it
 */
export async function digitsOnnx(model: tf.LayersModel): Promise<Uint8Array> {
  const weights = await Promise.all(
    ['conv1', 'conv2', 'dense1', 'dense2'].map(async (name) => {
      const [kernel, bias] = model.getLayer(name).getWeights();
      if (!kernel || !bias) throw new Error(`expected weights of the layer ${name}, got none`);
      const isConv = kernel.shape.length === 4;
      // From height × width × in × out.
      const turned = isConv ? kernel.transpose([3, 2, 0, 1]) : kernel;
      const tensors = [
        tensor(`${name}.kernel`, turned.shape, await turned.data<'float32'>()),
        tensor(`${name}.bias`, bias.shape, await bias.data<'float32'>()),
      ];
      if (isConv) turned.dispose();
      return tensors;
    }),
  );
  const scale = model.getLayer('scale').getConfig().scale as number;
  const graph = {
    name: model.name,
    input: [declared('pixels', [28, 28, 1])],
    output: [declared('scores', [10])],
    initializer: [tensor('scale', [], Float32Array.of(scale)), ...weights.flat()],
    node: [
      node('Mul', ['pixels', 'scale'], 'scaled'),
      node('Transpose', ['scaled'], 'picture', { perm: [0, 3, 1, 2] }),
      ...convolution('conv1', 'picture'),
      ...convolution('conv2', 'conv1'),
      node('Transpose', ['conv2'], 'channels last', { perm: [0, 2, 3, 1] }),
      node('Flatten', ['channels last'], 'flat'),
      node('Gemm', ['flat', 'dense1.kernel', 'dense1.bias'], 'dense1.sums'),
      node('Relu', ['dense1.sums'], 'dense1'),
      node('Gemm', ['dense1', 'dense2.kernel', 'dense2.bias'], 'dense2.sums'),
      node('Softmax', ['dense2.sums'], 'scores'),
    ],
  };
  const file = {
    irVersion: IR_VERSION,
    producerName: 'nest-batching',
    opsetImport: [{ domain: '', version: OPSET }],
    graph,
  };
  return onnx.ModelProto.encode(onnx.ModelProto.create(file)).finish();
}

/** A convolution of 5 × 5 and the largest of each 2 × 2. */
function convolution(name: string, input: string): ReturnType<typeof node>[] {
  return [
    node('Conv', [input, `${name}.kernel`, `${name}.bias`], `${name}.sums`),
    node('Relu', [`${name}.sums`], `${name}.positive`),
    node('MaxPool', [`${name}.positive`], name, { kernel_shape: [2, 2], strides: [2, 2] }),
  ];
}

function node(opType: string, input: string[], output: string, attributes: Record<string, number[]> = {}) {
  const attribute = Object.entries(attributes).map(([name, ints]) => ({
    name,
    type: AttributeType.INTS,
    ints,
  }));
  return { opType, input, output: [output], attribute };
}

function tensor(name: string, dims: number[], values: Float32Array) {
  return { name, dims, dataType: DataType.FLOAT, rawData: new Uint8Array(Float32Array.from(values).buffer) };
}

/** @param shape that of one input or result; the batch dimension is open */
function declared(name: string, shape: number[]) {
  const dim = [{ dimParam: 'n' }, ...shape.map((dimValue) => ({ dimValue }))];
  return { name, type: { tensorType: { elemType: DataType.FLOAT, shape: { dim } } } };
}
