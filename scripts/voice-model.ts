/**
 * Makes the voice detector of `apps/microphones` from the network of the package silero-vad on PyPI, which has
 * the batch in the second dimension of its state and leaves the samples before each frame to the caller:
 *
 *     pip download --no-deps silero-vad==6.2.3 && unzip silero_vad-6.2.3-*.whl
 *     tsx scripts/voice-model.ts silero_vad/data/silero_vad_16k_op15.onnx apps/microphones/models/silero-vad/voice.onnx
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;
const { DataType } = onnx.TensorProto;
const { AttributeType } = onnx.AttributeProto;

/** Of `silero_vad_16k_op15.onnx` in silero-vad 6.2.3. */
const ORIGINAL = '7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49';
/** Samples of a frame, and those before it that the network sees as well. */
const [FRAME, CONTEXT] = [512, 64];
const RATE = 16_000;

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined)
  throw new Error('expected two paths: of the original, and to write to');
const original = readFileSync(from);
const checksum = createHash('sha256').update(original).digest('hex');
if (checksum !== ORIGINAL) throw new Error(`${from}: expected SHA-256 ${ORIGINAL}, got ${checksum}`);

const model = onnx.ModelProto.decode(original);
const { graph } = model;
if (!graph) throw new Error(`${from} has no graph`);

// The network's own names, `input`, `state` and `sr`, become values inside the graph.
graph.input = [declared('samples', [FRAME]), declared('context', [CONTEXT]), declared('lstm', [2, 128])];
graph.output = [declared('speech', [1]), declared('nextContext', [CONTEXT]), declared('nextLstm', [2, 128])];
graph.initializer?.push(
  constant('sr', [], RATE),
  constant('context.start', [1], FRAME - CONTEXT),
  constant('context.end', [1], FRAME),
  constant('context.axis', [1], 1),
);
graph.node = [
  node('Concat', ['context', 'samples'], 'input', integer('axis', 1)),
  node('Slice', ['samples', 'context.start', 'context.end', 'context.axis'], 'nextContext'),
  node('Transpose', ['lstm'], 'state', integers('perm', [1, 0, 2])),
  ...(graph.node ?? []),
  node('Identity', ['output'], 'speech'),
  node('Transpose', ['stateN'], 'nextLstm', integers('perm', [1, 0, 2])),
];
writeFileSync(to, onnx.ModelProto.encode(model).finish());

/** @param shape that of one input or result; the batch dimension is open */
function declared(name: string, shape: number[]) {
  const dim = [{ dimParam: 'n' }, ...shape.map((dimValue) => ({ dimValue }))];
  return onnx.ValueInfoProto.create({
    name,
    type: { tensorType: { elemType: DataType.FLOAT, shape: { dim } } },
  });
}

/** @param dims none for a number, one for a list of numbers */
function constant(name: string, dims: number[], value: number) {
  const rawData = new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);
  return onnx.TensorProto.create({ name, dims, dataType: DataType.INT64, rawData });
}

function node(opType: string, input: string[], output: string, ...attribute: ReturnType<typeof integer>[]) {
  return onnx.NodeProto.create({ opType, input, output: [output], attribute });
}

function integer(name: string, i: number) {
  return onnx.AttributeProto.create({ name, type: AttributeType.INT, i });
}

function integers(name: string, ints: number[]) {
  return onnx.AttributeProto.create({ name, type: AttributeType.INTS, ints });
}
