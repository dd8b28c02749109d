import type * as Tfjs from '@tensorflow/tfjs';

export const VOCABULARY: string;
export const UNITS: number;
export const WEIGHTS: Readonly<Record<WeightName, [number, number]>>;
export type WeightName = 'input' | 'bias' | 'recurrent' | 'output' | 'outputBias';
type Weights = Readonly<Record<WeightName, Tfjs.Tensor2D>>;

export function project(tf: typeof Tfjs, tokens: Tfjs.Tensor, weights: Weights): Tfjs.Tensor2D;
export function step(
  tf: typeof Tfjs,
  projected: Tfjs.Tensor,
  state: Tfjs.Tensor,
  weights: Weights,
): Tfjs.Tensor2D;
export function score(tf: typeof Tfjs, states: Tfjs.Tensor, weights: Weights): Tfjs.Tensor2D;
