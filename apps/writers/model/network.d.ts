import type * as Tfjs from '@tensorflow/tfjs';

export const VOCABULARY: string;
export const UNITS: number;
export const WEIGHTS: Readonly<Record<WeightName, [number, number]>>;
export type WeightName = 'input' | 'bias' | 'recurrent' | 'output' | 'outputBias';
export type Weights = Readonly<Record<WeightName, Tfjs.Tensor2D>>;

export function readWeights(tf: typeof Tfjs): Promise<Weights>;
export function unit(
  tf: typeof Tfjs,
  added: Tfjs.Tensor2D[],
  products: Tfjs.Tensor2D[],
  state: Tfjs.Tensor2D,
): Record<'next' | 'update' | 'reset' | 'candidate' | 'fromCandidate', Tfjs.Tensor2D>;
/** What the inference worker calls. */
export function load(tf: typeof Tfjs): Promise<object>;
export function run(
  tf: typeof Tfjs,
  batch: { token: Tfjs.Tensor1D; state: Tfjs.Tensor2D },
  loaded: object,
): { scores: Tfjs.Tensor2D; state: Tfjs.Tensor2D };
