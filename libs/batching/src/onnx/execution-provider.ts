/**
 * Where ONNX Runtime computes:
 * - `cuda`: NVIDIA GPUs; on Linux x64 its libraries are fetched by the install script of `onnxruntime-node`;
 * - `webgpu`: a GPU of any make, through Dawn;
 * - `tensorrt`, `dml` (DirectML), `coreml`: where `onnxruntime-node` has them, and only if named;
 * - `cpu`: one core.
 */
export type OnnxExecutionProvider = 'cuda' | 'webgpu' | 'tensorrt' | 'dml' | 'coreml' | 'cpu';

/** The execution providers that `auto` tries, in this order: GPUs first. */
export const providersOfAuto: readonly OnnxExecutionProvider[] = ['cuda', 'webgpu', 'cpu'];

/** The names of all execution providers. */
export const onnxExecutionProviders: readonly OnnxExecutionProvider[] = [
  'cuda',
  'webgpu',
  'tensorrt',
  'dml',
  'coreml',
  'cpu',
];
